//! What a balancer is told: backends, how to choose among them, how to check them, and every bound. A [`Spec`] that was
//! checked can be run; it never says where the balancer listens.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::proxy_header::ProxyHeader;

/// A balancer's whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub algorithm: Algorithm,
    pub backends: Vec<Backend>,
    pub check: Check,
    /// What a backend hears of the client before the client's first byte; X-Road understands none.
    pub proxy_header: Option<ProxyHeader>,
    /// For a backend that came up: its share of new connections grows from a tenth to the whole in this time.
    pub slow_start: Duration,
    pub limits: Limits,
    /// Prefixes whose connections are taken; empty: all.
    pub allowed_sources: Vec<IpNet>,
}

/// How a backend is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The one with the fewest open connections for its weight, in turn among equals.
    LeastConnections,
    /// The same one for one source address as long as it serves (rendezvous hashing): when a backend goes, only its own
    /// sources move.
    SourceAffinity,
}

/// One server behind the balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Tells it from the others across changes of the spec.
    pub id: u64,
    pub address: SocketAddr,
    pub mode: Mode,
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Serve,
    /// No new connections; those that are open go on, and checks too.
    Drain,
    /// No new connections and no checks; those that are still open after [`MAINTENANCE_GRACE`] are reset.
    ///
    /// [`MAINTENANCE_GRACE`]: super::pool::MAINTENANCE_GRACE
    Maintenance,
}

/// How backends are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub probe: Probe,
    /// From the end of one check to the next.
    pub interval: Duration,
    /// For the whole of one check.
    pub timeout: Duration,
    /// Checks in a row that must go well before a backend that was down is up.
    pub rise: u32,
    /// Checks in a row that must fail before a backend that was up is down. An HTTP answer other than 200 needs no second.
    pub fall: u32,
}

/// What one check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Connects to the backend's port, waits a moment whether it is thrown out again, and closes.
    Tcp,
    /// Asks a port of the backend over plain HTTP, as X-Road's health interface wants it: only 200 is well. X-Road keeps
    /// the result of a failed check for 30 s, so such a backend is not called up again before [`RECOVERY`].
    ///
    /// [`RECOVERY`]: super::health::RECOVERY
    Http { port: u16, path: String },
}

/// Bounds of what clients and backends could make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For one connection attempt to a backend.
    pub connect: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// The same once one side has ended its half and the other has not, if that is shorter.
    pub half_open: Duration,
    /// Open at once.
    pub connections: usize,
    /// The same from one IPv4 address or one IPv6 /64.
    pub connections_per_source: usize,
}

/// Why a spec can't be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("a balancer needs 1 to {MAX_BACKENDS} backends, not {0}")]
    Backends(usize),
    #[error("backend {0} is named twice")]
    BackendTwice(u64),
    #[error("{0} is not an address to connect to")]
    Address(SocketAddr),
    #[error("{what} must be {least:?} to {most:?}, not {value:?}")]
    Time {
        what: &'static str,
        value: Duration,
        least: Duration,
        most: Duration,
    },
    #[error("{what} must be 1 to {most}, not {value}")]
    Number {
        what: &'static str,
        value: usize,
        most: usize,
    },
    #[error(
        "the health path must start with / and be at most {MAX_PATH_BYTES} visible ASCII characters, \
         not {0:?}"
    )]
    Path(String),
    #[error("at most {MAX_ALLOWED_SOURCES} source prefixes, not {0}")]
    Sources(usize),
}

impl Spec {
    /// Least connections and TCP checks, nothing else changed from the defaults.
    pub fn new(backends: Vec<Backend>) -> Self {
        Self {
            algorithm: Algorithm::LeastConnections,
            backends,
            check: Check::new(Probe::Tcp),
            proxy_header: None,
            slow_start: DEFAULT_SLOW_START,
            limits: Limits::default(),
            allowed_sources: Vec::new(),
        }
    }

    /// # Errors
    /// [`SpecError`] names the first value that is out of bounds.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.backends.is_empty() || self.backends.len() > MAX_BACKENDS {
            return Err(SpecError::Backends(self.backends.len()));
        }
        for (at, backend) in self.backends.iter().enumerate() {
            if self.backends[..at].iter().any(|it| it.id == backend.id) {
                return Err(SpecError::BackendTwice(backend.id));
            }
            let address = backend.address;
            if address.port() == 0 || address.ip().is_unspecified() {
                return Err(SpecError::Address(address));
            }
        }
        if self.allowed_sources.len() > MAX_ALLOWED_SOURCES {
            return Err(SpecError::Sources(self.allowed_sources.len()));
        }
        self.check.check()?;
        self.limits.check()?;
        time(
            "slow start",
            self.slow_start,
            Duration::ZERO,
            MAX_SLOW_START,
        )
    }

    /// Whether a connection from here is taken.
    pub(super) fn allows(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        let mut prefixes = self.allowed_sources.iter();
        self.allowed_sources.is_empty() || prefixes.any(|prefix| prefix.contains(&source))
    }
}

impl Check {
    /// The default times for this probe.
    pub fn new(probe: Probe) -> Self {
        let timeout = match probe {
            Probe::Tcp => DEFAULT_TCP_TIMEOUT,
            Probe::Http { .. } => DEFAULT_HTTP_TIMEOUT,
        };
        Self {
            probe,
            interval: DEFAULT_INTERVAL,
            timeout,
            rise: DEFAULT_RISE,
            fall: DEFAULT_FALL,
        }
    }

    fn check(&self) -> Result<(), SpecError> {
        if let Probe::Http { port, path } = &self.probe {
            number("health port", usize::from(*port), usize::from(u16::MAX))?;
            let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
            if !path.starts_with('/') || path.len() > MAX_PATH_BYTES || !visible {
                return Err(SpecError::Path(path.clone()));
            }
        }
        let least = self.probe.least_interval();
        time("check interval", self.interval, least, MAX_INTERVAL)?;
        time("check timeout", self.timeout, MIN_TIMEOUT, MAX_INTERVAL)?;
        number("rise", self.rise as usize, MAX_IN_A_ROW)?;
        number("fall", self.fall as usize, MAX_IN_A_ROW)
    }
}

impl Probe {
    /// Between two checks of one backend, whatever is in a hurry.
    pub(super) fn least_interval(&self) -> Duration {
        match self {
            Self::Tcp => MIN_INTERVAL,
            Self::Http { .. } => MIN_HTTP_INTERVAL,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), SpecError> {
        time("connect timeout", self.connect, MIN_TIMEOUT, MAX_CONNECT)?;
        time("idle timeout", self.idle, MIN_IDLE, MAX_IDLE)?;
        time("half-open timeout", self.half_open, MIN_IDLE, MAX_IDLE)?;
        number("connections", self.connections, MAX_CONNECTIONS)?;
        number(
            "connections per source",
            self.connections_per_source,
            MAX_CONNECTIONS,
        )
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: DEFAULT_CONNECT,
            idle: DEFAULT_IDLE,
            half_open: DEFAULT_HALF_OPEN,
            connections: DEFAULT_CONNECTIONS,
            connections_per_source: DEFAULT_CONNECTIONS_PER_SOURCE,
        }
    }
}

fn time(
    what: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), SpecError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SpecError::Time {
        what,
        value,
        least,
        most,
    })
}

fn number(what: &'static str, value: usize, most: usize) -> Result<(), SpecError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(SpecError::Number { what, value, most })
}

/// Backends of one balancer.
pub const MAX_BACKENDS: usize = 16;
/// Source prefixes of one balancer.
pub const MAX_ALLOWED_SOURCES: usize = 256;
pub const MAX_PATH_BYTES: usize = 256;
/// Connections of one balancer, whatever its spec says.
pub const MAX_CONNECTIONS: usize = 100_000;
/// X-Road keeps a good result for 2 s: asking more often tells nothing new.
pub const MIN_HTTP_INTERVAL: Duration = Duration::from_secs(2);
pub const MIN_INTERVAL: Duration = Duration::from_millis(500);
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
pub const DEFAULT_CONNECT: Duration = Duration::from_secs(1);
/// X-Road's own limit for a message is a minute; a pooled connection may rest longer.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(300);
/// Who has ended its half still waits for an answer, at most as long as X-Road lets a message take.
pub const DEFAULT_HALF_OPEN: Duration = Duration::from_secs(60);
pub const DEFAULT_SLOW_START: Duration = Duration::from_secs(30);
pub const DEFAULT_CONNECTIONS: usize = 10_000;
/// One peer's server may carry a whole agency's traffic.
pub const DEFAULT_CONNECTIONS_PER_SOURCE: usize = 2_000;
const DEFAULT_TCP_TIMEOUT: Duration = Duration::from_secs(1);
/// Each of X-Road's inner checks may take 5 s.
const DEFAULT_HTTP_TIMEOUT: Duration = Duration::from_secs(6);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 2;
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(300);
const MAX_CONNECT: Duration = Duration::from_secs(30);
const MIN_IDLE: Duration = Duration::from_secs(1);
const MAX_IDLE: Duration = Duration::from_secs(24 * 3600);
const MAX_SLOW_START: Duration = Duration::from_secs(3600);
const MAX_IN_A_ROW: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec::new(vec![Backend {
            id: 1,
            address: ([100, 64, 0, 2], 5500).into(),
            mode: Mode::Serve,
        }])
    }

    #[test]
    fn the_defaults_can_be_run() {
        assert_eq!(spec().check(), Ok(()));
        let mut asks_x_road = spec();
        asks_x_road.check = Check::new(Probe::Http {
            port: 5588,
            path: "/".into(),
        });
        assert_eq!(asks_x_road.check(), Ok(()));
    }

    #[test]
    fn x_road_is_not_asked_more_often_than_it_thinks() {
        let mut spec = spec();
        spec.check = Check::new(Probe::Http {
            port: 5588,
            path: "/".into(),
        });
        spec.check.interval = Duration::from_millis(1_999);
        let error = spec.check().unwrap_err();
        assert!(matches!(
            error,
            SpecError::Time {
                what: "check interval",
                ..
            }
        ));
    }

    #[test]
    fn a_path_can_not_smuggle_a_header_into_the_check() {
        let mut spec = spec();
        spec.check.probe = Probe::Http {
            port: 1,
            path: "/ HTTP/1.0\r\nX: y".into(),
        };
        assert!(matches!(spec.check(), Err(SpecError::Path(_))));
    }

    #[test]
    fn an_empty_list_of_sources_takes_all_and_another_only_its_own() {
        let mut spec = spec();
        assert!(spec.allows([192, 0, 2, 1].into()));
        spec.allowed_sources = vec!["192.0.2.0/24".parse().unwrap()];
        assert!(spec.allows([192, 0, 2, 1].into()));
        assert!(spec.allows("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!spec.allows([198, 51, 100, 1].into()));
        assert!(!spec.allows("2001:db8::1".parse().unwrap()));
    }
}
