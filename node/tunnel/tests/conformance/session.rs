//! What a session accepts, how often, and how it is replaced.

use std::time::Duration;

use malha_tunnel::Engine;
use tokio::time::{Instant, timeout};

use crate::ground::{Ground, peer};
use crate::nodes::{LIMIT, Node, overlay};
use crate::ping;
use crate::raw::{DATA, INITIATION, RESPONSE, Raw, SILENCE};

/// The tunnel under test and a peer that has called it.
async fn called(ground: &Ground) -> (Node, Raw) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    raw.calls().await;
    raw.pings().await;
    (subject, raw)
}

pub(crate) async fn a_datagram_counts_once(ground: Ground) {
    let (_subject, mut raw) = called(&ground).await;
    let (request, number) = raw.request();
    let datagram = raw.seal(&request);
    raw.send(&datagram).await;
    raw.send(&datagram).await;
    assert_eq!(raw.replies().await, [number]);
    raw.send(&datagram).await;
    assert_eq!(raw.replies().await, []);
}

pub(crate) async fn late_datagrams_count_within_the_window_and_not_beyond(ground: Ground) {
    let (_subject, mut raw) = called(&ground).await;
    let mut wanted = Vec::new();
    let mut held = Vec::new();
    for _ in 0..IN_WINDOW {
        let (request, number) = raw.request();
        held.push(raw.seal(&request));
        wanted.push(number);
    }
    held.reverse();
    wanted.reverse();
    // Few at a time, so that no socket buffer on the way overflows.
    for (held, wanted) in held.chunks(50).zip(wanted.chunks(50)) {
        for datagram in held {
            raw.send(datagram).await;
        }
        assert_eq!(raw.replies().await, wanted);
    }

    let (request, _) = raw.request();
    let too_late = raw.seal(&request);
    raw.sessions[0].next += BEYOND_WINDOW;
    raw.pings().await;
    raw.send(&too_late).await;
    raw.send(&held[0]).await;
    assert_eq!(raw.replies().await, []);
}

/// Past 2^64 - 2^13 - 1 messages a session is over (paper §6.1). An enrolled peer chooses its counters, so the end of the range
/// must not bring down the tunnel of all the others.
pub(crate) async fn a_counter_at_the_end_of_its_range_does_no_harm(ground: Ground) {
    let first_refused = match ground.engine {
        // Linux keeps 64 numbers fewer back than the paper.
        Engine::Kernel => u64::MAX - 0x2000 + 64,
        _ => u64::MAX - 0x2000,
    };
    let (subject, mut raw) = called(&ground).await;
    let mut other = Raw::new(3, &subject).await;
    subject.tunnel.set_peer(peer(3, vec![])).await.unwrap();
    other.calls().await;
    for counter in [first_refused, u64::MAX - 1, u64::MAX, u64::MAX - 1025] {
        let (request, _) = raw.request();
        let datagram = raw.sessions[0].session.seal(counter, &request);
        raw.send(&datagram).await;
    }
    other.pings().await;
    assert_eq!(raw.replies().await, [], "a counter past the limit passed");
}

pub(crate) async fn a_rekey_under_traffic_loses_nothing(ground: Ground) {
    let (_subject, mut raw) = called(&ground).await;
    for _ in 0..5 {
        let old = raw.sessions.len() - 1;
        let mut wanted = Vec::new();
        let (initiation, begun) = raw.initiation(None);
        let (request, number) = raw.request();
        let before = raw.seal_with(old, &request);
        wanted.push(number);
        let (request, number) = raw.request();
        let between = raw.seal_with(old, &request);
        wanted.push(number);
        raw.send(&initiation).await;
        raw.send(&before).await;
        let response = loop {
            let datagram = raw.datagram().await;
            match datagram[0] {
                RESPONSE => break datagram,
                _ => {
                    let packet = raw.open(&datagram).unwrap();
                    wanted.retain(|it| Some(*it) != ping::reply(&packet));
                }
            }
        };
        raw.keep(raw.identity.complete(&begun, &response).unwrap());
        raw.send(&between).await;
        let (request, number) = raw.request();
        let first_of_new = raw.seal(&request);
        let (request, late) = raw.request();
        let late_of_old = raw.seal_with(old, &request);
        raw.send(&first_of_new).await;
        raw.send(&late_of_old).await;
        wanted.extend([number, late]);
        assert_eq!(raw.replies().await, wanted);
    }
}

/// KEEPALIVE_TIMEOUT (paper §6.5)
pub(crate) async fn data_that_nobody_answers_is_answered_by_a_keepalive(ground: Ground) {
    let (_subject, mut raw) = called(&ground).await;
    let start = Instant::now();
    // An engine may note times in steps of 250 ms, and must see that this came after what it sent last.
    assert_eq!(raw.hears(SILENCE).await, None);
    // Genuine, but an answer to nothing: it passes the session and not the filter.
    let unasked = ping::request(overlay(2, 0).ip(), overlay(77, 0).ip(), 1, 8);
    let datagram = raw.seal(&unasked);
    raw.send(&datagram).await;
    let keepalive = timeout(LIMIT, raw.message(DATA)).await.unwrap();
    assert_eq!(raw.open(&keepalive).unwrap(), []);
    let took = start.elapsed();
    assert!(
        took > Duration::from_secs(8) && took < Duration::from_secs(15),
        "{took:?}"
    );
}

/// KEEPALIVE_TIMEOUT + REKEY_TIMEOUT (paper §6.2)
pub(crate) async fn a_peer_that_fell_silent_is_called_again(ground: Ground) {
    let (subject, mut raw) = called(&ground).await;
    let start = Instant::now();
    let dialled = subject.tunnel.dial(overlay(2, 80), start + LIMIT);
    tokio::select! {
        result = dialled => panic!("dialled {:?}", result.err()),
        initiation = raw.message(INITIATION) => raw.answers(&initiation).await,
    }
    let took = start.elapsed();
    raw.is_confirmed().await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    raw.pings().await;
}

/// The peer has another preshared key by now and can't read the answers; it goes on in the session that it has.
pub(crate) async fn handshakes_that_come_to_nothing_cost_no_session(ground: Ground) {
    let (_subject, mut raw) = called(&ground).await;
    for _ in 0..20 {
        let (initiation, _) = raw.initiation(None);
        raw.send(&initiation).await;
        raw.message(RESPONSE).await;
        raw.pings().await;
    }
}

/// Every implementation has room for this many (boringtun 1024, the kernel 8128).
const IN_WINDOW: usize = 900;
const BEYOND_WINDOW: u64 = 20_000;
