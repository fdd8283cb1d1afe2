//! Who gets a session, and who gets silence.

use malha_tunnel::{PeerStatus, PresharedKey, TunnelEvent};
use tokio::time::Instant;

use crate::ground::{Ground, peer};
use crate::nodes::{LIMIT, key, overlay, wait_for};
use crate::raw::{DATA, INITIATION, RESPONSE, Raw, SILENCE};

pub(crate) async fn either_side_may_begin(ground: Ground) {
    let subject = ground.subject().await;
    let mut caller = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    caller.calls().await;
    caller.pings().await;

    let mut called = Raw::new(3, &subject).await;
    let mut events = subject.tunnel.events();
    let endpoints = vec![called.endpoint()];
    ground.introduce(&subject, peer(3, endpoints)).await;
    called.is_called().await;
    let completed = TunnelEvent::HandshakeCompleted {
        peer: key(3).public_key(),
    };
    wait_for(&mut events, completed).await;
    called.pings().await;
    let met =
        |it: &PeerStatus| it.last_handshake_age.is_some() && it.rx_bytes > 0 && it.tx_bytes > 0;
    ground
        .sees(&subject, |peers| peers.len() == 2 && peers.iter().all(met))
        .await;
}

pub(crate) async fn initiations_that_cross_end_in_one_session(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    let endpoints = vec![raw.endpoint()];
    ground.introduce(&subject, peer(2, endpoints)).await;
    let theirs = raw.message(INITIATION).await;
    let (ours, begun) = raw.initiation(None);
    raw.send(&ours).await;
    raw.answers(&theirs).await;
    let response = raw.message(RESPONSE).await;
    let session = raw.identity.complete(&begun, &response).unwrap();
    raw.keep(session);
    raw.pings().await;
}

pub(crate) async fn a_stranger_gets_no_answer(ground: Ground) {
    let subject = ground.subject().await;
    let mut friend = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    friend.calls().await;
    let mut stranger = Raw::new(9, &subject).await;
    let (initiation, _) = stranger.initiation(None);
    stranger.send(&initiation).await;
    friend.pings().await;
    assert_eq!(stranger.hears(SILENCE).await, None);
}

pub(crate) async fn what_is_no_message_gets_no_answer(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    raw.calls().await;
    let (initiation, _) = raw.initiation(None);
    let changed = |at: usize| {
        let mut changed = initiation.clone();
        changed[at] ^= 1;
        changed
    };
    // The type, a reserved byte, the index, both keys, the time and the checksum.
    for at in [0, 2, 5, 20, 60, 95, 120] {
        raw.send(&changed(at)).await;
    }
    raw.send(&initiation[..147]).await;
    raw.send(&[&initiation[..], &[0]].concat()).await;
    for length in [0, 1, 3, 16, 31, 32, 64, 92] {
        raw.send(&vec![4; length]).await;
        raw.send(&initiation[..length]).await;
    }
    raw.heard_no_handshake().await;
}

pub(crate) async fn an_initiation_counts_once_and_time_never_goes_back(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    let (first, begun) = raw.initiation_at(2_000_000, None);
    raw.send(&first).await;
    let response = raw.message(RESPONSE).await;
    raw.keep(raw.identity.complete(&begun, &response).unwrap());
    raw.pings().await;

    raw.send(&first).await;
    let (same_time, _) = raw.initiation_at(2_000_000, None);
    raw.send(&same_time).await;
    let (clock_set_back, _) = raw.initiation_at(1_000_000, None);
    raw.send(&clock_set_back).await;
    raw.heard_no_handshake().await;
    raw.calls().await;
    raw.pings().await;
}

/// An initiation may be a recording. Only data by its session shows that the caller has its keys.
pub(crate) async fn nothing_is_sent_before_the_caller_has_proven_itself(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    let endpoints = vec![raw.endpoint()];
    ground.introduce(&subject, peer(2, endpoints)).await;
    raw.message(INITIATION).await;
    let dialled = subject.tunnel.dial(overlay(2, 80), Instant::now() + LIMIT);
    let watch = async {
        let (initiation, begun) = raw.initiation(None);
        raw.send(&initiation).await;
        let response = raw.message(RESPONSE).await;
        raw.keep(raw.identity.complete(&begun, &response).unwrap());
        while let Some(datagram) = raw.hears(SILENCE).await {
            assert_ne!(datagram[0], DATA, "data for a caller that proved nothing");
        }
        let keepalive = raw.seal(&[]);
        raw.send(&keepalive).await;
        let first = raw.message(DATA).await;
        assert!(raw.open(&first).is_some());
    };
    tokio::select! {
        result = dialled => panic!("dialled {:?}", result.err()),
        () = watch => {}
    }
}

pub(crate) async fn another_preshared_key_never_becomes_a_session(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    let mut config = peer(2, vec![]);
    config.preshared_key = Some(PresharedKey::from_bytes([7; 32]));
    subject.tunnel.set_peer(config).await.unwrap();
    let (initiation, begun) = raw.initiation(None);
    raw.send(&initiation).await;
    let response = raw.message(RESPONSE).await;
    assert!(raw.identity.complete(&begun, &response).is_none());
    assert_eq!(subject.tunnel.peers().await[0].last_handshake_age, None);

    raw.identity.preshared = [7; 32];
    raw.calls().await;
    raw.pings().await;
}
