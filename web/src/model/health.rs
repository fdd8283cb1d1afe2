//! The hops between the controller and a service, each seen for itself, and the one that is broken.

use time::OffsetDateTime;

use crate::untrusted::Untrusted;

/// The way from the controller to a node's services, hop by hop.
#[derive(Clone, Debug)]
pub struct Hops {
    pub control: ControlHop,
    pub tunnel: TunnelHop,
    pub services: Vec<ServiceHop>,
    /// The first hop that does not carry, by the console's judgement; `None` when all do.
    pub broken: Option<BrokenHop>,
}

/// The control session.
#[derive(Clone, Debug)]
pub struct ControlHop {
    pub state: HopState,
    /// Since when it is in this state; `None` before the first connection.
    pub since: Option<OffsetDateTime>,
}

/// The WireGuard tunnel between the hub and the node.
#[derive(Clone, Debug)]
pub struct TunnelHop {
    pub state: HopState,
    pub since: Option<OffsetDateTime>,
    pub handshake_at: Option<OffsetDateTime>,
    /// Bytes received from the node.
    pub rx_bytes: u64,
    /// Bytes sent to the node.
    pub tx_bytes: u64,
    /// Where the node's packets come from, as `address:port`.
    pub endpoint: Option<Untrusted>,
}

/// One service, probed through the tunnel.
#[derive(Clone, Debug)]
pub struct ServiceHop {
    pub name: Untrusted,
    pub port: u16,
    pub state: ProbeState,
    pub since: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopState {
    Up,
    Down,
    /// Not observed yet, or hidden behind a broken hop.
    Unknown,
}

/// What the last probe of a service met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeState {
    Up,
    /// The machine answered that nothing listens there.
    Refused,
    /// Nobody answered in time.
    Timeout,
    /// The tunnel or the network gave no way to it.
    Unreachable,
    /// It answered, but not as a service of its kind should.
    BadAnswer,
    /// Not probed yet, or hidden behind a broken hop.
    Unknown,
}

/// The hop to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenHop {
    pub kind: BreakKind,
    /// The service's name, for the kinds that are about a service.
    pub service: Option<Untrusted>,
    pub since: OffsetDateTime,
}

/// The ways a path breaks, as an operator would tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakKind {
    /// Control: the node has enrolled but has not come back since.
    NeverConnected,
    /// Agent: it said that it stops, or only its machine still answers.
    AgentStopped,
    /// Control: session and tunnel fell silent together: the machine or its link is off.
    LinkDown,
    /// Control only: the session is down while the tunnel carries.
    ControlDown,
    /// Tunnel: the agent is connected, but no recent handshake.
    TunnelDown,
    /// Tunnel, of the hub itself: its interface was changed and can't be set again.
    HubInterface,
    /// Service: the machine refused the connection; the program is stopped.
    ServiceRefused,
    /// Service: no answer in time.
    ServiceTimeout,
    /// Service: no way to it.
    ServiceUnreachable,
    /// Service: a wrong answer.
    ServiceBadAnswer,
}

impl BreakKind {
    /// Every kind.
    pub const ALL: [BreakKind; 10] = [
        BreakKind::NeverConnected,
        BreakKind::AgentStopped,
        BreakKind::LinkDown,
        BreakKind::ControlDown,
        BreakKind::TunnelDown,
        BreakKind::HubInterface,
        BreakKind::ServiceRefused,
        BreakKind::ServiceTimeout,
        BreakKind::ServiceUnreachable,
        BreakKind::ServiceBadAnswer,
    ];
}
