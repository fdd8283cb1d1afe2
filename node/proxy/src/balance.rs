//! The layer-4 balancer: TCP connections in, each carried whole to one of a few backends. It never opens what it carries:
//! mutual TLS passes through it untouched.
//!
//! | room | does | how many |
//! |---|---|---|
//! | [`Spec`] | what a balancer is told | one per balancer, replaced whole |
//! | `pool` | sans-IO: which backend a connection gets | one per balancer |
//! | `health` | sans-IO: what checks and connections say of a backend | one per backend |
//! | `checker` | asks the backends how they are | one task per balancer |
//! | `worker` | the life of connections between two kernel sockets | a few threads per balancer |
//! | `listener` | accepts what else comes, and starts it | one task per other address |
//! | `stream` | the life of one such connection | one task per connection |
//! | `carry` | its bytes in both directions | two per connection |
//! | `ways` | how the kernel reaches the backends | one per balancer |
//! | `sources` | until when who comes through a tunnel may stay | one per overlay address |
//! | `lease` | a place at a backend | one per connection |
//! | `open` | what the pool knows of a connection, and tells it | one per connection |

mod balancer;
mod carry;
mod checker;
mod health;
mod lease;
mod link;
mod listener;
mod open;
mod pool;
mod proxy_header;
mod sources;
mod spec;
mod status;
mod stream;
mod ways;
mod worker;

pub use balancer::Balancer;
pub use health::{Condition, RECOVERY};
pub use link::{
    Arrival, Connector, Cut, Door, KernelConnector, KernelListener, Link, Listener, News, Sockets,
    SourceWatch, Stream, Way,
};
pub use pool::{BackendStatus, MAINTENANCE_GRACE, Pool};
pub use proxy_header::ProxyHeader;
pub use spec::{
    Algorithm, Backend, Check, DEFAULT_CONNECT, DEFAULT_CONNECTIONS,
    DEFAULT_CONNECTIONS_PER_SOURCE, DEFAULT_HALF_OPEN, DEFAULT_IDLE, DEFAULT_INTERVAL,
    DEFAULT_SLOW_START, Limits, MAX_ALLOWED_SOURCES, MAX_BACKENDS, MAX_CONNECTIONS, MAX_PATH_BYTES,
    MIN_HTTP_INTERVAL, MIN_INTERVAL, Mode, Probe, Spec, SpecError,
};
pub use status::{BalancerCounters, BalancerStatus};
pub use worker::FOR_ONE_EACH as BALANCERS_WITH_WORKERS;
