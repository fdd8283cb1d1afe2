//! Where the hub is to be found beside the addresses of its map. Behind a NAT64 these are out of reach, and after the hub has
//! moved they are another machine's, but names lead to it: the session has gone to such an address, and the hub's ports are
//! there, too. It resolves nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use malha_proto::{Netmap, SESSION_TIMEOUT_MS};
use malha_tunnel::MAX_ENDPOINTS;

use super::Millis;

/// Where sessions have reached the controller in this network.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// The newest of each family, the newest of both first.
    places: Vec<SocketAddr>,
    /// The newest session goes to the first of them, and not to a proxy.
    is_direct: bool,
    /// Since when the network is another one, which no session has proved to have the same places.
    changed_at: Option<Millis>,
}

impl Reached {
    /// A session has begun; by a proxy it reaches the controller at no address of its own, and what an earlier one in this network
    /// has found may be the tunnel's way.
    pub(super) fn on_session(&mut self, controller: Option<SocketAddr>) {
        if self.changed_at.take().is_some() {
            self.places.clear();
        }
        self.is_direct = controller.is_some();
        if let Some(controller) = controller {
            self.places
                .retain(|place| place.is_ipv4() != controller.is_ipv4());
            self.places.insert(0, controller);
        }
    }

    /// Forgets nothing before the next session: the way may still be there.
    pub(super) fn on_network_changed(&mut self, now: Millis) {
        self.changed_at = Some(now);
    }

    /// The session was heard of. What is left of a former network is not heard for so long.
    pub(super) fn on_heard(&mut self, now: Millis) {
        let is_proved = |at: &mut Millis| self.is_direct && now > *at + SESSION_TIMEOUT_MS;
        self.changed_at.take_if(is_proved);
    }

    /// The map with all places of its hub, if the controller beside it was reached there. Of another controller's hub these would be
    /// no places, and do no harm: nobody there has its key, and the addresses of the map are asked before.
    pub(super) fn completed(&self, map: Arc<Netmap>) -> Arc<Netmap> {
        let mut whole = map;
        for place in &self.places {
            whole = completed(whole, *place);
        }
        whole
    }
}

fn completed(map: Arc<Netmap>, controller: SocketAddr) -> Arc<Netmap> {
    let hubs = map.peers.values().filter(|peer| peer.hub);
    let places = hubs.map(|hub| (hub.id, missing(&hub.endpoints, controller)));
    let places: Vec<_> = places.filter(|(_, places)| !places.is_empty()).collect();
    if places.is_empty() {
        return map;
    }
    let mut whole = Arc::unwrap_or_clone(map);
    for (hub, places) in places {
        if let Some(hub) = whole.peers.get_mut(&hub) {
            hub.endpoints.extend(places);
        }
    }
    Arc::new(whole)
}

/// The controller's address with each of the hub's ports, if the hub has named none there.
fn missing(endpoints: &[SocketAddr], controller: SocketAddr) -> Vec<SocketAddr> {
    let ip = controller.ip();
    let is_v4_in_v6 = ip.to_canonical() != ip;
    if is_v4_in_v6 || endpoints.iter().any(|endpoint| endpoint.ip() == ip) {
        return Vec::new();
    }
    let mut places = Vec::new();
    for endpoint in endpoints {
        let mut place = controller;
        place.set_port(endpoint.port());
        if !places.contains(&place) && endpoints.len() + places.len() < MAX_ENDPOINTS {
            places.push(place);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::netmap;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Places of a hub that says these endpoints, beside them.
    fn added(endpoints: &[&str], controller: &str) -> Vec<SocketAddr> {
        let endpoints: Vec<_> = endpoints.iter().copied().map(at).collect();
        missing(&endpoints, at(controller))
    }

    #[test]
    fn behind_nat64_the_hub_is_at_the_controllers_address_with_its_own_ports() {
        let shared = ["192.0.2.1:51820", "192.0.2.1:443", "198.51.100.1:443"];
        assert_eq!(
            added(&shared, "[64:ff9b::c000:201]:443"),
            ["[64:ff9b::c000:201]:51820", "[64:ff9b::c000:201]:443"].map(at)
        );
        // A hub of the kernel engine has no WireGuard at the controller's port.
        assert_eq!(
            added(&["192.0.2.1:51820"], "[64:ff9b::c000:201]:443"),
            [at("[64:ff9b::c000:201]:51820")]
        );
        assert_eq!(
            added(&["[2001:db8::1]:51820"], "192.0.2.1:443"),
            [at("192.0.2.1:51820")]
        );
    }

    #[test]
    fn a_hub_that_moved_is_also_where_the_controllers_name_leads() {
        assert_eq!(
            added(&["192.0.2.1:51820", "192.0.2.1:443"], "192.0.2.9:443"),
            ["192.0.2.9:51820", "192.0.2.9:443"].map(at)
        );
    }

    #[test]
    fn where_the_hub_has_named_a_port_its_word_is_enough() {
        let both = ["192.0.2.1:51820", "[2001:db8::1]:51820"];
        assert!(added(&both, "192.0.2.1:443").is_empty());
        assert!(added(&both, "[2001:db8::1]:443").is_empty());
    }

    #[test]
    fn an_ipv4_address_in_the_clothes_of_the_other_family_is_no_place() {
        assert!(added(&["192.0.2.1:51820"], "[::ffff:192.0.2.1]:443").is_empty());
    }

    #[test]
    fn a_hub_never_has_more_places_than_the_tunnel_takes() {
        let endpoints: Vec<_> = (1..8).map(|n| format!("192.0.2.1:{n}")).collect();
        let endpoints: Vec<_> = endpoints.iter().map(String::as_str).collect();
        let added = added(&endpoints, "[64:ff9b::c000:201]:443");
        assert_eq!(endpoints.len() + added.len(), MAX_ENDPOINTS);
    }

    #[test]
    fn nobody_but_the_hub_is_beside_the_controller() {
        let mut map = netmap(10);
        let mut other = map.peers.values().next().unwrap().clone();
        other.id.0 += 1;
        other.hub = false;
        map.peers.insert(other.id, other.clone());
        let whole = completed(Arc::new(map), at("[64:ff9b::c633:6401]:443"));
        let endpoints = whole.peers.values().map(|peer| peer.endpoints.len());
        assert_eq!(endpoints.collect::<Vec<_>>(), [2, 1]);
        assert_eq!(whole.peers[&other.id], other);
    }
}
