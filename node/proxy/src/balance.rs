//! Chooses the backends that a request may try, and rations requests to routes whose backends are all down.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Failure, Fault};
use crate::route::{BackendHealth, BackendSpec, Route};

/// Most backends that one request tries to dial.
pub(crate) const MAX_ATTEMPTS: usize = 3;
/// A route that is down lets one request through in this time, so that recovery does not hang on probes alone.
const CANARY_INTERVAL: Duration = Duration::from_secs(1);
/// Canary times kept before the old ones are swept.
const MAX_CANARIES: usize = 4096;

/// Which backends a request may try, in order.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    pub(crate) backends: Vec<&'a BackendSpec>,
    /// The route is down and this request is its canary.
    pub(crate) canary: bool,
}

/// Remembers the canaries, which outlive a route table.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    /// By route; requests of every connection meet here, held only to read and set one time.
    last_canary: Mutex<BTreeMap<u64, Instant>>,
}

impl Balance {
    /// The backends that are up, or one that is down for a canary, or why there is none.
    pub(crate) fn candidates<'a>(
        &self,
        route: &'a Route,
        now: Instant,
    ) -> Result<Candidates<'a>, Failure> {
        let mut up = route.up_in_turn();
        if !up.is_empty() {
            up.truncate(MAX_ATTEMPTS);
            return Ok(Candidates {
                backends: up,
                canary: false,
            });
        }
        if !self.take_canary(route.id, now) {
            return Err(offline(route));
        }
        let mut backends = route.all_in_turn();
        backends.truncate(1);
        Ok(Candidates {
            backends,
            canary: true,
        })
    }

    fn take_canary(&self, route: u64, now: Instant) -> bool {
        let last = self.last_canary.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        let fresh = |then: &Instant| now.duration_since(*then) < CANARY_INTERVAL;
        if last.get(&route).is_some_and(fresh) {
            return false;
        }
        if last.len() >= MAX_CANARIES {
            last.retain(|_, then| fresh(then));
        }
        if last.len() >= MAX_CANARIES && !last.contains_key(&route) {
            return false;
        }
        last.insert(route, now);
        true
    }
}

/// A route went down when the last of its backends did.
fn offline(route: &Route) -> Failure {
    let last_to_fall = route
        .backends
        .iter()
        .max_by_key(|backend| match backend.health {
            BackendHealth::Down { since_ms, .. } => since_ms,
            BackendHealth::Up => 0,
        });
    last_to_fall
        .and_then(Failure::probed)
        .unwrap_or_else(|| Fault::EdgeDown.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hop::Hop;
    use crate::host::HostName;
    use crate::route::{Found, Protocol, RouteSpec, RouteTable};
    use std::sync::Arc;

    fn route(healths: &[BackendHealth]) -> Arc<Route> {
        let backends = healths
            .iter()
            .enumerate()
            .map(|(index, health)| BackendSpec {
                service: index as u64,
                node: "n".into(),
                address: ([100, 64, 0, 1], 80).into(),
                site_name: format!("Garagem {index}"),
                org_name: "Org".into(),
                health: *health,
                protocol: Protocol::Http,
            });
        let spec = RouteSpec {
            id: 1,
            host: HostName::parse("a.org").unwrap(),
            path_prefix: "/".into(),
            backends: backends.collect(),
        };
        let table = RouteTable::build(vec![spec]).unwrap();
        match table.find(&HostName::parse("a.org").unwrap(), "/") {
            Found::Route(route) => route,
            other => panic!("{other:?}"),
        }
    }

    fn down(hop: Hop, since_ms: u64) -> BackendHealth {
        BackendHealth::Down { hop, since_ms }
    }

    #[test]
    fn backends_that_are_down_are_left_out_while_one_is_up() {
        let route = route(&[down(Hop::Tunnel, 1), BackendHealth::Up]);
        let balance = Balance::default();
        let candidates = balance.candidates(&route, Instant::now()).unwrap();
        assert!(!candidates.canary);
        assert_eq!(candidates.backends.len(), 1);
        assert_eq!(candidates.backends[0].service, 1);
    }

    #[test]
    fn a_route_that_is_down_lets_one_request_through_a_second() {
        let route = route(&[down(Hop::Origin, 1), down(Hop::Tunnel, 2)]);
        let balance = Balance::default();
        let start = Instant::now();
        assert!(balance.candidates(&route, start).unwrap().canary);
        let soon = start + CANARY_INTERVAL - Duration::from_millis(1);
        let refused = balance.candidates(&route, soon).unwrap_err();
        assert_eq!(
            refused.fault,
            Fault::TunnelDown,
            "the last to fall is named"
        );
        assert_eq!(refused.since_ms, Some(2));
        let second = balance.candidates(&route, start + CANARY_INTERVAL).unwrap();
        assert_eq!(second.backends[0].service, 1, "canaries take turns too");
    }
}
