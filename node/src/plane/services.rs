//! The node's services on the overlay: a listener per service and address family, each connection handed to the local target.
//! Nothing is ever bound to an address outside the overlay.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use malha_proto::{Netmap, Service, ServiceId};
use malha_tunnel::{Tunnel, TunnelListener, forward};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections of one service and address family at a time; more are reset.
pub const MAX_CONNECTIONS: usize = 1_000;

#[derive(Default)]
pub(super) struct Services {
    open: BTreeMap<ServiceId, Forwarding>,
}

struct Forwarding {
    service: Service,
    over_limit: Arc<AtomicU64>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Services {
    /// Connections that each open service refused over [`MAX_CONNECTIONS`], since it was opened.
    pub(super) fn over_limit(&self) -> BTreeMap<ServiceId, u64> {
        let open = self.open.iter();
        open.map(|(id, it)| (*id, it.over_limit.load(Ordering::Relaxed)))
            .collect()
    }

    /// Closes what the map no longer has, or has otherwise, and its connections.
    pub(super) async fn close_changed(&mut self, wanted: &BTreeMap<ServiceId, Service>) {
        let stays = |open: &Service| wanted.get(&open.id).is_some_and(|w| is_same_door(open, w));
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(_, open)| stays(&open.service));
        self.open = stay;
        close(gone).await;
    }

    pub(super) async fn close_all(&mut self) {
        close(std::mem::take(&mut self.open)).await;
    }

    /// Opens what is missing; tells each service that can't be opened.
    pub(super) async fn open(
        &mut self,
        tunnel: &Arc<dyn Tunnel>,
        map: &Netmap,
    ) -> Vec<(ServiceId, Result<(), String>)> {
        let mut failed = Vec::new();
        for service in map.services.values() {
            if self.open.contains_key(&service.id) {
                continue;
            }
            match listen(tunnel, map, service).await {
                Ok(listeners) => {
                    let forwarding = Forwarding::start(service.clone(), listeners);
                    self.open.insert(service.id, forwarding);
                }
                Err(why) => failed.push((service.id, Err(why))),
            }
        }
        failed
    }
}

impl Forwarding {
    fn start(service: Service, listeners: Vec<TunnelListener>) -> Self {
        let (over_limit, stop) = (Arc::default(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let (over_limit, stop) = (Arc::clone(&over_limit), stop.clone());
            let target = service.target;
            tasks.spawn(forward(listener, target, MAX_CONNECTIONS, over_limit, stop));
        }
        Self {
            service,
            over_limit,
            stop,
            tasks,
        }
    }
}

/// Both families or none, so that a service is never half there; IPv4 alone where the overlay has no IPv6 on this machine.
async fn listen(
    tunnel: &Arc<dyn Tunnel>,
    map: &Netmap,
    service: &Service,
) -> Result<Vec<TunnelListener>, String> {
    let port = service.port.number();
    let overlay: [SocketAddr; 2] = [
        (map.me.addresses.v4, port).into(),
        (map.me.addresses.v6, port).into(),
    ];
    let mut listeners = Vec::with_capacity(overlay.len());
    for address in overlay {
        if address.is_ipv6() && !tunnel.has_ipv6() {
            continue;
        }
        let listener = tunnel.listen(address).await;
        listeners.push(listener.map_err(|error| format!("port {port}: {error}"))?);
    }
    Ok(listeners)
}

async fn close(gone: BTreeMap<ServiceId, Forwarding>) {
    for forwarding in gone.values() {
        forwarding.stop.cancel();
    }
    for mut forwarding in gone.into_values() {
        while forwarding.tasks.join_next().await.is_some() {}
    }
}

/// A change of name or exposure needs no new listener.
fn is_same_door(one: &Service, other: &Service) -> bool {
    (one.port, one.target) == (other.port, other.target)
}
