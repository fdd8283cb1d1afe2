//! WireGuard data plane behind one trait: encrypted packets on one side, TCP streams between overlay addresses on the other.
//! It never knows the controller, never decides who may talk to whom, and never writes a key anywhere.
//!
//! The layers, from the wire inwards:
//!
//! | layer | does | how many |
//! |---|---|---|
//! | `socket` | UDP sockets and their error queues | one per listen address and shard |
//! | `quic` | hands QUIC datagrams to whoever speaks it, and sends theirs | at most one side per socket |
//! | `carrier` | byte streams that carry datagrams where UDP does not pass | one per node in need |
//! | `relay` | passes sealed datagrams between two nodes, and asks a hub to | one per tunnel |
//! | [`Device`] | sans-IO WireGuard: peers, allowed IPs, handshakes, ingress filter | one per shard |
//! | `shard` | which shard a peer lives in, and what shards hand to each other | one tunnel has one, or more with `userspace` |
//! | `netstack` | a TCP/IP stack in the process, for nodes without privilege | one per tunnel |
//! | `userspace` | a TUN device and the kernel's TCP, for nodes with root | one per tunnel |
//! | `kernel` | WireGuard, TCP and filter in the kernel | one per tunnel |
//! | [`Tunnel`] | the door for agents and hubs | one per tunnel |
//!
//! All state of a shard belongs to one task; callers reach it by commands. Shards hand each other datagrams and packets by bounded
//! queues without a lock, and share no more than the count of handshakes. Only a netstack connection is shared, between
//! its task and its stream, under a lock that is never held across an await.

#![forbid(unsafe_code)]

mod admission;
mod allowed_ips;
mod carrier;
mod config;
mod demux;
mod device;
mod error;
mod filter;
mod flood;
mod flow;
mod forward;
#[doc(hidden)]
pub mod fuzz;
mod gaps;
mod ingress;
mod keeper;
mod kernel;
mod key;
mod listener;
mod netlink;
mod netstack;
pub mod nftables;
mod noise;
mod offload;
mod packet;
mod path;
mod peer;
mod quic;
mod relay;
mod settling;
mod shard;
mod socket;
mod status;
mod stream;
mod tunnel;
mod underlay;
mod upkeep;
mod userspace;
mod watched;
mod wire;

pub use admission::Admission;
pub use carrier::{CarrierStream, prepare_carrier_socket};
pub use config::{Allow, MAX_ENDPOINTS, Offload, PeerConfig, Protocol, TunnelConfig, WishedPorts};
pub use device::Device;
pub use error::TunnelError;
pub use forward::forward;
pub use keeper::{
    Keeper, LONGEST_CLOSE, datagrams_name, give_back, kept_or_opened, listener_name,
    open_when_freed, opened_when_freed,
};
pub use kernel::available as kernel_available;
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey, RelayKey};
pub use listener::{KernelDoors, TunnelListener};
pub use netlink::route::local_addresses;
pub use offload::buffer::Buffer;
pub use offload::join::{Arrival, Joins};
pub use offload::vnet::{Refused, Work};
pub use path::{CarrierId, ChannelId, Path, Transmit};
pub use quic::{QuicRoom, QuicSide};
pub use relay::{ChannelGrant, RelayGrant, RelayPair};
pub use settling::{News, SETTLING, dial_settling};
pub use shard::{MAX_SHARDS, shard_of};
pub use status::{
    DeviceCounters, FilterCounters, InterfaceState, PathKind, PeerDrops, PeerStatus, Refusals,
    RelayCounters, RuleStatus, StackCounters, TunnelEvent, TunnelStats, UnderlayCounters,
};
pub use stream::{BoxStream, Cut, KernelPart, KernelWay, Stream};
pub use tunnel::{Engine, PeersChange, PeersChanged, Tunnel, start};
pub use userspace::SourceWatch;

/// Directives of a log filter, to stand before the operator's own. The libraries below warn every few seconds of each peer that is away, and of
/// each card that can't cut datagrams itself, with addresses; what there is to know of it is in peers' states and counters.
pub const QUIET_LOG: &str = "boringtun=off,quinn_udp=off";
