//! What stands, and for how long, when a controller stops: over real QUIC on the loopback.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

use malha_core::{Answer, Command};
use malha_pki::{Authority, AuthorityProfile};
use malha_proto::{
    Hello, Lease, MAX_FRAME_TO_CONTROLLER_BYTES, Revision, ToController, encode_frame,
};
use malha_tunnel::{Engine, PrivateKey, TunnelConfig};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;
use crate::api::tests::rig::{Rig, facts};
use crate::carriers::Carriers;
use crate::rate::RateLimit;
use crate::session::registry::Order;
use crate::session::{
    ENROLMENT_BURST, ENROLMENT_INTERVAL_MS, Seat, SessionSummary, TURNED_AWAY_BURST,
    TURNED_AWAY_INTERVAL_MS,
};
use crate::streams::tests::connected;

/// A controller with one node.
struct World {
    context: Arc<SessionContext>,
    node: PeerCertificate,
    _seat: Seat,
    rig: Rig,
}

impl World {
    async fn new() -> Self {
        let rig = Rig::furnished().await;
        let api = &rig.context;
        let state = rig.state();
        let node = state.nodes().find(|node| !node.hub).unwrap();
        let node = PeerCertificate {
            node: node.id,
            key: node.tls_key,
        };
        let summary = SessionSummary {
            instance: 1,
            tls_key: node.key,
            transport: Transport::Quic,
            remote: "203.0.113.9:40000".parse().unwrap(),
            since_ms: 0,
            facts: facts("machine", 1),
            version: malha_proto::PROTOCOL_VERSION,
            applied: Revision(0),
        };
        let profile = AuthorityProfile {
            name: "Overlay".into(),
            years: 1,
        };
        let authority = Authority::create(&profile, OffsetDateTime::now_utc()).unwrap();
        let addresses = vec!["100.64.0.1/10".parse().unwrap()];
        let mut config = TunnelConfig::new(PrivateKey::generate(), addresses);
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        let tunnel = malha_tunnel::start(Engine::Netstack, config).unwrap();
        let context = SessionContext {
            handle: api.handle.clone(),
            live: api.live.clone(),
            registry: api.registry.clone(),
            pairs: api.pairs.clone(),
            carriers: Arc::new(Carriers::new(tunnel, api.handle.clone())),
            streams: Arc::default(),
            authority: Arc::new(authority),
            enrolments: RateLimit::new(ENROLMENT_BURST, ENROLMENT_INTERVAL_MS),
            turned_away: RateLimit::new(TURNED_AWAY_BURST, TURNED_AWAY_INTERVAL_MS),
            stop: CancellationToken::new(),
        };
        Self {
            _seat: api.registry.sit(node.node, summary),
            context: Arc::new(context),
            node,
            rig,
        }
    }

    /// Everything that has heard of the end has done what it does then.
    async fn stops(&self) {
        self.context.stop.cancel();
        for _ in 0..20 {
            yield_now().await;
        }
    }
}

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

/// A machine is answered and has no seat yet when a copy of it shows itself: the order that ends its session finds nobody.
#[tokio::test]
async fn a_session_that_was_granted_ends_though_the_copy_came_before_its_seat() {
    let world = World::new().await;
    let (node, lease) = world.rig.enrolled("ss-2").await;
    let key = world.rig.state().node(node).unwrap().tls_key;
    let (facts, remote) = (facts("ss-2", 2), "203.0.113.9:40000".parse().unwrap());
    // So narrow that the welcome waits for its reader.
    let (near, mut machine) = tokio::io::duplex(64);
    let (read, write) = tokio::io::split(near);
    let certificate = PeerCertificate { node, key };
    let channel = Channel::new(
        read,
        write,
        Remote::Fixed(remote),
        Transport::Quic,
        Some(certificate),
    );
    let served = tokio::spawn(node::serve(world.context.clone(), channel));
    let hello = Hello {
        version: malha_proto::PROTOCOL_VERSION,
        instance: 1,
        lease,
        applied: None,
        digest: None,
        facts: facts.clone(),
    };
    let hello = ToController::Hello(Box::new(hello));
    let hello = encode_frame(&hello, MAX_FRAME_TO_CONTROLLER_BYTES).unwrap();
    machine.write_all(&hello).await.unwrap();
    let mut heard = vec![0; 1];
    timeout(LIMIT, machine.read_exact(&mut heard))
        .await
        .expect("a welcome should begin")
        .unwrap();
    let copy = Command::OpenSession {
        node,
        tls_key: key,
        lease: Lease([7; 16]),
        instance: 2,
        facts,
        source: Some(remote),
        live: None,
    };
    let answer = world.rig.does(copy).await.answer;
    assert!(matches!(answer, Answer::Cloned { .. }), "{answer:?}");
    world.context.registry.order(node, Order::Cloned);
    timeout(LIMIT, machine.read_to_end(&mut heard))
        .await
        .expect("the session should end")
        .unwrap();
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.contains("another machine shows the same identity"));
    timeout(LIMIT, served).await.unwrap().unwrap();
}

/// Longer than anything that works needs.
const LIMIT: Duration = Duration::from_secs(20);
