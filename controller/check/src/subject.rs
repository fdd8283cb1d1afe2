//! What one organization declares and what the controller knows of its servers: the plain data that a plan is made from.
//! It holds no rule and no secret.

use std::net::{IpAddr, SocketAddr};

use malha_proto::{NodeId, Prefix};
use serde::{Deserialize, Serialize};

use crate::check::Issuers;

/// Everything that a run of checks is about. Who builds it keeps to the limits beside it; [`crate::plan`] cuts what is over them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub organization: String,
    pub production: Stage,
    /// Homologation.
    pub development: Stage,
    /// Every authoritative server of the names' zones, one entry per address.
    pub name_servers: Vec<NameServer>,
    /// Those of them that have no address, so that nobody can ask them.
    #[serde(default)]
    pub unresolved_name_servers: Vec<String>,
    /// What is declared that servers must reach. [`Server::egress`] says it for each of them.
    pub egress: Vec<Target>,
    /// OCSP responders, as URLs like `http://ocsp.example:8888/`.
    pub ocsp_urls: Vec<String>,
    /// Time-stamp authorities, as URLs.
    pub timestamp_urls: Vec<String>,
    /// Certificates, PEM, that chains must end at: the issuers of the servers' certificates, of the OCSP answers and of the
    /// time stamps. A time-stamp authority's or responder's own certificate may stand here too.
    pub issuers_pem: Vec<String>,
    /// Issuers of the certificates of web addresses where they are others than [`Self::issuers_pem`].
    pub web_issuers_pem: Vec<String>,
    /// The ports as the organization itself wrote them down (seed document 000), whatever the profiles say.
    pub declared_ports: Vec<DeclaredPort>,
    /// Where that list and the profile of its servers differ, worst first. None: nobody compared them.
    pub port_differences: Option<Vec<PortDifference>>,
    /// A node outside of the organization's networks that dials its public addresses.
    pub outside: Option<Outside>,
    /// Where the controller's own connections come from.
    #[serde(default)]
    pub controller_sources: Vec<IpAddr>,
}

impl Subject {
    /// The PEM texts of the issuers.
    #[must_use]
    pub fn issuers(&self, which: Issuers) -> &[String] {
        match which {
            Issuers::Web if !self.web_issuers_pem.is_empty() => &self.web_issuers_pem,
            _ => &self.issuers_pem,
        }
    }
}

/// One of the two stages: names, addresses and servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Host names, like `xvia.sedec.mt.gov.br`.
    pub names: Vec<String>,
    /// The only addresses that the names may have in public.
    pub public_addresses: Vec<IpAddr>,
    /// The addresses that the names must have inside the overlay.
    pub internal_addresses: Vec<IpAddr>,
    /// A member that may open something at those addresses and can say what its names lead to.
    #[serde(default)]
    pub asker: Option<Node>,
    /// Web addresses that people and systems are given, `https://`.
    pub urls: Vec<String>,
    pub servers: Vec<Server>,
    pub balancers: Vec<Balancer>,
}

/// A machine of the overlay that serves ports of its profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub node: Node,
    pub overlay_addresses: Vec<IpAddr>,
    pub ports: Vec<Port>,
    /// What it must reach, at the addresses to which the names lead it. Balancers must reach nothing here.
    #[serde(default)]
    pub egress: Vec<Target>,
}

/// A node by number, and the name by which people know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    /// Like `servidor-1.producao.sedec`.
    pub name: String,
}

/// An inbound port of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub number: u16,
    pub protocol: Protocol,
    pub exposure: Exposure,
    pub probe: PortProbe,
    /// A member whose grant covers this port, with its tunnel up.
    pub granted: Option<Node>,
    /// A member of the overlay without a grant to this port, with its tunnel up.
    pub ungranted: Option<Node>,
    /// The only sources that a public balancer admits here. None: everybody.
    #[serde(default)]
    pub allow_list: Option<AllowList>,
}

/// A balancer and the sources that it admits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowList {
    /// As [`Balancer::name`].
    pub balancer: String,
    pub sources: Vec<Prefix>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    /// Nothing here dials UDP ports; their checks say so.
    Udp,
}

/// From where a port answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exposure {
    /// On the overlay address, to members with a grant.
    Tunnel,
    /// Also on the declared public addresses.
    Public,
    /// On the machine itself only.
    Loopback,
    /// Nowhere.
    Never,
}

/// What is looked at beyond the connection; the controller does it through the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortProbe {
    None,
    /// TLS that asks for a client certificate: X-Road's 5500.
    TlsClientCertificate,
    /// TLS with a server's certificate only: X-Road's 4000.
    Tls,
    /// X-Road's 5577: answers OCSP responses over plain HTTP. `tls_port` is the port whose certificate it must know.
    OcspCache {
        tls_port: u16,
    },
    /// Plain HTTP that answers with one of these statuses.
    Http {
        path: String,
        statuses: Vec<u16>,
    },
    /// Plain HTTP, any path, status 200 (X-Road's health port).
    Health,
}

/// A balancer of the controller, whose servers it knows to be up or down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balancer {
    pub name: String,
}

/// One address of one authoritative server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NameServer {
    pub name: String,
    pub address: SocketAddr,
}

/// What a server must be able to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub kind: TargetKind,
    /// As people know it: a host name or an organization.
    pub name: String,
    pub port: u16,
    /// Each is dialled; none means that the name has no address, and that can't be tested.
    pub addresses: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// Another organization's security server (5500, 5577).
    Peer,
    /// The central server (4001, 80, 443).
    Central,
    Ocsp,
    TimeStamp,
}

/// A port of which the organization's list and the profile of its servers do not say the same. Who compares them is the controller,
/// by the rule that its pages show too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortDifference {
    pub number: u16,
    pub direction: Direction,
    /// The list has it towards the organization's own network.
    pub is_declared_inside: bool,
    /// The list has it towards everything beyond.
    pub is_declared_outside: bool,
    /// What the profile says; None: it has no such port in this direction.
    pub exposure: Option<Exposure>,
}

/// A line of the organization's own list of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeclaredPort {
    pub number: u16,
    pub direction: Direction,
    /// "Da rede externa", or towards it; else the organization's own network.
    pub from_outside: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    In,
    Out,
}

/// The vantage point outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    pub node: Node,
    /// Where its connections come from, as far as the controller sees that.
    #[serde(default)]
    pub sources: Vec<IpAddr>,
    /// Public addresses that are known to answer, like the controller's own. A public address that is silent counts as closed only
    /// if this node reached one of the same family in the same run.
    pub control: Vec<SocketAddr>,
}

/// Entries of each list that a plan looks at.
pub const MAX_NAMES: usize = 8;
pub const MAX_ADDRESSES: usize = 16;
pub const MAX_URLS: usize = 16;
pub const MAX_SERVERS: usize = 16;
pub const MAX_PORTS: usize = 32;
pub const MAX_NAME_SERVERS: usize = 16;
pub const MAX_TARGETS: usize = 64;
pub const MAX_ISSUERS: usize = 16;
pub const MAX_DECLARED_PORTS: usize = 64;
pub const MAX_PORT_DIFFERENCES: usize = MAX_DECLARED_PORTS + MAX_PORTS;
