//! What tests of sessions stand on: a whole controller without its doors.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

use std::sync::Arc;
use std::time::Duration;

use malha_pki::{Authority, AuthorityProfile};
use malha_proto::{MachineFacts, Revision};
use malha_tunnel::{Engine, PrivateKey, TunnelConfig};
use time::OffsetDateTime;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

use crate::api::tests::rig::{Rig, facts};
use crate::carriers::Carriers;
use crate::session::{
    PeerCertificate, Registry, Seat, SessionContext, SessionLimits, SessionSummary, Transport,
};

/// A controller with one node.
pub(super) struct World {
    pub(super) context: Arc<SessionContext>,
    pub(super) node: PeerCertificate,
    _seat: Seat,
    pub(super) rig: Rig,
}

impl World {
    pub(super) async fn new() -> Self {
        let rig = Rig::furnished().await;
        let api = &rig.context;
        let state = rig.state();
        let node = state.nodes().find(|node| !node.hub).unwrap();
        let node = PeerCertificate {
            node: node.id,
            key: node.tls_key,
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
            limits: SessionLimits::default(),
            stop: CancellationToken::new(),
        };
        Self {
            _seat: sit(&api.registry, node, facts("machine", 1)),
            context: Arc::new(context),
            node,
            rig,
        }
    }

    /// Everything that has heard of the end has done what it does then.
    /// A control session of this node stands.
    pub(super) fn sits(&self, certificate: PeerCertificate, facts: MachineFacts) -> Seat {
        sit(&self.context.registry, certificate, facts)
    }

    pub(super) async fn stops(&self) {
        self.context.stop.cancel();
        for _ in 0..20 {
            yield_now().await;
        }
    }
}

fn sit(registry: &Registry, certificate: PeerCertificate, facts: MachineFacts) -> Seat {
    let summary = SessionSummary {
        instance: 1,
        tls_key: certificate.key,
        transport: Transport::Quic,
        remote: "203.0.113.9:40000".parse().unwrap(),
        since_ms: 0,
        facts,
        version: malha_proto::PROTOCOL_VERSION,
        applied: Revision(0),
    };
    registry.sit(certificate.node, summary)
}

/// Longer than anything that works needs.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
