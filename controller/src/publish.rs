//! What the edge and the DNS server serve, built anew from the committed state and what is observed, and swapped in whole.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_core::{Route, State};
use malha_pki::EdgeCertificates;
use malha_proto::{HostName, Revision, ServiceId};
use malha_proxy::{BackendHealth, BackendSpec, Protocol, RouteSpec, RouteTable};
use malha_zone::Zones;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::coordinator::Handle;
use crate::live::Live;

/// Keeps route table, edge certificates and DNS zones as the state says.
pub struct Publisher {
    pub handle: Handle,
    pub live: Arc<Live>,
    pub certificates: Arc<EdgeCertificates>,
    /// Hosts that the edge serves by itself, like the dashboard's.
    pub own_hosts: Vec<HostName>,
    pub routes: watch::Sender<Arc<RouteTable>>,
    pub zones: watch::Sender<Arc<Zones>>,
    /// The newest revision that is served whole.
    pub published: watch::Sender<Revision>,
}

impl Publisher {
    /// Publishes what is known now, and gives what publishes after changes until `stop`. Changes of the state are published at
    /// once; health changes at most each [`HEALTH_PAUSE`].
    pub fn start(self, stop: CancellationToken) -> impl Future<Output = ()> {
        let (mut state, mut health) = (self.handle.watch(), self.live.changes());
        health.mark_unchanged();
        self.publish(&state.borrow_and_update().clone());
        self.follow(state, health, stop)
    }

    async fn follow(
        self,
        mut state: watch::Receiver<Arc<State>>,
        mut health: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        loop {
            let gathered = async {
                let changed = health.changed().await;
                tokio::time::sleep(HEALTH_PAUSE).await;
                changed
            };
            let changed = tokio::select! {
                changed = state.changed() => changed,
                changed = gathered => changed,
                () = stop.cancelled() => return,
            };
            if changed.is_err() {
                return;
            }
            let now = state.borrow_and_update().clone();
            health.mark_unchanged();
            self.publish(&now);
        }
    }

    fn publish(&self, state: &State) {
        self.zones.send_replace(Arc::new(state.zones().clone()));
        let hosts = certified_hosts(state, &self.own_hosts);
        if let Err(error) = self
            .certificates
            .set_hosts(hosts, OffsetDateTime::now_utc())
        {
            tracing::error!(%error, "edge certificates stay as they were");
        }
        let specs = state
            .routes()
            .filter_map(|route| route_spec(state, &self.live, route))
            .collect();
        match RouteTable::build(specs) {
            Ok(table) => {
                self.routes.send_replace(Arc::new(table));
            }
            Err(error) => tracing::error!(%error, "the route table stays as it was"),
        }
        self.published.send_replace(state.revision());
    }
}

/// The names of routes and of the edge itself, and one wildcard for each zone: a visitor to a name in it that has no route
/// gets a page that says so, not a broken handshake. Wildcards right below the top are worth nothing to browsers.
fn certified_hosts(state: &State, own_hosts: &[HostName]) -> BTreeSet<HostName> {
    let zones = state
        .zones()
        .iter()
        .filter_map(|zone| format!("*.{}", zone.origin()).parse().ok());
    let named = state
        .routes()
        .map(|route| route.host.clone())
        .chain(own_hosts.iter().cloned());
    named
        .chain(zones)
        .filter(|host: &HostName| !host.is_wildcard() || host.as_str().matches('.').count() > 1)
        .collect()
}

fn route_spec(state: &State, live: &Live, route: &Route) -> Option<RouteSpec> {
    let backends: Vec<BackendSpec> = route
        .services
        .iter()
        .filter_map(|service| backend_spec(state, live, *service))
        .collect();
    (!backends.is_empty()).then_some(())?;
    Some(RouteSpec {
        id: route.id.0,
        host: route.host.as_str().parse().ok()?,
        path_prefix: route.path.clone(),
        backends,
    })
}

fn backend_spec(state: &State, live: &Live, id: ServiceId) -> Option<BackendSpec> {
    let service = state.service(id)?;
    let node = state.node(service.node)?;
    let site = state.site(node.site)?;
    let organization = state.organization(site.organization)?;
    Some(BackendSpec {
        service: id.0,
        node: node.name.to_string(),
        address: SocketAddr::from((node.addresses.v4, service.port.number())),
        site_name: shown(&site.display_name, site.name.as_str()),
        org_name: shown(&organization.display_name, organization.name.as_str()),
        health: live
            .service_broken(state, id)
            .map_or(BackendHealth::Up, |(hop, since_ms)| BackendHealth::Down {
                hop: match hop {
                    malha_proto::Hop::Service => malha_proxy::Hop::Origin,
                    _ => malha_proxy::Hop::Tunnel,
                },
                since_ms,
            }),
        protocol: Protocol::Http,
    })
}

fn shown(display_name: &str, name: &str) -> String {
    if display_name.is_empty() {
        name.to_owned()
    } else {
        display_name.to_owned()
    }
}

/// Health flaps are gathered for this long: at ten thousand routes a table takes some milliseconds to build.
const HEALTH_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use malha_core::{Command, Context, Settings};
    use malha_proto::{MachineId, OverlayPools};

    use super::*;

    fn serving(origin: &str) -> State {
        let pools = OverlayPools::with_random_v6([0; 5]);
        let settings = Settings::new(MachineId([0; 16]), pools, "malha.internal".parse().unwrap());
        let add = Command::AddZone {
            origin: origin.parse().unwrap(),
            name_servers: vec!["ns1.example.net".parse().unwrap()],
            contact: "hostmaster.example.net".parse().unwrap(),
        };
        let context = Context {
            now_ms: 1,
            random: [0; 32],
            request: None,
        };
        State::new(settings).apply(&add, &context).unwrap().state
    }

    #[test]
    fn a_zones_unrouted_names_are_certified_so_that_their_404_can_be_read() {
        let hosts = certified_hosts(
            &serving("example.com"),
            &["hub.example.net".parse().unwrap()],
        );
        let hosts: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
        assert_eq!(hosts, ["*.example.com", "hub.example.net"]);
    }

    #[test]
    fn no_wildcard_stands_right_below_the_top() {
        assert!(certified_hosts(&serving("localhost"), &[]).is_empty());
    }
}
