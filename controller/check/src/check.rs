//! A check: what is expected, what has to be looked at for it, and from where. It is data; who looks is elsewhere.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use time::Duration;

use crate::subject::Node;

/// One expectation with one verdict. Several may need the same look; [`crate::probes`] gives each look once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable from run to run and readable, like `production/port/5500/outside/203.0.113.7`.
    pub id: String,
    pub vantage: Vantage,
    pub probe: Probe,
    pub expect: Expect,
}

/// From where something is looked at. `node: None` says that there is nobody to look from there: *could not test*.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vantage {
    /// Where the controller runs; overlay addresses through its hub.
    Controller,
    MemberWithGrant {
        node: Option<Node>,
    },
    MemberWithoutGrant {
        node: Option<Node>,
    },
    /// A node outside of the organization that dials public addresses.
    Outside {
        node: Option<Node>,
    },
    /// The organization's own server, looking out.
    Server {
        node: Node,
    },
}

impl Vantage {
    /// The node that has to look; none for the controller, and where there is nobody.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        match self {
            Self::Controller => None,
            Self::MemberWithGrant { node }
            | Self::MemberWithoutGrant { node }
            | Self::Outside { node } => node.as_ref(),
            Self::Server { node } => Some(node),
        }
    }

    /// Whether somebody can look from there at all.
    #[must_use]
    pub fn is_manned(&self) -> bool {
        matches!(self, Self::Controller) || self.node().is_some()
    }
}

/// One look. Nodes take the connections and the names inside; the others are the controller's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Opens a connection and closes it; nothing is sent.
    TcpConnect { address: SocketAddr },
    /// The same, and whether the other side keeps the connection: a balancer has accepted before it looks at its list.
    TcpStay { address: SocketAddr },
    /// Asks for A and AAAA: in public each server, one observation per server; inside the member that looks.
    Dns { name: String, view: View },
    /// Asks each server which servers answer for the name's zone, and for their addresses; one observation per server.
    NameServers { name: String },
    /// A handshake as far as the server lets a client without a certificate come.
    Tls { address: SocketAddr },
    /// `GET` over plain HTTP.
    Http { address: SocketAddr, path: String },
    /// Asks X-Road's port 5577 for the certificate that `tls` presents, and for nothing.
    OcspCache {
        address: SocketAddr,
        tls: SocketAddr,
    },
    /// `GET` of an `https://` address, whose host name is resolved as this machine does.
    Url { url: String },
    /// Asks for the state of the certificate that `tls` presents.
    Ocsp { url: String, tls: SocketAddr },
    /// Asks for a time stamp with a fresh nonce.
    TimeStamp { url: String },
    /// What the controller itself knows of a balancer's servers; who runs the checks puts the observation in.
    Balancer { name: String },
    /// Nothing is looked at: it is about what is declared.
    Declaration,
    /// A UDP port, which nobody dials.
    UdpPort { address: SocketAddr },
    /// A name that must be dialled and has no address.
    Unresolved { name: String, port: u16 },
}

impl Probe {
    /// Whether a node takes this look when it is the vantage point.
    #[must_use]
    pub fn is_for_nodes(&self) -> bool {
        let view = View::Internal;
        matches!(self, Self::TcpConnect { .. } | Self::TcpStay { .. })
            || matches!(self, Self::Dns { view: inside, .. } if *inside == view)
    }
}

/// What must be so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Something is declared that other checks need; this stands in the plan where it is not.
    Declared,
    /// The plan holds all that was declared; this stands in it where that was too much.
    WithinLimits,
    /// The name has at least one address.
    NameExists,
    /// The name's addresses, through all aliases, are among these.
    OnlyAddresses { declared: Vec<IpAddr> },
    /// None of the name's addresses is private, local or reserved.
    NoPrivateAddress,
    /// All authoritative servers answer, with the same.
    ServersAgree,
    /// Every server that answers for the name's zone is one of the subject's, and so was asked.
    ServersDeclared,
    /// The name has no address that `other` has, and is another name.
    DiffersFrom { other: String },
    /// The name has none of these addresses: they are the other stage's.
    NotOn { addresses: Vec<IpAddr> },
    /// Inside the overlay the name has exactly these addresses.
    InternalView { addresses: Vec<IpAddr> },
    /// The port accepts connections. Silence counts against it only if `control` is open from the same vantage point.
    Open { control: Option<SocketAddr> },
    /// The port does not. Silence counts for it only if `control` is open from the same vantage point.
    Closed { control: Option<SocketAddr> },
    /// Whoever is on no list of these balancers is not served. To be thrown out counts for it only while one of them has a server
    /// that is up: without one, nobody is served.
    TurnedAway {
        control: Option<SocketAddr>,
        balancers: Vec<String>,
    },
    /// The server asks for a client certificate and goes no further without.
    ClientCertificate,
    /// The chain ends at an expected issuer, signature by signature.
    Chain { issuers: Issuers },
    /// The certificate's key usage and extended key usage allow its role.
    Usage { role: Role },
    /// The certificate is valid now, and not about to end.
    Lasting,
    /// The certificate is for this host name.
    HostName { host: String },
    /// One of these statuses.
    Status { statuses: Vec<u16> },
    /// No status of 500 and above.
    NoServerError,
    /// A `multipart/` answer that holds OCSP responses.
    OcspMultipart,
    /// Neither the host, nor where it answers, nor where it sends the reader, is the other stage's.
    AwayFrom {
        names: Vec<String>,
        addresses: Vec<IpAddr>,
    },
    /// The OCSP answer is signed by the issuer or by a responder that the issuer allowed.
    OcspSigned,
    /// Its times are sane.
    OcspFresh,
    /// It says that the certificate is good.
    OcspGood,
    /// The time stamp is for what was sent, nonce and imprint.
    StampMatches,
    /// It is signed by an authority under the expected issuers, whose only usage, marked critical, is time stamping.
    StampSigned,
    /// The authority's clock is as near as this to the controller's.
    StampClock {
        #[serde(with = "seconds")]
        tolerance: Duration,
    },
    /// Every server of the balancer is up.
    AllUp,
    /// The organization's own list of ports says what the profiles say.
    SamePorts,
}

/// Whom a name is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Every authoritative server of the subject.
    Public,
    /// The resolver of a member's agent, and what programs on that machine get.
    Internal,
}

/// Which of the subject's issuers a chain must end at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Issuers {
    /// [`crate::Subject::issuers_pem`].
    Organization,
    /// [`crate::Subject::web_issuers_pem`], or the former where that is empty.
    Web,
}

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// X-Road's authentication certificate: client and server at once.
    Authentication,
    /// A web server.
    WebServer,
}

impl fmt::Display for Vantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self {
            Self::Controller => "controller",
            Self::MemberWithGrant { .. } => "member with grant",
            Self::MemberWithoutGrant { .. } => "member without grant",
            Self::Outside { .. } => "outside",
            Self::Server { .. } => "server",
        };
        match self.node() {
            Some(node) => write!(f, "{place} ({})", node.name),
            None => f.write_str(place),
        }
    }
}

mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use time::Duration;

    pub(super) fn serialize<S: Serializer>(span: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i64(span.whole_seconds())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        i64::deserialize(d).map(Duration::seconds)
    }
}
