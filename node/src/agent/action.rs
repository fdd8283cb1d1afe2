//! Everything an agent can ask of its shell.

use std::net::SocketAddr;
use std::sync::Arc;

use malha_proto::{
    Lease, Netmap, PairTable, ProbeOrder, RefusalCode, ServiceId, ServiceKind, ToController,
};

use super::{LinkId, TooLarge, Transport};

/// Why an agent ends for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Its operator stopped it.
    Stopped,
    /// The node was removed from the overlay.
    Removed,
    /// Another machine took this node's place.
    Replaced,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Resolve `controller` (`host:port`), try its addresses, and answer with `Connected` or `Lost`.
    Connect {
        link: LinkId,
        controller: Arc<str>,
        transport: Transport,
    },
    /// Send what is queued, then end the link. No event of this link is of interest any more.
    Close {
        link: LinkId,
    },
    Send {
        link: LinkId,
        message: ToController,
    },
    /// Answered with `LeaseSaved` once it survives a power cut.
    SaveLease(Lease),
    /// Answered with `NetmapSaved` once it survives a power cut.
    SaveNetmap(Arc<Netmap>),
    /// In place of the former ones; answered with `ControllersSaved` once they survive a power cut.
    SaveControllers(Vec<String>),
    /// Answered with `PairsSaved` once it survives a power cut.
    SavePairs(Arc<PairTable>),
    /// Let the data plane share this with its peers, those of now and those of later maps, in place of what it was told before.
    Share(Arc<PairTable>),
    /// Make the data plane be this map, and nothing but it. Only one is under way at a time.
    Apply(Arc<Netmap>),
    /// Tell the log that the newest map is not taken, and the one before stays in force.
    NoteTooLarge(TooLarge),
    /// Look once whether the service's local target answers.
    Probe {
        service: ServiceId,
        target: SocketAddr,
        kind: ServiceKind,
    },
    /// Look which of these ports answer; answered with `PortsProbed`.
    ProbePorts(Box<ProbeOrder>),
    /// Take a new UDP socket for the tunnel: the network changed.
    RebindTunnel,
    /// Start a handshake with every peer that can be dialed: the hub was out of sight and may have lost its sessions, or is
    /// silent and may have lost us.
    RefreshTunnel,
    /// Dial a carrier and give it to the tunnel; answered with `CarrierUp` or `CarrierEnded`.
    OpenCarrier {
        carrier: u64,
        /// `host:port`
        controller: Arc<str>,
    },
    /// Take it from the tunnel. No event of it is of interest any more.
    CloseCarrier {
        carrier: u64,
    },
    /// Make keys beside the ones in use, a TLS key and perhaps a WireGuard key; answered with `KeysMade`.
    MakeKeys {
        wireguard: bool,
    },
    /// Use the fresh keys from now on, with this certificate (DER); answered with `KeysAdopted`.
    AdoptKeys {
        certificate: Vec<u8>,
    },
    /// Note on disk that this identity is over.
    RecordEnding(Ending),
    /// The last action. The data plane goes down with the agent.
    Exit(Ending),
}

impl Ending {
    /// The ending that a refusal means; None where the agent goes on.
    pub(super) fn of(code: RefusalCode) -> Option<Self> {
        match code {
            RefusalCode::NodeRemoved => Some(Self::Removed),
            RefusalCode::Replaced => Some(Self::Replaced),
            _ => None,
        }
    }
}
