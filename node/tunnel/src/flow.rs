//! The flows that this node opened: a bounded table with a share for each kind, of which the least recently used goes, so that
//! nothing else ends a connection. It never opens one on behalf of a peer, but knows for a while which of those without a
//! connection a peer began.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::Protocol;
use crate::packet::TcpFlags;
use crate::peer::PeerIndex;

/// One conversation, seen from this node. For an echo both ports are its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FlowKey {
    pub(crate) peer: PeerIndex,
    pub(crate) protocol: Protocol,
    pub(crate) local: (IpAddr, u16),
    pub(crate) remote: (IpAddr, u16),
}

pub(crate) struct FlowTable {
    flows: HashMap<FlowKey, Flow>,
    /// Flows by age of their last refresh, oldest first; in each queue those of one worth.
    queues: [BTreeMap<u64, FlowKey>; 4],
    next_order: u64,
    /// How many connections it may hold.
    connections: usize,
    evicted: u64,
}

struct Flow {
    order: u64,
    used: Instant,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The peer began it, by a permission that it had.
    Theirs,
    /// This node spoke first, and the peer has a permission to do so too.
    Shared,
    /// Nothing has come back yet.
    Opening,
    Open,
    /// One direction is finished.
    HalfClosed {
        by_us: bool,
    },
    Closed,
}

/// What is lost with a flow; also the number of its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Over,
    Unanswered,
    /// Answered, and not a connection.
    Brief,
    Connection,
}

impl FlowTable {
    pub(crate) fn new(connections: usize) -> Self {
        Self {
            flows: HashMap::new(),
            queues: Default::default(),
            next_order: 0,
            connections,
            evicted: 0,
        }
    }

    /// Flows that were forgotten before their time.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// This node starts a conversation, or starts it again.
    pub(crate) fn open(&mut self, key: FlowKey, now: Instant) {
        match self.flows.get(&key) {
            Some(flow) if !flow.expired(key.protocol, now) && flow.stage.is_begun() => {
                self.settle(key, flow.stage, now);
            }
            _ => {
                self.remove(&key);
                self.insert(key, Stage::Opening, now);
            }
        }
    }

    /// A peer sends what it is permitted to. Nothing of this node's own that goes on is forgotten for it.
    pub(crate) fn ask(&mut self, key: FlowKey, now: Instant) {
        if !self.pass(key, None, true, now) {
            self.insert(key, Stage::Theirs, now);
        }
    }

    /// This node sends what answers a question that a peer is permitted, if there was one.
    pub(crate) fn answer(&mut self, key: FlowKey, now: Instant) {
        if !self.pass(key, None, true, now) {
            self.insert(key, Stage::Shared, now);
        }
    }

    /// Whether a peer began this conversation, and this node only answers.
    pub(crate) fn is_theirs(&self, key: &FlowKey, now: Instant) -> bool {
        let flow = self.flows.get(key);
        flow.is_some_and(|flow| flow.stage == Stage::Theirs && !flow.expired(key.protocol, now))
    }

    /// A packet of a conversation that may exist leaves this node.
    pub(crate) fn leave(&mut self, key: FlowKey, flags: Option<TcpFlags>, now: Instant) {
        self.pass(key, flags, true, now);
    }

    /// Whether an arriving packet answers a conversation that this node opened.
    pub(crate) fn admit(&mut self, key: FlowKey, flags: Option<TcpFlags>, now: Instant) -> bool {
        self.pass(key, flags, false, now)
    }

    /// Whether an arriving ICMP error is about a conversation that this node opened; it does not keep the flow alive.
    pub(crate) fn knows(&self, key: FlowKey, now: Instant) -> bool {
        let flow = self.flows.get(&key);
        flow.is_some_and(|flow| flow.stage.is_ours() && !flow.expired(key.protocol, now))
    }

    pub(crate) fn forget_peer(&mut self, peer: PeerIndex) {
        self.flows.retain(|key, _| key.peer != peer);
        self.give_back();
        for queue in &mut self.queues {
            queue.retain(|_, key| key.peer != peer);
        }
    }

    fn pass(&mut self, key: FlowKey, flags: Option<TcpFlags>, by_us: bool, now: Instant) -> bool {
        let Some(flow) = self.flows.get_mut(&key) else {
            return false;
        };
        if flow.expired(key.protocol, now) {
            self.remove(&key);
            return false;
        }
        if !flow.stage.is_ours() && !by_us {
            self.settle(key, Stage::Theirs, now);
            return false;
        }
        // Nobody finishes what was never answered.
        if flow.stage == Stage::Opening && !by_us && flags.is_some_and(|flags| flags.fin) {
            return false;
        }
        let stage = flow.stage.after(flags, by_us);
        self.settle(key, stage, now);
        true
    }

    fn insert(&mut self, key: FlowKey, stage: Stage, now: Instant) {
        self.sweep(now);
        let flow = Flow {
            order: self.enqueue(key, stage.worth(key.protocol), now),
            used: now,
            stage,
        };
        self.flows.insert(key, flow);
    }

    /// At the young end of its queue. Where that is full, the oldest goes.
    fn enqueue(&mut self, key: FlowKey, worth: Worth, now: Instant) -> u64 {
        let room = match worth {
            Worth::Connection => self.connections,
            _ => self.connections.min(MAX_OF_OTHERS),
        };
        let queue = &self.queues[worth as usize];
        if queue.len() >= room
            && let Some((_, oldest)) = queue.first_key_value()
        {
            let oldest = *oldest;
            let is_loss = worth != Worth::Over && !self.has_expired(&oldest, now);
            self.evicted += u64::from(is_loss);
            self.remove(&oldest);
        }
        let order = self.next_order;
        self.next_order += 1;
        self.queues[worth as usize].insert(order, key);
        order
    }

    /// Forgets some of those whose time is over: more than come, so that a table that was full once does not stay so.
    fn sweep(&mut self, now: Instant) {
        for worth in 0..self.queues.len() {
            for _ in 0..SWEPT {
                let oldest = self.queues[worth].first_key_value();
                let Some(oldest) = oldest.map(|(_, key)| *key) else {
                    break;
                };
                if !self.has_expired(&oldest, now) {
                    break;
                }
                self.remove(&oldest);
            }
        }
        self.give_back();
    }

    fn has_expired(&self, key: &FlowKey, now: Instant) -> bool {
        let flow = self.flows.get(key);
        flow.is_none_or(|flow| flow.expired(key.protocol, now))
    }

    /// Gives memory back that was needed once.
    fn give_back(&mut self) {
        let needed = self.flows.len().max(FEW_FLOWS);
        if self.flows.capacity() / 8 > needed {
            self.flows.shrink_to(needed * 2);
        }
    }

    fn remove(&mut self, key: &FlowKey) {
        if let Some(flow) = self.flows.remove(key) {
            self.queues[flow.queue(key.protocol)].remove(&flow.order);
        }
    }

    /// Notes that a flow was used, and where it stands now. It moves to the young end at most once a second, since the order
    /// need not be finer than the time limits.
    fn settle(&mut self, key: FlowKey, stage: Stage, now: Instant) {
        let Some(flow) = self.flows.get_mut(&key) else {
            return;
        };
        let before = flow.queue(key.protocol);
        flow.stage = stage;
        if flow.queue(key.protocol) == before
            && now.saturating_duration_since(flow.used) < REFRESH_INTERVAL
        {
            return;
        }
        flow.used = now;
        let left = flow.order;
        self.queues[before].remove(&left);
        let order = self.enqueue(key, stage.worth(key.protocol), now);
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.order = order;
        }
    }
}

impl Flow {
    fn expired(&self, protocol: Protocol, now: Instant) -> bool {
        now.saturating_duration_since(self.used) >= self.stage.idle_limit(protocol)
    }

    fn queue(&self, protocol: Protocol) -> usize {
        self.stage.worth(protocol) as usize
    }
}

impl Stage {
    /// Whether this node opened it.
    fn is_ours(self) -> bool {
        !matches!(self, Self::Theirs | Self::Shared)
    }

    /// Whether a new beginning is a repetition.
    fn is_begun(self) -> bool {
        matches!(self, Self::Opening | Self::Open)
    }

    fn after(self, flags: Option<TcpFlags>, by_us: bool) -> Self {
        let Some(flags) = flags else {
            return if by_us { self } else { Self::Open };
        };
        match self {
            _ if flags.rst => Self::Closed,
            Self::HalfClosed { by_us: first } if flags.fin && first != by_us => Self::Closed,
            Self::Open if flags.fin => Self::HalfClosed { by_us },
            // Any other segment answers an older connection of the same ports.
            Self::Opening if !by_us && flags.syn => Self::Open,
            stage => stage,
        }
    }

    fn worth(self, protocol: Protocol) -> Worth {
        match (self, protocol) {
            (Self::Closed | Self::Theirs | Self::Shared, _) => Worth::Over,
            (Self::Opening, _) => Worth::Unanswered,
            (Self::Open | Self::HalfClosed { .. }, Protocol::Tcp) => Worth::Connection,
            (Self::Open | Self::HalfClosed { .. }, _) => Worth::Brief,
        }
    }

    fn idle_limit(self, protocol: Protocol) -> Duration {
        match (protocol, self) {
            (Protocol::Icmp, _) => ICMP_IDLE,
            (Protocol::Udp, _) => UDP_IDLE,
            (Protocol::Tcp, Self::Open | Self::HalfClosed { .. }) => TCP_OPEN_IDLE,
            (Protocol::Tcp, _) => TCP_EDGE_IDLE,
        }
    }
}

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Of each kind that is no connection: over, unanswered, brief. Peers who ask can make no more either.
const MAX_OF_OTHERS: usize = 16_384;
/// Of each kind, with each new flow.
const SWEPT: usize = 2;
/// Room for so many is never worth giving back.
const FEW_FLOWS: usize = 512;
/// RFC 5382 REQ-5: at least 2 hours and 4 minutes for an established connection.
pub(crate) const TCP_OPEN_IDLE: Duration = Duration::from_secs(7440);
/// RFC 5382 REQ-5: at least 4 minutes while a connection opens or closes.
pub(crate) const TCP_EDGE_IDLE: Duration = Duration::from_secs(240);
/// RFC 4787 REQ-5: at least 2 minutes.
pub(crate) const UDP_IDLE: Duration = Duration::from_secs(120);
/// RFC 5508 REQ-2: at least 60 seconds.
pub(crate) const ICMP_IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
