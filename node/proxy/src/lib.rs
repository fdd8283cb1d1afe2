//! The edge's reverse proxy: public HTTPS in, HTTP/1.1 through the tunnel out. It picks a backend by its route table
//! alone, reaches it through a [`Dialer`] alone, and every failure it answers for names the hop at fault. Beside it stands
//! [`balance`], which carries TCP connections that nobody here may open.

#![forbid(unsafe_code)]

mod activity;
mod admission;
mod answer;
pub mod balance;
mod candidates;
mod config;
mod counters;
mod dial;
mod edge;
mod exchange;
mod failure;
mod forwarded;
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod headers;
mod hop;
mod host;
mod origin;
mod page;
mod path;
mod preference;
mod relay;
mod route;
mod serve;
mod target;
mod text;
mod tls;
mod upgrade;

pub use config::{
    CONTROL_ALPN, CONTROL_SERVER_NAME, ControlHandoff, EdgeConfig, EdgeLimits, InternalHosts,
};
pub use counters::{Count, EdgeCounters};
pub use dial::{BoxStream, ByteStream, Dialer};
pub use edge::{Edge, EdgeError, LocalAddrs, listen};
pub use hop::Hop;
pub use host::{HostError, HostName, MAX_HOST_BYTES};
pub use path::{MAX_PREFIX_BYTES, PathError};
pub use route::{
    BackendHealth, BackendSpec, MAX_BACKENDS, MAX_ROUTES, Protocol, RouteError, RouteSpec,
    RouteTable,
};
pub use target::{MAX_HEADERS_BYTES, MAX_TARGET_BYTES};
