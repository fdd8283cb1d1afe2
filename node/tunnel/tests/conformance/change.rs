//! Changes of keys, peers and permissions while traffic runs.

use std::io::ErrorKind;

use malha_tunnel::{Allow, PresharedKey, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::ground::{Ground, SUBJECT, peer};
use crate::nodes::{self, LIMIT, body, connect, hash, key, stream_pair};
use crate::raw::{Raw, SILENCE};

pub(crate) async fn a_new_preshared_key_loses_no_packet(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    raw.calls().await;
    for epoch in 1..=3 {
        let before = raw.sessions.len() - 1;
        let mut config = peer(2, vec![]);
        config.preshared_key = Some(PresharedKey::from_bytes([epoch; 32]));
        subject.tunnel.set_peer(config).await.unwrap();
        // The sides disagree, and the session before carries on.
        raw.pings().await;
        raw.identity.preshared = [epoch; 32];
        let (request, late) = raw.request();
        let late_of_old = raw.seal_with(before, &request);
        raw.calls().await;
        raw.pings().await;
        raw.send(&late_of_old).await;
        assert_eq!(raw.replies().await, [late]);
    }
}

pub(crate) async fn a_download_goes_on_while_the_preshared_key_changes(ground: Ground) {
    let (subject, partner) = (ground.subject().await, ground.partner(2));
    connect(&partner, &subject).await;
    let (mut near, mut far) = stream_pair(&partner, &subject).await;
    let download_bytes = ground.affordable(DOWNLOAD_BYTES);
    let sent = body(download_bytes, 5);
    let wanted = hash(&sent);
    let sending = tokio::spawn(async move {
        far.write_all(&sent).await.unwrap();
        far.shutdown().await.unwrap();
    });
    let mut came = vec![0; download_bytes / 8];
    near.read_exact(&mut came).await.unwrap();
    let endpoints = vec![subject.underlay().await[0]];
    for epoch in 1..=6 {
        let shared = PresharedKey::from_bytes([epoch; 32]);
        let mut config = peer(2, vec![]);
        config.preshared_key = Some(shared.clone());
        subject.tunnel.set_peer(config).await.unwrap();
        let mut block = vec![0; download_bytes / 16];
        near.read_exact(&mut block).await.unwrap();
        came.extend(block);
        let mut config = nodes::peer(SUBJECT, endpoints.clone());
        config.preshared_key = Some(shared);
        partner.tunnel.set_peer(config).await.unwrap();
        let mut block = vec![0; download_bytes / 16];
        near.read_exact(&mut block).await.unwrap();
        came.extend(block);
    }
    timeout(LIMIT, near.read_to_end(&mut came))
        .await
        .unwrap()
        .unwrap();
    timeout(LIMIT, sending).await.unwrap().unwrap();
    assert_eq!(hash(&came), wanted);
}

pub(crate) async fn a_removed_peer_is_cut_under_traffic_and_may_return(ground: Ground) {
    let subject = ground.subject().await;
    let (mut raw, mut witness) = (Raw::new(3, &subject).await, Raw::new(4, &subject).await);
    let partner = ground.partner(2);
    connect(&partner, &subject).await;
    let (mut near, mut far) = stream_pair(&partner, &subject).await;
    let pouring = tokio::spawn(async move {
        let block = body(64 * 1024, 3);
        while near.write_all(&block).await.is_ok() {}
    });
    let poured_bytes = ground.affordable(1024 * 1024);
    far.read_exact(&mut vec![0; poured_bytes]).await.unwrap();
    for raw in [&mut raw, &mut witness] {
        subject
            .tunnel
            .set_peer(peer(raw.number, vec![]))
            .await
            .unwrap();
        raw.calls().await;
        raw.pings().await;
    }

    for number in [2, 3] {
        assert!(
            subject
                .tunnel
                .remove_peer(key(number).public_key())
                .await
                .unwrap()
        );
    }
    let mut rest = vec![0; 64 * 1024];
    let cut = async {
        loop {
            if let Err(error) = far.read(&mut rest).await {
                return error.kind();
            }
        }
    };
    assert_eq!(
        timeout(LIMIT, cut).await.unwrap(),
        ErrorKind::ConnectionReset
    );
    let (request, _) = raw.request();
    let (datagram, (call, _)) = (raw.seal(&request), raw.initiation(None));
    raw.send(&datagram).await;
    raw.send(&call).await;
    witness.pings().await;
    assert_eq!(
        raw.hears(SILENCE).await,
        None,
        "the removed peer was answered"
    );

    subject.tunnel.set_peer(peer(3, vec![])).await.unwrap();
    raw.send(&datagram).await;
    assert_eq!(
        raw.hears(SILENCE).await,
        None,
        "a session outlived its peer"
    );
    raw.calls().await;
    raw.pings().await;
    pouring.abort();
}

pub(crate) async fn a_new_permission_holds_from_the_next_packet(ground: Ground) {
    let subject = ground.subject().await;
    let (mut raw, mut witness) = (Raw::new(2, &subject).await, Raw::new(3, &subject).await);
    let mut closed = peer(2, vec![]);
    closed.ingress.retain(|it| it.protocol != Protocol::Icmp);
    let mut open = closed.clone();
    open.ingress.push(Allow::icmp());
    subject.tunnel.set_peer(peer(3, vec![])).await.unwrap();
    subject.tunnel.set_peer(closed.clone()).await.unwrap();
    raw.calls().await;
    witness.calls().await;
    for _ in 0..2 {
        let (request, _) = raw.request();
        let datagram = raw.seal(&request);
        raw.send(&datagram).await;
        witness.pings().await;
        assert_eq!(raw.hears(SILENCE).await, None, "it was not permitted");
        subject.tunnel.set_peer(open.clone()).await.unwrap();
        raw.pings().await;
        subject.tunnel.set_peer(closed.clone()).await.unwrap();
    }
}

/// The counts are read once: a kernel's are as old as the last look at them.
pub(crate) async fn each_permission_counts_what_it_admits(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    let open = peer(2, vec![]);
    let mut closed = open.clone();
    closed.ingress.retain(|it| it.protocol != Protocol::Icmp);
    subject.tunnel.set_peer(closed).await.unwrap();
    raw.calls().await;
    let (request, _) = raw.request();
    let datagram = raw.seal(&request);
    raw.send(&datagram).await;
    assert_eq!(raw.hears(SILENCE).await, None, "it was not permitted");
    subject.tunnel.set_peer(open).await.unwrap();
    raw.pings().await;

    let peer = subject.tunnel.peers().await.remove(0);
    assert_eq!(peer.drops.filtered.no_rule, 1);
    for status in peer.rules {
        let wanted = if status.rule.protocol == Protocol::Icmp {
            2
        } else {
            0
        };
        assert_eq!(status.admitted, wanted, "{:?}", status.rule);
    }
}

const DOWNLOAD_BYTES: usize = 16 * 1024 * 1024;
