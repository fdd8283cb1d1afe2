//! Ports that a controller has a node look at and names that it has it resolve, and what the node saw: whether a TCP connection
//! comes about, never what is behind it.

use std::net::{IpAddr, SocketAddr};

use minicbor::{Decode, Encode};

use crate::HostName;

/// The wish to know which ports answer, as this node sees them. A node serves one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProbeOrder {
    /// The controller's name for it; the answer repeats it.
    #[n(0)]
    pub number: u64,
    /// For each connection; at most [`MAX_PROBE_TIMEOUT_MS`].
    #[n(1)]
    pub timeout_ms: u32,
    /// At most [`MAX_PROBE_TARGETS`].
    #[n(2)]
    pub targets: Vec<ProbeTarget>,
    /// At most [`MAX_PROBE_NAMES`]; nodes before [`crate::NAMES_SINCE_VERSION`] pass over them.
    #[n(3)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub names: Vec<HostName>,
}

/// One port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ProbeTarget {
    #[n(0)]
    pub address: SocketAddr,
    #[n(1)]
    pub way: ProbeWay,
    /// Whether the other side keeps the connection counts, too: it is held for the order's timeout once more, and nothing is sent
    /// on it. Nodes before [`crate::STAYS_SINCE_VERSION`] pass over it.
    #[n(2)]
    #[cbor(default, skip_if = "is_false")]
    pub stays: bool,
}

fn is_false(it: &bool) -> bool {
    !it
}

/// Which way a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ProbeWay {
    /// Through its tunnel, to an address of a peer.
    #[n(0)]
    Overlay,
    /// Through the network of its machine.
    #[n(1)]
    Underlay,
}

/// What a node saw of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum PortState {
    #[n(0)]
    Open,
    /// Answered with a reset.
    #[n(1)]
    Refused,
    /// No answer in the order's time.
    #[n(2)]
    Silent,
    /// A router, a firewall or the machine's own network says that nobody is there.
    #[n(3)]
    Unreachable,
    /// The node has no way there: no peer with this address, no route.
    #[n(4)]
    NoWay,
    /// The node does not look at such addresses, on nobody's order.
    #[n(5)]
    Forbidden,
    /// The node could not look: no socket, no tunnel.
    #[n(6)]
    Failed,
    /// Accepted, and ended by the other side before a word was said. Only of a target at which the node stays.
    #[n(7)]
    Dismissed,
}

/// The answer to a [`ProbeOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProbeResult {
    #[n(0)]
    pub number: u64,
    #[n(1)]
    pub outcome: ProbeOutcome,
    /// What was seen of each name, in the order's order; none unless [`ProbeOutcome::Seen`].
    #[n(2)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub names: Vec<NameSeen>,
}

/// What a node sees of one name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NameSeen {
    /// What the resolver of its agent answers.
    #[n(0)]
    pub resolver: NameAnswer,
    /// What programs on the machine get for it. None: not looked up, because the agent does not know the name.
    #[n(1)]
    pub system: Option<Vec<IpAddr>>,
}

/// What a resolver said of a name, both address families together.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NameAnswer {
    /// At most [`MAX_PROBE_ADDRESSES`], sorted; none where the name has other records only.
    #[n(0)]
    Addresses(#[n(0)] Vec<IpAddr>),
    /// There is no such name in the overlay.
    #[n(1)]
    NoName,
    /// It answers nothing for such names.
    #[n(2)]
    Refused,
    /// It did not answer, or not to the question.
    #[n(3)]
    Silent,
    /// It does not run here.
    #[n(4)]
    Off,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ProbeOutcome {
    /// A state for each target, in the order's order.
    #[n(0)]
    Seen(#[n(0)] Vec<PortState>),
    /// Another order is under way, or there were too many lately: later.
    #[n(1)]
    Busy,
    /// The order is over a limit.
    #[n(2)]
    TooMuch,
    /// The owner of the machine has turned this off.
    #[n(3)]
    Off,
}

impl ProbeOrder {
    /// Whether it keeps to the limits.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        (1..=MAX_PROBE_TIMEOUT_MS).contains(&self.timeout_ms)
            && self.targets.len() <= MAX_PROBE_TARGETS
            && self.names.len() <= MAX_PROBE_NAMES
    }
}

/// Names in one order.
pub const MAX_PROBE_NAMES: usize = 16;

/// Addresses that are told of one name.
pub const MAX_PROBE_ADDRESSES: usize = 64;

/// Ports in one order.
pub const MAX_PROBE_TARGETS: usize = 64;

/// The longest that a node waits for one connection, milliseconds, and the longest that it stays.
pub const MAX_PROBE_TIMEOUT_MS: u32 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wish_to_stay_and_what_came_of_it_arrive() {
        let target = ProbeTarget {
            address: "203.0.113.9:5500".parse().unwrap(),
            way: ProbeWay::Underlay,
            stays: true,
        };
        let sent = minicbor::to_vec((target, PortState::Dismissed)).unwrap();
        let read: (ProbeTarget, PortState) = minicbor::decode(&sent).unwrap();
        assert_eq!(read, (target, PortState::Dismissed));
    }
}
