//! What a tunnel tells about itself: peers, counters, events. Plain data; it decides nothing.

mod sum;

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Allow;
use crate::key::PublicKey;
use crate::path::{CarrierId, Path};

/// What is known of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    pub public_key: PublicKey,
    /// Where the peer's last authenticated packet came from.
    pub endpoint: Option<SocketAddr>,
    /// The kind of path that packets to the peer take; `None` if none was ever proven.
    pub path: Option<PathKind>,
    /// Time since a handshake was last completed in both directions.
    pub last_handshake_age: Option<Duration>,
    /// Time since the last authenticated packet from the peer, keepalives included.
    pub last_rx_age: Option<Duration>,
    /// Time since a host last said that nothing listens at the peer's endpoint.
    pub port_unreachable_age: Option<Duration>,
    /// Authenticated bytes received, with WireGuard's overhead.
    pub rx_bytes: u64,
    /// Bytes sent, with WireGuard's overhead.
    pub tx_bytes: u64,
    /// Data messages that the peer has sent us, as far as their numbers tell.
    pub rx_expected: u64,
    /// Those of them that have not come: what the path from the peer to us lost. A message that is only late is taken off
    /// again when it comes.
    pub rx_lost: u64,
    pub drops: PeerDrops,
    /// What the peer may open, each with what it admitted.
    pub rules: Vec<RuleStatus>,
    /// Packets admitted because they answer something that this node opened.
    pub answers: u64,
}

/// How packets travel to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// By UDP to the peer itself.
    Direct,
    /// Through a hub's relay, sealed.
    Relay,
    /// Through a byte stream, because UDP does not pass.
    Carrier,
}

/// Packets of one peer that went no further, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerDrops {
    /// No address is known to which the packet could be sent.
    pub no_endpoint: u64,
    /// The packet could not be opened: forged, replayed, too old, or for a session that is gone.
    pub unopened: u64,
    /// The source address belongs to another peer, or to none.
    pub spoofed: u64,
    /// The filter refused it.
    pub filtered: Refusals,
    /// Larger than a datagram can carry.
    pub too_large: u64,
}

/// One permission of a peer, and the packets that it admitted. Where several cover a packet, the first one counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleStatus {
    pub rule: Allow,
    pub admitted: u64,
}

/// Packets that the filter refused, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// No permission covers it, and it answers nothing.
    pub no_rule: u64,
    /// Its destination is not this node.
    pub not_ours: u64,
    /// A length that doesn't fit, or a header cut short.
    pub malformed: u64,
    pub fragment: u64,
    /// IPv4 options or an IPv6 extension header.
    pub extension: u64,
}

/// Datagrams and packets of a device that went no further, by reason, and what it answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Datagrams that are neither WireGuard messages nor frames of ours.
    pub malformed: u64,
    /// QUIC datagrams on a socket whose QUIC nobody has taken.
    pub quic: u64,
    /// Messages for a session that no peer has.
    pub unknown_session: u64,
    /// Initiations with a wrong key, a wrong checksum, or from a stranger.
    pub unknown_peer: u64,
    /// Initiations above the rate of their source prefix.
    pub flooded: u64,
    /// Cookie replies sent because of load.
    pub cookies_sent: u64,
    /// Outgoing packets to an address that no peer owns.
    pub no_peer: u64,
    /// Outgoing packets whose lengths or offsets contradict each other.
    pub malformed_packets: u64,
    /// Datagrams that did not fit the transmit queue.
    pub transmits_dropped: u64,
    /// Decrypted packets that did not fit the receive queue.
    pub packets_dropped: u64,
    /// Events that did not fit the event queue.
    pub events_dropped: u64,
    /// As in [`PeerDrops`], of all peers together, also of those that are gone.
    pub no_endpoint: u64,
    pub unopened: u64,
    pub spoofed: u64,
    pub too_large: u64,
}

impl DeviceCounters {
    pub(crate) fn add_peer(&mut self, drops: &PeerDrops) {
        self.no_endpoint += drops.no_endpoint;
        self.unopened += drops.unopened;
        self.spoofed += drops.spoofed;
        self.too_large += drops.too_large;
    }
}

/// Verdicts of the ingress filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilterCounters {
    pub admitted_by_rule: u64,
    pub admitted_as_answer: u64,
    pub refused: Refusals,
    /// Flows forgotten because the flow table was full.
    pub flows_evicted: u64,
}

/// What the UDP sockets saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnderlayCounters {
    pub datagrams_received: u64,
    pub datagrams_sent: u64,
    pub send_errors: u64,
    pub receive_errors: u64,
    /// Datagrams that did not fit the queue of their carrier, or whose carrier has ended.
    pub carrier_dropped: u64,
    /// QUIC datagrams for those who took the QUIC of a socket.
    pub quic_received: u64,
    /// Of these, the ones that found their queue full.
    pub quic_dropped: u64,
    /// QUIC datagrams of theirs that were sent, or lost by an error of the network.
    pub quic_sent: u64,
    /// Datagrams, and packets of this node, that one shard handed to another.
    pub handed_over: u64,
    /// Those that found the other shard's queue full.
    pub handover_dropped: u64,
}

/// What the relay did with frames, as a hub and as a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayCounters {
    /// Datagrams passed on between two nodes.
    pub forwarded: u64,
    pub forwarded_bytes: u64,
    /// Sources bound to their channels, repetitions included.
    pub bound: u64,
    /// Sources asked to prove that they receive at their address.
    pub challenged: u64,
    /// Frames for a channel that nobody was given, with a wrong seal, or from elsewhere than where the channel is bound.
    pub refused: u64,
    /// Datagrams above the rate of their pair.
    pub limited: u64,
    /// Datagrams for a channel whose other end is not bound, or whose hub has no path.
    pub unbound: u64,
}

/// What the TCP side of an engine saw. The kernel counts for itself, so `userspace` leaves most of them 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StackCounters {
    pub connections: u64,
    /// What their buffers may hold together; memory is used only where bytes wait.
    pub buffer_bytes: u64,
    pub accepted: u64,
    pub dialled: u64,
    /// Connection attempts dropped because a backlog or the connection limit was full.
    pub refused_full: u64,
    /// Segments answered with a reset because nothing listens there.
    pub refused_closed: u64,
    /// Segments with a wrong checksum: damaged before they were sealed.
    pub damaged: u64,
    /// Packets lost between device and TCP because a queue was full.
    pub packets_dropped: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TunnelStats {
    pub device: DeviceCounters,
    pub filter: FilterCounters,
    pub relay: RelayCounters,
    pub underlay: UnderlayCounters,
    pub stack: StackCounters,
}

/// What became of the interface; nothing for an engine that has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceState {
    /// How often somebody changed it and it was set again.
    pub mended: u64,
    /// Why it is not as it is to be; tried again each half second.
    pub trouble: Option<String>,
    /// Why it has no IPv6 address, if it has none.
    pub ipv4_only: Option<String>,
}

impl Refusals {
    pub fn total(&self) -> u64 {
        self.no_rule + self.not_ours + self.malformed + self.fragment + self.extension
    }
}

/// Something that happened to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelEvent {
    /// Both sides have proven their keys; traffic can flow.
    HandshakeCompleted { peer: PublicKey },
    /// The peer was heard, authenticated, from a new address.
    EndpointChanged {
        peer: PublicKey,
        endpoint: SocketAddr,
    },
    /// The host at this endpoint answers that nothing listens there: the machine lives, its agent does not.
    PortUnreachable {
        peer: PublicKey,
        endpoint: SocketAddr,
    },
    /// 90 s of handshakes without an answer; trying again with growing pauses.
    HandshakeUnanswered { peer: PublicKey },
    /// Nothing from the peer for 3 s although it was asked. Only for peers with a relay or with `carrier_possible`; for the
    /// latter repeated every 15 s while it lasts.
    PathSilent { peer: PublicKey },
    /// Packets to the peer take another kind of path from now on.
    PathChanged { peer: PublicKey, path: PathKind },
    /// A carrier's stream has ended, or made no progress for too long.
    CarrierClosed { id: CarrierId },
}

impl PathKind {
    pub(crate) fn of(path: Path) -> Self {
        match path {
            Path::Udp { .. } => Self::Direct,
            Path::Relay(_) => Self::Relay,
            Path::Carrier(_) => Self::Carrier,
        }
    }
}
