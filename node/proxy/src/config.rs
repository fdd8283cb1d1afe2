//! What an edge is told when it starts: addresses, limits, the control hand-off and hosts of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use crate::host::HostName;

/// The control channel's server name: a connection that names it is not the web's, whatever it will speak.
pub const CONTROL_SERVER_NAME: &str = "controller.malha.internal";

/// ALPN of the control channel, which shares the HTTPS port.
pub const CONTROL_ALPN: &[u8] = b"malha/1";

/// Addresses and behaviour of an edge.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Where HTTPS is served.
    pub https: Vec<SocketAddr>,
    /// Where plain HTTP is redirected to HTTPS; may be empty.
    pub http: Vec<SocketAddr>,
    /// The HTTPS port as the public sees it; redirects and `X-Forwarded-Port` say it.
    pub public_https_port: u16,
    /// `Strict-Transport-Security` max-age in seconds; `None` sends no such header.
    pub hsts_max_age_s: Option<u32>,
    /// Peers whose forwarding headers are believed and extended; everybody else's are removed.
    pub trusted_proxies: Vec<IpNet>,
    /// Offset from UTC, in minutes, of the times on error pages; the page names the offset.
    pub page_utc_offset_min: i16,
    pub limits: EdgeLimits,
}

/// Bounds of everything that a stranger or a broken origin could make grow.
#[derive(Clone, Debug)]
pub struct EdgeLimits {
    /// Client connections open at once.
    pub connections: usize,
    /// The same from one IPv4 address or one IPv6 /64.
    pub connections_per_source: usize,
    /// TLS handshakes under way at once; more wait within `handshake`.
    pub handshakes: usize,
    /// From accepting the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// For one HTTP/1.1 request head, and for an idle HTTP/1.1 connection.
    pub header_read: Duration,
    /// For one connection attempt to a backend, waiting for a free slot included.
    pub dial: Duration,
    /// From the last request byte the origin took to the head of its response.
    pub first_byte: Duration,
    /// Without any progress of a body, a response or an upgraded connection.
    pub idle: Duration,
    /// A client connection without a request.
    pub unused: Duration,
    /// An origin connection kept for the next request.
    pub pool_idle: Duration,
    pub pool_idle_per_backend: usize,
    pub pool_idle_total: usize,
    /// Connections to one backend, upgraded ones included.
    pub connections_per_backend: usize,
    /// Requests in flight on one HTTP/2 connection.
    pub http2_streams: u32,
    /// How long a request may wait for the origin's `100 Continue` before its body is sent anyway.
    pub expect_continue: Duration,
    /// For requests in flight when the edge stops.
    pub drain: Duration,
}

impl EdgeLimits {
    /// A client connection with a request and no byte in either direction: longer than anything that has a limit and an
    /// answer of its own.
    pub(crate) fn stalled(&self) -> Duration {
        self.idle + self.first_byte
    }
}

impl EdgeConfig {
    /// HTTPS on the given addresses, nothing else changed from the defaults.
    pub fn new(https: Vec<SocketAddr>, public_https_port: u16) -> Self {
        Self {
            https,
            http: Vec::new(),
            public_https_port,
            hsts_max_age_s: None,
            trusted_proxies: Vec::new(),
            page_utc_offset_min: BRASILIA_UTC_OFFSET_MIN,
            limits: EdgeLimits::default(),
        }
    }
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_source: 512,
            handshakes: 512,
            handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(15),
            dial: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            unused: Duration::from_secs(60),
            pool_idle: Duration::from_secs(60),
            pool_idle_per_backend: 32,
            pool_idle_total: 2048,
            connections_per_backend: 256,
            http2_streams: 128,
            expect_continue: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// Where TLS connections go whose ClientHello offers [`CONTROL_ALPN`] or names [`CONTROL_SERVER_NAME`]. A full channel drops the newest connection.
///
/// A connection handed over no longer counts against the edge's connection limits.
#[derive(Clone, Debug)]
pub struct ControlHandoff {
    pub config: Arc<ServerConfig>,
    pub streams: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
}

/// Hosts served by processes beside the edge, reached by plain TCP without the tunnel. They win over routes.
#[derive(Clone, Debug, Default)]
pub struct InternalHosts(BTreeMap<HostName, SocketAddr>);

impl InternalHosts {
    pub fn new(hosts: impl IntoIterator<Item = (HostName, SocketAddr)>) -> Self {
        Self(hosts.into_iter().collect())
    }

    pub(crate) fn find(&self, host: &HostName) -> Option<SocketAddr> {
        self.0.get(host).copied()
    }
}

const BRASILIA_UTC_OFFSET_MIN: i16 = -180;
