//! What the table of flows forgets, when, and for whom.

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
        table.ask(asked(port), start);
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
