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

    /// A packet of either side of what a peer was permitted to begin. Nothing of this node's own that goes on is forgotten for it.
    pub(crate) fn take_part(&mut self, key: FlowKey, now: Instant) {
        if self.pass(key, None, true, now) {
            return;
        }
        self.insert(key, Stage::Theirs, now);
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
        flow.is_some_and(|flow| flow.stage != Stage::Theirs && !flow.expired(key.protocol, now))
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
        if flow.stage == Stage::Theirs && !by_us {
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
            (Self::Closed | Self::Theirs, _) => Worth::Over,
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
mod tests {
    use super::*;

    fn key(port: u16) -> FlowKey {
        FlowKey {
            peer: PeerIndex(1),
            protocol: Protocol::Tcp,
            local: ("10.0.0.1".parse().unwrap(), port),
            remote: ("10.0.0.2".parse().unwrap(), 80),
        }
    }

    const ACK: TcpFlags = TcpFlags {
        fin: false,
        syn: false,
        rst: false,
        ack: true,
    };
    const SYN_ACK: TcpFlags = TcpFlags { syn: true, ..ACK };
    const FIN: TcpFlags = TcpFlags { fin: true, ..ACK };

    #[test]
    fn a_full_table_forgets_the_least_recently_used() {
        let start = Instant::now();
        let mut table = FlowTable::new(2);
        table.open(key(1), start);
        table.open(key(2), start);
        assert!(table.admit(key(1), Some(ACK), start + Duration::from_secs(2)));
        table.open(key(3), start + Duration::from_secs(3));
        let later = start + Duration::from_secs(4);
        assert!(table.knows(key(1), later) && table.knows(key(3), later));
        assert!(!table.knows(key(2), later));
        assert_eq!(table.evicted(), 1);
    }

    /// A table for 64 flows with one, that of `key(1)`.
    fn with_a_connection(now: Instant) -> FlowTable {
        let mut table = FlowTable::new(64);
        table.open(key(1), now);
        assert!(table.admit(key(1), Some(SYN_ACK), now));
        table
    }

    #[test]
    fn a_new_connection_of_the_ports_of_a_half_closed_one_begins_anew() {
        let start = Instant::now();
        let mut table = with_a_connection(start);
        table.leave(key(1), Some(FIN), start);
        table.open(key(1), start);
        assert!(table.admit(key(1), Some(SYN_ACK), start));
        assert!(table.admit(key(1), Some(FIN), start));
        assert!(table.knows(key(1), start + TCP_EDGE_IDLE));
    }

    #[test]
    fn answers_to_peers_push_nothing_out() {
        let start = Instant::now();
        let mut table = with_a_connection(start);
        let asked = |port| FlowKey {
            protocol: Protocol::Udp,
            ..key(port)
        };
        for port in 100..1000 {
            table.take_part(asked(port), start);
        }
        assert_eq!((table.flows.len(), table.evicted()), (65, 0));
        assert!(table.is_theirs(&asked(999), start) && !table.knows(asked(999), start));
        for port in 1000..1063 {
            table.open(asked(port), start);
        }
        assert!(table.knows(key(1), start) && table.knows(asked(1062), start));
    }

    #[test]
    fn many_short_connections_end_no_idle_one() {
        let start = Instant::now();
        let mut table = with_a_connection(start);
        let later = start + Duration::from_secs(30);
        for port in 100..1000 {
            table.open(key(port), later);
            assert!(table.admit(key(port), Some(SYN_ACK), later));
            table.leave(key(port), Some(TcpFlags { rst: true, ..ACK }), later);
        }
        assert!(table.admit(key(1), Some(ACK), later));
    }

    #[test]
    fn looking_for_who_is_not_there_ends_no_idle_connection() {
        let start = Instant::now();
        let mut table = with_a_connection(start);
        let later = start + Duration::from_secs(30);
        for port in 100..1000 {
            table.open(key(port), later);
        }
        assert!(table.admit(key(1), Some(ACK), later));
    }

    #[test]
    fn questions_whose_time_is_over_end_no_idle_connection() {
        let start = Instant::now();
        let mut table = with_a_connection(start);
        for asked in 1..200u16 {
            let question = FlowKey {
                protocol: Protocol::Udp,
                ..key(asked)
            };
            let now = start + Duration::from_secs(30) * u32::from(asked);
            table.open(question, now);
            assert!(table.admit(question, None, now));
        }
        assert!(table.admit(key(1), Some(ACK), start + Duration::from_secs(6000)));
    }

    #[test]
    fn a_table_full_of_live_connections_still_takes_new_ones() {
        let start = Instant::now();
        let mut table = FlowTable::new(64);
        for port in 100..200 {
            table.open(key(port), start);
            assert!(table.admit(key(port), Some(SYN_ACK), start));
        }
        let newcomers = 1..8;
        for port in newcomers.clone() {
            table.open(key(port), start);
        }
        for port in newcomers {
            assert!(table.admit(key(port), Some(SYN_ACK), start), "{port}");
        }
    }

    #[test]
    fn a_table_that_was_full_once_is_small_again() {
        let start = Instant::now();
        let mut table = FlowTable::new(20_000);
        for port in 1..=20_000 {
            table.open(key(port), start);
            assert!(table.admit(key(port), Some(SYN_ACK), start));
        }
        assert_eq!(table.flows.len(), 20_000);
        let later = start + TCP_OPEN_IDLE;
        for port in 20_001..40_000 {
            let now = later + TCP_EDGE_IDLE * u32::from(port - 20_000);
            table.open(key(port), now);
        }
        assert!(table.flows.len() < 10, "{}", table.flows.len());
        assert!(table.flows.capacity() < 4096);
        assert!(table.queues.iter().map(BTreeMap::len).sum::<usize>() < 10);
        assert_eq!(table.evicted(), 0);
    }

    #[test]
    fn a_connection_that_both_sides_finished_is_soon_forgotten() {
        let start = Instant::now();
        let mut table = FlowTable::new(8);
        table.open(key(1), start);
        assert!(!table.admit(key(1), Some(FIN), start));
        assert!(table.admit(key(1), Some(SYN_ACK), start));
        table.leave(key(1), Some(FIN), start);
        assert!(table.knows(key(1), start + TCP_EDGE_IDLE));
        assert!(table.admit(key(1), Some(FIN), start));
        assert!(!table.knows(key(1), start + TCP_EDGE_IDLE));
    }

    #[test]
    fn a_connection_opened_again_after_its_end_lives_as_long_as_a_new_one() {
        let start = Instant::now();
        let mut table = FlowTable::new(8);
        table.open(key(1), start);
        table.leave(key(1), Some(TcpFlags { rst: true, ..ACK }), start);
        table.open(key(1), start);
        assert!(table.admit(key(1), Some(SYN_ACK), start));
        assert!(table.knows(key(1), start + TCP_EDGE_IDLE));
    }

    #[test]
    fn an_idle_connection_outlives_two_hours() {
        let start = Instant::now();
        let mut table = FlowTable::new(8);
        table.open(key(1), start);
        assert!(table.admit(key(1), Some(SYN_ACK), start));
        assert!(table.admit(key(1), Some(ACK), start + Duration::from_secs(7200)));
    }

    #[test]
    fn a_removed_peer_has_no_flows_left() {
        let start = Instant::now();
        let mut table = FlowTable::new(8);
        table.open(key(1), start);
        table.forget_peer(PeerIndex(1));
        assert!(!table.admit(key(1), Some(ACK), start));
        assert!(table.queues.iter().all(BTreeMap::is_empty));
    }
}
