//! Services and the routes that publish them.

use time::OffsetDateTime;

use super::{NodeId, ProbeState, opaque_id};
use crate::untrusted::Untrusted;

opaque_id!(
    /// Names a service.
    ServiceId
);
opaque_id!(
    /// Names a route.
    RouteId
);

/// One service as a row.
#[derive(Clone, Debug)]
pub struct ServiceRow {
    pub id: ServiceId,
    pub node: NodeId,
    /// The node as `organization/site/node`.
    pub node_path: Untrusted,
    pub name: Untrusted,
    pub port: u16,
    pub protocol: Protocol,
    /// Where the agent hands it to, as `127.0.0.1:8080`.
    pub target: Untrusted,
    pub exposure: Exposure,
    pub state: ProbeState,
    pub since: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// The protocol's name everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// The protocol with this name.
    pub fn parse(name: &str) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .find(|protocol| protocol.as_str() == name)
    }
}

/// Who may reach a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Only peers inside the overlay.
    Tunnel,
    /// Routes may publish it as well.
    Public,
}

impl Exposure {
    /// The exposure's name in API, CLI and forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Exposure::Tunnel => "tunnel",
            Exposure::Public => "public",
        }
    }

    /// The exposure with this name.
    pub fn parse(name: &str) -> Option<Exposure> {
        [Exposure::Tunnel, Exposure::Public]
            .into_iter()
            .find(|exposure| exposure.as_str() == name)
    }
}

/// What the form "new service" asks for (fields `node`, `name`, `port`, `protocol`, `target`,
/// `exposure`).
#[derive(Clone, Debug)]
pub struct NewService {
    pub node: NodeId,
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
    pub target: String,
    pub exposure: Exposure,
}

/// One route as a row.
#[derive(Clone, Debug)]
pub struct RouteRow {
    pub id: RouteId,
    pub host: Untrusted,
    /// The path prefix, `/` for all.
    pub path: Untrusted,
    /// The address to open; shown as a link only when it begins with `https://`.
    pub url: Option<Untrusted>,
    /// The services behind it, as `node/service`.
    pub services: Vec<Untrusted>,
    /// No zone of the controller holds the host: where its DNS must lead, made elsewhere.
    pub elsewhere: Option<String>,
    pub state: RouteState,
    pub since: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// Every service behind it answers.
    Up,
    /// At least one service answers and at least one does not.
    Degraded,
    /// No service answers.
    Down,
    /// Not probed yet.
    Unknown,
}

/// What the form "new route" asks for (fields `host`, `path`, and one or more `service`).
#[derive(Clone, Debug)]
pub struct NewRoute {
    pub host: String,
    pub path: String,
    pub services: Vec<ServiceId>,
}
