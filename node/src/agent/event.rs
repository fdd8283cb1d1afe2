//! Everything that can happen to an agent. The enum is closed: what is not here does not reach the machine.

use std::fmt;
use std::net::SocketAddr;

use malha_proto::{
    FarewellReason, Netmap, PairTable, PeerObservation, ProbeResult, Revision, ServiceId,
    ServiceState, ToNode, WgKey,
};

use crate::balancers::Balanced;
use crate::plane::Applied;

/// One attempt to reach a controller and, if it succeeds, the connection that came of it. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What carries the control session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Quic,
    Tcp,
}

/// Whose fault it is that a link is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkFault {
    /// The name has no address.
    Name,
    /// Nothing answered, or the network refused.
    Unreachable,
    /// The HTTP proxy on the way fails, is silent, or is named wrongly.
    Proxy,
    /// The HTTP proxy on the way says no, to the credentials that it is shown or to the controller. It says so each time, and who shows
    /// it wrong credentials often may lose the account.
    ProxyRefused,
    /// It answers, but not with a certificate of the pinned authority.
    WrongController,
    /// Its certificate is not valid at this machine's time: one of the two clocks is wrong.
    Clock,
    /// TLS failed for another reason; also when the controller does not accept this node's certificate.
    Tls,
    /// The other side broke the protocol.
    Protocol,
    /// The connection ended.
    Closed,
    /// Nothing was heard for too long.
    Silent,
    /// The controller answered with a refusal.
    Refused,
}

/// Why a link failed or ended, with words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkError {
    pub fault: LinkFault,
    pub detail: String,
}

/// The public side of keys that are not in use yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshKeys {
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    /// None: the WireGuard key stays.
    pub wg_key: Option<WgKey>,
}

/// What the shell tells the agent.
#[derive(Clone, Debug)]
pub enum Event {
    /// The first event, once: what is on disk.
    Started {
        last_known_good: Option<Box<Netmap>>,
        pairs: Option<Box<PairTable>>,
    },
    /// A link of [`super::Action::Connect`] stands: TLS is done and the authority is the pinned one.
    Connected {
        link: LinkId,
        /// Where the controller was reached; `None` by a proxy.
        remote: Option<SocketAddr>,
    },
    /// A link failed to come up, or broke.
    Lost {
        link: LinkId,
        error: LinkError,
    },
    /// A part of a frame came over a link. A long one takes a slow line many seconds; told at most once per
    /// [`crate::control::PART_INTERVAL`].
    Heard {
        link: LinkId,
    },
    Frame {
        link: LinkId,
        message: Box<ToNode>,
    },
    /// The answer to [`super::Action::Apply`].
    Applied {
        revision: Revision,
        result: Applied,
    },
    /// The tunnel has ended by itself, and with it all that was applied.
    TunnelEnded,
    /// The answer to [`super::Action::Probe`].
    Probed {
        service: ServiceId,
        state: ServiceState,
    },
    /// What the tunnel sees of all its peers.
    Observed {
        peers: Vec<PeerObservation>,
    },
    /// How this node's balancers are. May be repeated.
    Balanced(Balanced),
    /// Where the tunnel listens on this machine's own interfaces. May be repeated.
    Listens {
        addresses: Vec<SocketAddr>,
    },
    /// The hub does not answer on the ways that there are. Repeated while that lasts.
    HubSilent,
    /// The tunnel uses the carrier of [`super::Action::OpenCarrier`] where it needs it.
    CarrierUp {
        carrier: u64,
    },
    /// It did not come up, or broke.
    CarrierEnded {
        carrier: u64,
        error: LinkError,
    },
    /// The machine has other addresses or another route than before.
    NetworkChanged,
    LeaseSaved {
        result: Result<(), String>,
    },
    NetmapSaved {
        revision: Revision,
        result: Result<(), String>,
    },
    ControllersSaved {
        result: Result<(), String>,
    },
    PairsSaved {
        result: Result<(), String>,
    },
    /// Two thirds of the certificate's life are over. May be repeated.
    RenewalDue,
    /// Fresh keys are on disk beside the ones in use: the answer to [`super::Action::MakeKeys`], or keys that an earlier
    /// run made and did not finish with.
    KeysMade {
        result: Result<FreshKeys, String>,
    },
    /// The fresh keys and their certificate are in use, or could not be stored.
    KeysAdopted {
        result: Result<(), String>,
    },
    /// The answer to [`super::Action::ProbePorts`].
    PortsProbed {
        result: ProbeResult,
    },
    TimerFired,
    Stop {
        reason: FarewellReason,
    },
}

impl LinkError {
    pub fn new(fault: LinkFault, detail: impl fmt::Display) -> Self {
        let detail = detail.to_string();
        Self {
            fault,
            detail: detail.chars().take(MAX_DETAIL_CHARS).collect(),
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "QUIC",
            Self::Tcp => "TCP",
        })
    }
}

/// A refusal's text comes from outside.
const MAX_DETAIL_CHARS: usize = 300;
