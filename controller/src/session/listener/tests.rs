//! What stands, and for how long, when a controller stops: over real QUIC on the loopback.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

use time::OffsetDateTime;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;
use crate::session::testbed::{LIMIT, World};
use crate::streams::tests::connected;

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
async fn the_control_channel_stays_as_long_as_visitors_may_come_by_it() {
    let world = World::new().await;
    let now = OffsetDateTime::now_utc();
    let certificate = world.context.authority.issue_controller(&[], now, 2);
    let tls =
        malha_pki::server_config_control(&world.context.authority, &certificate.unwrap()).unwrap();
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
