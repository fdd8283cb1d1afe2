//! What stands, and for how long, when a controller stops: over real QUIC on the loopback.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

use malha_pki::{Authority, AuthorityProfile};
use malha_proto::Revision;
use malha_tunnel::{Engine, PrivateKey, TunnelConfig};
use time::OffsetDateTime;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;
use crate::api::tests::rig::{Rig, facts};
use crate::carriers::Carriers;
use crate::rate::RateLimit;
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
    _rig: Rig,
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
            _rig: rig,
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

/// Longer than anything that works needs.
const LIMIT: Duration = Duration::from_secs(20);
