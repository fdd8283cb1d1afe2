//! What stands, and for how long, when a controller stops: over real QUIC on the loopback.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

use malha_core::Command;
use malha_proto::Fingerprint;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;
use crate::api::tests::rig::facts;
use crate::session::dispatch;
use crate::session::testbed::{LIMIT, World};
use crate::streams::tests::{client, connected, control_tls};

#[tokio::test]
async fn a_stream_connection_outlives_the_session_as_long_as_visitors_may_be_on_it() {
    let world = World::new().await;
    let (at_hub, at_node, _endpoints) = connected().await;
    let visited = CancellationToken::new();
    let node = Some(world.node);
    let served = serve_streams(world.context.clone(), at_hub, node, visited.clone());
    let served = tokio::spawn(served);
    world.stops().await;
    assert!(!served.is_finished());
    assert!(at_node.close_reason().is_none());
    visited.cancel();
    timeout(LIMIT, served).await.unwrap().unwrap();
    timeout(LIMIT, at_node.closed()).await.unwrap();
}

#[tokio::test]
async fn the_streams_of_a_box_whose_place_was_taken_are_cut() {
    let world = World::new().await;
    let (at_hub, at_node, _endpoints) = connected().await;
    let visited = CancellationToken::new();
    let node = Some(world.node);
    tokio::spawn(dispatch(world.context.clone()));
    tokio::spawn(serve_streams(
        world.context.clone(),
        at_hub,
        node,
        visited.clone(),
    ));
    for _ in 0..20 {
        yield_now().await;
    }
    assert!(at_node.close_reason().is_none());
    world.rig.replaced("ss-1").await;
    let closed = timeout(LIMIT, at_node.closed()).await;
    closed.expect("the connection should end");
}

#[tokio::test]
async fn a_stream_connection_with_a_renewed_certificate_is_taken() {
    let world = World::new().await;
    let (node, lease) = world.rig.enrolled("ss-2").await;
    let former = world.rig.state().node(node).unwrap().tls_key;
    let key = Fingerprint([77; 32]);
    let facts = facts("ss-2", 2);
    let opened = Command::OpenSession {
        node,
        tls_key: former,
        lease,
        instance: 1,
        facts: facts.clone(),
        source: None,
        live: None,
    };
    world.rig.does(opened).await;
    let renewed = Command::RenewNode {
        node,
        instance: 1,
        tls_key: key,
        wg_key: None,
    };
    world.rig.does(renewed).await;
    let _seat = world.sits(PeerCertificate { node, key: former }, facts);
    let (at_hub, at_node, _endpoints) = connected().await;
    let renewed = Some(PeerCertificate { node, key });
    let visited = CancellationToken::new();
    let served = serve_streams(world.context.clone(), at_hub, renewed, visited.clone());
    let served = tokio::spawn(served);
    for _ in 0..20 {
        yield_now().await;
    }
    assert!(!served.is_finished() && at_node.close_reason().is_none());
    visited.cancel();
    timeout(LIMIT, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_control_channel_stays_as_long_as_visitors_may_come_by_it() {
    let world = World::new().await;
    let tls = control_tls(&world.context.authority);
    let here = [([127, 0, 0, 1], 0).into()];
    let listener = ControlListener::bind_by(&here, tls, bind_udp).unwrap();
    let (_streams, handed_over) = mpsc::channel(1);
    let visited = CancellationToken::new();
    let run = listener.run(world.context.clone(), handed_over, visited.clone());
    let run = tokio::spawn(run);
    yield_now().await;
    world.stops().await;
    assert!(!run.is_finished());
    visited.cancel();
    timeout(LIMIT, run).await.unwrap().unwrap();
}

/// With all places for whoever says where it is taken by `forged`, and so many of the others by somebody else.
async fn comes_in(places: usize, forged: usize, others: usize) -> Result<(), String> {
    let world = World::new().await;
    let tls = control_tls(&world.context.authority);
    let hub = endpoint_at(([127, 0, 0, 1], 0).into(), server_config(tls).unwrap()).unwrap();
    let places = Places::new(1, places);
    let _forged: Vec<_> = (0..forged).map(|_| places.strangers.unproved()).collect();
    let somebody = |number| places.strangers.proved([192, 0, 2, number].into());
    let _others: Vec<_> = (0..others as u8).map(somebody).collect();
    tokio::spawn(accept_quic(
        hub.clone(),
        world.context.clone(),
        places,
        TaskTracker::new(),
        CancellationToken::new(),
    ));
    let node = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let name = malha_proto::CONTROLLER_TLS_NAME;
    let connecting = node.connect_with(
        client(&world.context.authority),
        hub.local_addr().unwrap(),
        name,
    );
    let connected = timeout(LIMIT, connecting.unwrap()).await.unwrap();
    connected.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn who_proves_its_address_comes_in_among_many_that_forge_theirs() {
    assert_eq!(comes_in(8, 1, 0).await, Ok(()));
}

#[tokio::test]
async fn nobody_is_kept_waiting_where_there_is_no_room() {
    let refused = comes_in(8, 1, 7).await.unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
}
