//! Chooses the backends that a request may try, and rations requests to routes whose backends are all down.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Failure, Fault};
use crate::route::{BackendHealth, BackendSpec, Route};

/// Most backends that one request tries to dial.
pub(crate) const MAX_ATTEMPTS: usize = 3;
/// A route that is down lets one request through in this time, so that recovery does not hang on probes alone. When it is
/// answered, the others may follow at once.
const CANARY_INTERVAL: Duration = Duration::from_secs(1);
/// Routes remembered before those without a recent canary are swept.
const MAX_RATIONED: usize = 4096;

/// Which backends a request may try, in order.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    pub(crate) backends: Vec<&'a BackendSpec>,
    /// The route is down and this request is its canary.
    pub(crate) canary: bool,
}

/// Remembers the canaries, which outlive a route table.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    /// By route; requests of every connection meet here, held only to read and set one ration.
    rations: Mutex<BTreeMap<u64, Ration>>,
}

/// What a route that is down may still have.
#[derive(Debug)]
struct Ration {
    last_canary: Instant,
    /// The last request was answered by this service, of which the probes say that it is down since this time.
    answered: Option<(u64, u64)>,
}

impl Canaries {
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
        if let Some(backend) = self.answering(route) {
            return Ok(Candidates {
                backends: vec![backend],
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

    /// Notes how a request to this backend went. One that is down and answers nevertheless stays open until a request
    /// fails or the probes say something new.
    pub(crate) fn went(&self, route: u64, backend: &BackendSpec, well: bool) {
        let BackendHealth::Down { since_ms, .. } = backend.health else {
            return;
        };
        if let Some(ration) = self.rations().get_mut(&route) {
            ration.answered = well.then_some((backend.service, since_ms));
        }
    }

    /// The backend that answered last, if the probes have said nothing new of it.
    fn answering<'a>(&self, route: &'a Route) -> Option<&'a BackendSpec> {
        let answered = self.rations().get(&route.id)?.answered?;
        route.backends.iter().find(|backend| match backend.health {
            BackendHealth::Down { since_ms, .. } => (backend.service, since_ms) == answered,
            BackendHealth::Up => false,
        })
    }

    fn take_canary(&self, route: u64, now: Instant) -> bool {
        let mut rations = self.rations();
        let fresh = |ration: &Ration| now.duration_since(ration.last_canary) < CANARY_INTERVAL;
        if rations.get(&route).is_some_and(fresh) {
            return false;
        }
        if rations.len() >= MAX_RATIONED {
            rations.retain(|_, ration| fresh(ration));
        }
        if rations.len() >= MAX_RATIONED && !rations.contains_key(&route) {
            return false;
        }
        let ration = Ration {
            last_canary: now,
            answered: None,
        };
        rations.insert(route, ration);
        true
    }

    fn rations(&self) -> MutexGuard<'_, BTreeMap<u64, Ration>> {
        self.rations.lock().unwrap_or_else(PoisonError::into_inner)
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
        let canaries = Canaries::default();
        let candidates = canaries.candidates(&route, Instant::now()).unwrap();
        assert!(!candidates.canary);
        assert_eq!(candidates.backends.len(), 1);
        assert_eq!(candidates.backends[0].service, 1);
    }

    #[test]
    fn a_route_that_is_down_lets_one_request_through_a_second() {
        let route = route(&[down(Hop::Origin, 1), down(Hop::Tunnel, 2)]);
        let canaries = Canaries::default();
        let start = Instant::now();
        assert!(canaries.candidates(&route, start).unwrap().canary);
        let soon = start + CANARY_INTERVAL - Duration::from_millis(1);
        let refused = canaries.candidates(&route, soon).unwrap_err();
        assert_eq!(
            refused.fault,
            Fault::TunnelDown,
            "the last to fall is named"
        );
        assert_eq!(refused.since_ms, Some(2));
        let second = canaries
            .candidates(&route, start + CANARY_INTERVAL)
            .unwrap();
        assert_eq!(second.backends[0].service, 1, "canaries take turns too");
    }

    #[test]
    fn an_answered_canary_opens_the_route_until_something_new_is_known() {
        let canaries = Canaries::default();
        let now = Instant::now();
        let fallen = route(&[down(Hop::Tunnel, 1)]);
        let backend = &fallen.backends[0];
        assert!(canaries.candidates(&fallen, now).unwrap().canary);
        canaries.went(fallen.id, backend, true);
        let next = canaries.candidates(&fallen, now).unwrap();
        assert_eq!((next.backends.len(), next.canary), (1, false));
        canaries.went(fallen.id, backend, false);
        canaries.candidates(&fallen, now).unwrap_err();
        canaries.went(fallen.id, backend, true);
        let fallen_again = route(&[down(Hop::Origin, 2)]);
        canaries.candidates(&fallen_again, now).unwrap_err();
    }
}
