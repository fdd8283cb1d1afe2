//! What lies below the tunnel, and how large a packet may be.

use std::time::Duration;

use tokio::time::Instant;

use crate::ground::{Ground, peer};
use crate::nodes::{key, overlay, overlay6};
use crate::ping;
use crate::raw::{DATA, Raw};

pub(crate) async fn ipv6_carries_both_families(ground: Ground) {
    let subject = ground.subject().await;
    let below = subject.underlay().await[1];
    assert!(below.is_ipv6());
    let mut raw = Raw::at(2, below).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    raw.calls().await;
    raw.pings().await;
    let endpoint = Some(raw.endpoint());
    ground
        .sees(&subject, |peers| peers[0].endpoint == endpoint)
        .await;
}

pub(crate) async fn the_largest_packet_passes_and_no_larger_one_is_made(ground: Ground) {
    let subject = ground.subject().await;
    let mtu_bytes = ground.config().mtu_bytes;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    raw.calls().await;
    for (from, to, header_bytes) in [
        (overlay(2, 0), overlay(1, 0), 28),
        (overlay6(2, 0), overlay6(1, 0), 48),
    ] {
        let largest = ping::request(from.ip(), to.ip(), 9999, mtu_bytes - header_bytes);
        let datagram = raw.seal(&largest);
        raw.send(&datagram).await;
        let answer = raw.message(DATA).await;
        let packet = raw.open(&answer).unwrap();
        assert_eq!(ping::reply(&packet), Some(9999));
        assert_eq!(ping::length_bytes(&packet), mtu_bytes);
        assert_eq!(packet.len(), mtu_bytes, "padding past the link's size");
    }

    let too_large = ping::request(overlay(2, 0).ip(), overlay(1, 0).ip(), 9999, mtu_bytes);
    let datagram = raw.seal(&too_large);
    raw.send(&datagram).await;
    let dialled = subject.tunnel.dial(overlay(2, 80), Instant::now() + DIAL);
    assert!(dialled.await.is_err());
    let mut segment_sizes = Vec::new();
    while let Some(datagram) = raw.hears(Duration::from_millis(1)).await {
        let packet = raw.open(&datagram).unwrap();
        if !packet.is_empty() {
            assert!(
                ping::length_bytes(&packet) <= mtu_bytes,
                "a packet too large"
            );
            segment_sizes.extend(segment_bytes(&packet));
        }
    }
    assert!(!segment_sizes.is_empty(), "no SYN came");
    assert!(
        segment_sizes.iter().all(|bytes| *bytes <= mtu_bytes - 40),
        "{segment_sizes:?}"
    );
    drop(subject.tunnel.remove_peer(key(2).public_key()).await);
}

/// The largest segment that a SYN asks for.
fn segment_bytes(packet: &[u8]) -> Option<usize> {
    let is_syn = packet[0] >> 4 == 4 && packet[9] == 6 && packet[33] & 2 != 0;
    let mut options = is_syn.then(|| &packet[40..20 + usize::from(packet[32] >> 4) * 4])?;
    loop {
        match options {
            [2, 4, high, low, ..] => return Some(usize::from(*high) << 8 | usize::from(*low)),
            [1, rest @ ..] => options = rest,
            [_, length, ..] => options = options.get(usize::from(*length).max(2)..)?,
            _ => return None,
        }
    }
}

/// A fragment hides its ports from the filter.
pub(crate) async fn fragments_inside_are_refused(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    raw.calls().await;
    let (request, _) = raw.request();
    for fragment in ping::cut(&request, 32) {
        let datagram = raw.seal(&fragment);
        raw.send(&datagram).await;
    }
    assert_eq!(raw.replies().await, []);
    raw.pings().await;
}

/// A link narrower than our datagrams costs speed, not the connection.
pub(crate) async fn fragments_outside_are_put_together(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    if !ground.narrow_link(NARROW_MTU_BYTES) {
        println!("skipped: {} has no link of its own here", ground.engine);
        return;
    }
    raw.calls().await;
    let data_bytes = ground.config().mtu_bytes - 28;
    let large = ping::request(overlay(2, 0).ip(), overlay(1, 0).ip(), 9999, data_bytes);
    let datagram = raw.seal(&large);
    raw.send(&datagram).await;
    assert_eq!(raw.replies().await, [9999]);
}

const DIAL: Duration = Duration::from_millis(300);
const NARROW_MTU_BYTES: u16 = 576;
