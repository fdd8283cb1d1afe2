//! The hub's own balancers: kept as its netmap says, tried again while they can't be, and reported where agents' reports go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use malha_node::balancers::Balancers;
use malha_node::plane::Former;
use malha_proto::{Balancer, BalancerId, Netmap, NodeId, OverlayAddresses};
use malha_proxy::balance::BALANCERS_WITH_WORKERS;
use malha_tunnel::{Keeper, Tunnel};
use tokio::time::Instant;

use crate::live::Balancing;

// Whatever a node is given to balance has a worker there: neither number may move past the other.
const _: () = assert!(malha_core::limits::MAX_BALANCERS_PER_NODE <= BALANCERS_WITH_WORKERS);

/// What runs, and what the netmap wants.
pub(super) struct HubBalancers {
    running: Balancers,
    wanted: Option<(OverlayAddresses, BTreeMap<BalancerId, Balancer>)>,
    tried_at: Option<Instant>,
}

impl HubBalancers {
    /// Those of a tunnel that begins now, with the sockets that are kept.
    pub(super) fn after(keeper: Option<Arc<dyn Keeper>>) -> Self {
        let former = Former {
            keeper,
            ..Former::default()
        };
        Self {
            running: Balancers::after(former),
            wanted: None,
            tried_at: None,
        }
    }

    /// Becomes what the netmap says.
    pub(super) async fn follow(&mut self, tunnel: &Arc<dyn Tunnel>, map: &Netmap) {
        self.running.close_changed(&map.balancers).await;
        self.wanted = Some((map.me.addresses, map.balancers.clone()));
        self.open(tunnel).await;
    }

    /// Tries again what failed, if that was a while ago, and tells how all of them are.
    pub(super) async fn look(
        &mut self,
        tunnel: &Arc<dyn Tunnel>,
        hub: NodeId,
        balancing: &Balancing,
    ) {
        let rested = (self.tried_at).is_none_or(|at| at.elapsed() >= RETRY_PAUSE);
        if self.running.is_in_trouble() && rested {
            self.open(tunnel).await;
        }
        let balanced = self.running.report();
        balancing.report(hub, &balanced.balancers, &balanced.backends);
    }

    pub(super) async fn finish_all(&mut self) {
        self.running.finish_all().await;
    }

    async fn open(&mut self, tunnel: &Arc<dyn Tunnel>) {
        let Some((me, wanted)) = &self.wanted else {
            return;
        };
        self.tried_at = Some(Instant::now());
        for (balancer, failed) in self.running.open(tunnel, *me, wanted).await {
            if let Err(why) = failed {
                tracing::warn!(%balancer, why, "a balancer of the hub takes no connections");
            }
        }
    }
}

/// From one attempt at a balancer that could not be opened to the next.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
