//! The messages of the control session. Both sides speak them over one QUIC stream or one TLS stream.
//!
//! A node opens with [`ToController::Enrol`] when it has no certificate, else with [`ToController::Hello`]; who only looks at the
//! way asks [`ToController::Reflect`] and goes. A session with a
//! certificate then goes: `Welcome`, a `Snapshot` or nothing, `Delta`s; `Applied` for each; a `Report` at each heartbeat.
//! Changes to these types are additive: new fields are optional, new variants are sent only to a side that said it knows
//! them; a break is a new ALPN.

use minicbor::{Decode, Encode};

use crate::{
    Fingerprint, Label, Lease, MachineId, Netmap, NetmapDelta, NodeId, NodeReport, Pairs,
    ProbeOrder, ProbeResult, Revision, Secret32, TokenId, WgKey,
};

/// The application protocol of the control channel, on QUIC and on TLS alike.
pub const ALPN: &[u8] = b"malha/1";

/// The name in the controller's certificate: nodes pin the authority, not an address.
pub const CONTROLLER_TLS_NAME: &str = "controller.malha.internal";

/// Where a node asks the controller's TCP port for a carrier: HTTP/1.1 over TLS with the node's certificate, as an upgrade.
pub const CARRIER_PATH: &str = "/.well-known/malha/carrier";

/// The protocol behind that upgrade: datagrams, each with its length in two bytes, big endian, before it.
pub const CARRIER_PROTOCOL: &str = "malha-carrier/1";

/// The version that this code speaks, in [`Hello`]; for people, the ALPN decides.
pub const PROTOCOL_VERSION: u16 = 5;

/// From this version on a node knows [`ToNode::Pairs`].
pub const PAIRS_SINCE_VERSION: u16 = 2;

/// From this version on a node knows [`ToNode::Probe`].
pub const PROBES_SINCE_VERSION: u16 = 3;

/// From this version on a node answers names, and says what it answers.
pub const NAMES_SINCE_VERSION: u16 = 4;

/// From this version on a node stays at a [`crate::ProbeTarget`] that wants it, and knows [`crate::PortState::Dismissed`].
pub const STAYS_SINCE_VERSION: u16 = 5;

/// How often a node reports, milliseconds. Both sides take any frame as a sign of life.
pub const HEARTBEAT_INTERVAL_MS: u64 = 1_500;

/// After this long without a frame the session is dead, milliseconds: under the 5 s in which a dead hop must show.
pub const SESSION_TIMEOUT_MS: u64 = 4_000;

/// A frame may be on its way for so long, milliseconds: the longest one at 280 kbit/s. Who sends byte after byte and never a
/// whole frame holds no session, and who takes byte after byte neither.
pub const FRAME_PATIENCE_MS: u64 = 120_000;

/// What a machine says of itself: for people, and for telling two machines apart.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MachineFacts {
    #[n(0)]
    pub host_name: String,
    #[n(1)]
    pub machine: MachineId,
    #[n(2)]
    pub agent_version: String,
    #[n(3)]
    pub os: String,
    /// The data plane engine in use; None before it is chosen.
    #[n(4)]
    pub engine: Option<String>,
}

/// The wish to become a node. Repeating it with the same key and token gives the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EnrolRequest {
    #[n(0)]
    pub token: TokenId,
    #[n(1)]
    pub secret: Secret32,
    #[n(2)]
    pub wg_key: WgKey,
    /// PKCS#10 in DER; the controller takes only the public key from it.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub csr: Vec<u8>,
    /// The wished name; None: made from the host name.
    #[n(4)]
    pub name: Option<Label>,
    #[n(5)]
    pub facts: MachineFacts,
}

/// What a machine needs to be a node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EnrolReply {
    #[n(0)]
    pub node: NodeId,
    /// The node's certificate, DER, signed by the overlay authority.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub certificate: Vec<u8>,
    /// The overlay authority's certificate, DER.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub authority: Vec<u8>,
    /// To be shown at the first session.
    #[n(3)]
    pub lease: Lease,
    #[n(4)]
    pub netmap: Netmap,
    /// Controllers as `host:port`, replacing the token's list.
    #[n(5)]
    pub controllers: Vec<String>,
}

/// The first message of a session.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    #[n(0)]
    pub version: u16,
    /// Random at each start of the process: a reconnection keeps it, a second machine can't have it.
    #[n(1)]
    pub instance: u64,
    /// The newest lease that this node has on disk.
    #[n(2)]
    pub lease: Lease,
    /// The revision and [`Netmap::digest`] of the netmap in force; None without one.
    #[n(3)]
    pub applied: Option<Revision>,
    #[cbor(n(4), with = "minicbor::bytes")]
    pub digest: Option<[u8; 32]>,
    #[n(5)]
    pub facts: MachineFacts,
}

/// The answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// To be saved before [`ToController::LeaseSaved`] is sent.
    #[n(0)]
    pub lease: Lease,
    /// The controller's newest revision.
    #[n(1)]
    pub revision: Revision,
    /// The node's own address and port as the controller sees it, for diagnosis.
    #[n(2)]
    pub seen_as: Option<std::net::SocketAddr>,
    #[n(3)]
    pub controllers: Vec<String>,
    /// The identity was copied and this machine was chosen to keep it: answer with [`ToController::Renew`] and new keys;
    /// until then it has no peers.
    #[n(4)]
    pub rekey: Option<bool>,
}

/// Why the controller refuses; each has its own text and exit code at the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RefusalCode {
    #[n(0)]
    TokenUnknown,
    #[n(1)]
    TokenExpired,
    #[n(2)]
    TokenUsed,
    #[n(3)]
    TokenRevoked,
    /// The token belongs to another controller.
    #[n(4)]
    WrongController,
    #[n(5)]
    NameTaken,
    /// This WireGuard key is another node's.
    #[n(6)]
    KeyTaken,
    /// The request is not what the protocol says: CSR, key or message.
    #[n(7)]
    Malformed,
    /// The node was removed.
    #[n(8)]
    NodeRemoved,
    /// Another machine shows the same identity; both are held apart.
    #[n(9)]
    Cloned,
    /// The certificate was replaced by a newer one ("replace this box").
    #[n(10)]
    Replaced,
    /// Too many requests from this address: try later.
    #[n(11)]
    Busy,
    /// No free overlay address.
    #[n(12)]
    PoolExhausted,
    /// The controller can't write its state now: nothing happened, try again.
    #[n(13)]
    Unavailable,
}

/// Why a session ends in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum FarewellReason {
    /// The agent was stopped by its operator.
    #[n(0)]
    Stopped,
    /// The machine shuts down.
    #[n(1)]
    Shutdown,
    /// A newer session of the same process took over.
    #[n(2)]
    Superseded,
    /// The controller restarts: come back.
    #[n(3)]
    Restart,
}

/// From node to controller.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ToController {
    #[n(0)]
    Enrol(#[n(0)] Box<EnrolRequest>),
    #[n(1)]
    Hello(#[n(0)] Box<Hello>),
    /// The lease of [`Welcome`] is on disk.
    #[n(2)]
    LeaseSaved,
    /// The data plane runs with this revision.
    #[n(3)]
    Applied {
        #[n(0)]
        revision: Revision,
    },
    #[n(4)]
    Report(#[n(0)] NodeReport),
    /// A delta did not fit: send everything.
    #[n(5)]
    NeedSnapshot,
    /// A CSR (PKCS#10, DER) for the certificate's successor, and a new WireGuard key when that changes too.
    #[n(6)]
    Renew {
        #[cbor(n(0), with = "minicbor::bytes")]
        csr: Vec<u8>,
        #[n(1)]
        wg_key: Option<WgKey>,
    },
    #[n(7)]
    Farewell {
        #[n(0)]
        reason: FarewellReason,
    },
    /// The answer to [`ToNode::Probe`].
    #[n(8)]
    ProbeResult(#[n(0)] Box<ProbeResult>),
    /// How do I look from there? Instead of a session, with or without a certificate; an older controller skips it.
    #[n(9)]
    Reflect,
}

/// From controller to node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ToNode {
    #[n(0)]
    Enrolled(#[n(0)] Box<EnrolReply>),
    #[n(1)]
    Welcome(#[n(0)] Box<Welcome>),
    #[n(2)]
    Snapshot(#[n(0)] Box<Netmap>),
    #[n(3)]
    Delta(#[n(0)] Box<NetmapDelta>),
    /// The answer to a report: a sign of life.
    #[n(4)]
    Heartbeat,
    #[n(5)]
    Renewed {
        #[cbor(n(0), with = "minicbor::bytes")]
        certificate: Vec<u8>,
    },
    #[n(6)]
    Refused {
        #[n(0)]
        code: RefusalCode,
        /// For people: what was wrong, and what would be right.
        #[n(1)]
        text: String,
    },
    #[n(7)]
    Farewell {
        #[n(0)]
        reason: FarewellReason,
    },
    /// Only to nodes of [`PAIRS_SINCE_VERSION`]; in any order with netmaps.
    #[n(8)]
    Pairs(#[n(0)] Box<Pairs>),
    /// Only to nodes of [`PROBES_SINCE_VERSION`].
    #[n(9)]
    Probe(#[n(0)] Box<ProbeOrder>),
    /// The answer to [`ToController::Reflect`], and the end.
    #[n(10)]
    Reflection {
        /// Where the question came from, behind all translation of addresses.
        #[n(0)]
        seen_as: std::net::SocketAddr,
        /// The controller's clock, milliseconds of the Unix epoch.
        #[n(1)]
        unix_ms: u64,
    },
}

impl RefusalCode {
    /// Whether asking again with the same request can ever succeed.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Busy | Self::Unavailable | Self::PoolExhausted)
    }
}

/// The authority that a node pins, as its fingerprint.
impl EnrolReply {
    #[must_use]
    pub fn authority_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.authority)
    }
}
