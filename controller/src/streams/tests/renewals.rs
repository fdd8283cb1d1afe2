//! A node's former stream connections: their streams go on, and they end with the node or when newer ones need the room.

use malha_core::Command;

use super::*;
use crate::api::tests::rig::{Rig, facts};

async fn closes(connection: &Connection) {
    let closed = timeout(LIMIT, connection.closed()).await;
    closed.expect("the connection should end");
}

#[tokio::test]
async fn a_renewal_cuts_no_stream() {
    let scene = Scene::lossy().await;
    let (mut former, (mut send, mut receive)) = scene.opens().await;
    let (node, _endpoints) = renewed(&scene, 4).await;
    let _newer = scene.opens_on(&node).await;
    former.write_all(b"question").await.unwrap();
    former.shutdown().await.unwrap();
    let heard = timeout(LIMIT, receive.read_to_end(64)).await.unwrap();
    assert_eq!(heard.unwrap(), b"question");
    send.write_all(b"answer").await.unwrap();
    send.finish().unwrap();
    let mut answer = String::new();
    former.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    drop(former);
    closes(&scene.node).await;
    assert!(node.close_reason().is_none());
}

#[tokio::test]
async fn the_last_bytes_of_the_last_stream_arrive_before_a_former_connection_is_closed() {
    let scene = Scene::lossy().await;
    let (mut former, (_send, mut receive)) = scene.opens().await;
    let _renewed = renewed(&scene, 4).await;
    // More than is on its way at once, and less than the node takes before it reads.
    let upload = vec![7; 1_000_000];
    former.write_all(&upload).await.unwrap();
    former.shutdown().await.unwrap();
    drop(former);
    closes(&scene.node).await;
    let heard = timeout(LIMIT, receive.read_to_end(upload.len())).await;
    assert_eq!(heard.unwrap().unwrap().len(), upload.len());
}

#[tokio::test]
async fn a_former_connection_is_cut_with_the_node() {
    let scene = Scene::lossy().await;
    let _stream = scene.opens().await;
    let (node, _endpoints) = renewed(&scene, 4).await;
    assert!(scene.node.close_reason().is_none());
    scene.streams.review_all(&nobody());
    closes(&scene.node).await;
    closes(&node).await;
}

#[tokio::test]
async fn of_a_nodes_former_connections_only_the_newest_stand() {
    let scene = Scene::lossy().await;
    let _stream = scene.opens().await;
    let mut later = Vec::new();
    for key in 4..=4 + u8::try_from(MAX_FORMER_STREAM_CONNECTIONS).unwrap() {
        let (node, endpoints) = renewed(&scene, key).await;
        let stream = scene.opens_on(&node).await;
        later.push((node, endpoints, stream));
    }
    closes(&scene.node).await;
    assert!(later.iter().all(|(node, ..)| node.close_reason().is_none()));
}

#[tokio::test]
async fn renewals_without_streams_cut_none_of_those_before() {
    let scene = Scene::lossy().await;
    let mut streams = vec![scene.opens().await];
    let mut later = Vec::new();
    for key in 4..4 + u8::try_from(MAX_FORMER_STREAM_CONNECTIONS).unwrap() - 1 {
        let (node, endpoints) = renewed(&scene, key).await;
        streams.push(scene.opens_on(&node).await);
        later.push((node, endpoints));
    }
    for key in 10..14 {
        later.push(renewed(&scene, key).await);
    }
    for (stream, (_send, receive)) in &mut streams {
        stream.write_all(b"more").await.unwrap();
        let mut heard = [0; 4];
        receive.read_exact(&mut heard).await.unwrap();
    }
}

/// The node's next session puts its former key away, which revokes nothing.
#[tokio::test]
async fn streams_outlive_the_next_session_with_the_renewed_certificate() {
    let rig = Rig::furnished().await;
    let (node, lease) = rig.enrolled("ss-2").await;
    let key = rig.state().node(node).unwrap().tls_key;
    let (connection, at_node, _endpoints) = connected().await;
    let streams = Streams::default();
    streams.sit(PeerCertificate { node, key }, &connection);
    make_lossy(&streams, node);
    let address = ([100, 64, 0, 7], 80).into();
    let dialled = streams.dial(
        node,
        HUB,
        address,
        LIMIT,
        in_tunnel(Err(ErrorKind::TimedOut.into())),
    );
    let (stream, (_send, mut receive)) = tokio::join!(dialled, lets_in(&at_node));
    let mut stream = stream.unwrap();
    let newer = Fingerprint([77; 32]);
    let renewed = Command::RenewNode {
        node,
        instance: 1,
        tls_key: newer,
        wg_key: None,
    };
    let opened = |tls_key| Command::OpenSession {
        node,
        tls_key,
        lease: lease.clone(),
        instance: 1,
        facts: facts("ss-2", 2),
        source: None,
        live: None,
    };
    rig.does(opened(key)).await;
    rig.does(renewed).await;
    rig.does(opened(newer)).await;
    streams.review_all(&rig.state());
    assert!(!streams.is_taken(node), "who shows this key now is a copy");
    stream.write_all(b"more").await.unwrap();
    let mut heard = [0; 4];
    receive.read_exact(&mut heard).await.unwrap();
    rig.replaced("ss-2").await;
    streams.review_all(&rig.state());
    closes(&at_node).await;
}
