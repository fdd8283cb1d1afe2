//! The route table: which backends serve a host and path. Immutable once built; never dials and never asks the clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::hop::Hop;
use crate::host::HostName;
use crate::path::{PathError, PathPrefix};

/// Most routes in one table.
pub const MAX_ROUTES: usize = 200_000;
/// Most backends of one route.
pub const MAX_BACKENDS: usize = 64;

/// One public route as the controller states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    pub id: u64,
    pub host: HostName,
    /// Matched on segment borders; the longest prefix of a host wins. `/` covers all.
    pub path_prefix: String,
    pub backends: Vec<BackendSpec>,
}

/// One service behind a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSpec {
    pub service: u64,
    /// Name of the node, for the log only.
    pub node: String,
    /// Where the service listens inside the overlay.
    pub address: SocketAddr,
    /// Shown to visitors on error pages.
    pub site_name: String,
    /// Shown to visitors on error pages.
    pub org_name: String,
    pub health: BackendHealth,
    pub protocol: Protocol,
}

/// What the last probes through the real path said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendHealth {
    Up,
    /// `hop` is the first broken stretch, `since_ms` the Unix time in milliseconds when it broke.
    Down {
        hop: Hop,
        since_ms: u64,
    },
}

/// How the edge speaks to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 without TLS; the tunnel seals it.
    Http,
}

/// Why a table can't be built; the message names the route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("{count} routes are more than the {MAX_ROUTES} a table may hold")]
    TooMany { count: usize },
    #[error("route {route}: {reason}")]
    Path { route: u64, reason: PathError },
    #[error("route {route} has no backend; remove the route or give it a service")]
    NoBackend { route: u64 },
    #[error("route {route} has {count} backends; the limit is {MAX_BACKENDS}")]
    TooManyBackends { route: u64, count: usize },
    #[error("routes {first} and {second} both claim {host}{path}")]
    Duplicate {
        first: u64,
        second: u64,
        host: HostName,
        path: String,
    },
}

/// All routes of an edge. An exact host wins over a wildcard as a whole: its paths are not completed from the wildcard.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: BTreeMap<HostName, HostRoutes>,
    /// By the part after `*.`.
    wildcard: BTreeMap<Box<str>, HostRoutes>,
}

/// Longest prefix first.
type HostRoutes = Vec<Arc<Route>>;

/// One route, checked.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) id: u64,
    prefix: PathPrefix,
    pub(crate) backends: Vec<BackendSpec>,
    turn: AtomicUsize,
}

/// Answer of the table for one host and path.
#[derive(Debug)]
pub(crate) enum Found {
    Route(Arc<Route>),
    NoPath,
    UnknownHost,
}

impl RouteTable {
    /// Checks every route; one wrong route refuses the whole table, so that an edge never serves half of an update.
    pub fn build(specs: Vec<RouteSpec>) -> Result<Self, RouteError> {
        if specs.len() > MAX_ROUTES {
            return Err(RouteError::TooMany { count: specs.len() });
        }
        let mut table = Self::default();
        for spec in specs {
            table.insert(spec)?;
        }
        let routes = table.exact.values_mut().chain(table.wildcard.values_mut());
        for host_routes in routes {
            host_routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        }
        Ok(table)
    }

    /// Whether some route serves this host, at whatever path.
    pub fn knows(&self, host: &HostName) -> bool {
        self.routes_of(host).is_some()
    }

    pub(crate) fn find(&self, host: &HostName, path: &str) -> Found {
        let Some(routes) = self.routes_of(host) else {
            return Found::UnknownHost;
        };
        match routes.iter().find(|route| route.prefix.covers(path)) {
            Some(route) => Found::Route(Arc::clone(route)),
            None => Found::NoPath,
        }
    }

    fn routes_of(&self, host: &HostName) -> Option<&HostRoutes> {
        self.exact
            .get(host)
            .or_else(|| self.wildcard.get(host.parent()?))
    }

    fn insert(&mut self, spec: RouteSpec) -> Result<(), RouteError> {
        let route = spec.id;
        if spec.backends.is_empty() {
            return Err(RouteError::NoBackend { route });
        }
        if spec.backends.len() > MAX_BACKENDS {
            let count = spec.backends.len();
            return Err(RouteError::TooManyBackends { route, count });
        }
        let prefix = PathPrefix::parse(&spec.path_prefix)
            .map_err(|reason| RouteError::Path { route, reason })?;
        let routes = match spec.host.as_str().strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.into()).or_default(),
            None => self.exact.entry(spec.host.clone()).or_default(),
        };
        if let Some(other) = routes.iter().find(|other| other.prefix == prefix) {
            return Err(RouteError::Duplicate {
                first: other.id,
                second: route,
                host: spec.host,
                path: prefix.as_str().to_owned(),
            });
        }
        routes.push(Arc::new(Route {
            id: route,
            prefix,
            backends: spec.backends,
            turn: AtomicUsize::new(0),
        }));
        Ok(())
    }
}

impl Route {
    /// The backends that are up, beginning with the one whose turn it is.
    pub(crate) fn up_in_turn(&self) -> Vec<&BackendSpec> {
        let up = |backend: &&BackendSpec| backend.health == BackendHealth::Up;
        let mut up: Vec<_> = self.backends.iter().filter(up).collect();
        self.rotate(&mut up);
        up
    }

    /// All backends, beginning with the one whose turn it is.
    pub(crate) fn all_in_turn(&self) -> Vec<&BackendSpec> {
        let mut all: Vec<_> = self.backends.iter().collect();
        self.rotate(&mut all);
        all
    }

    fn rotate(&self, backends: &mut [&BackendSpec]) {
        if backends.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            backends.rotate_left(turn % backends.len());
        }
    }
}

#[cfg(test)]
mod tests;
