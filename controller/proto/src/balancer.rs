//! A balancer as the node that runs it must know it: one port, the servers behind it, and how to choose among them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{BalancerId, Exposure, Label, Port, ServiceId};

/// How a server is chosen.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Algorithm {
    /// The one with the fewest open connections.
    #[n(0)]
    LeastConnections,
    /// The same one for one source address, as long as it serves.
    #[n(1)]
    SourceAffinity,
}

/// What the operator wants of one server.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum BackendMode {
    #[n(0)]
    Serve,
    /// No new connections; those that are open go on.
    #[n(1)]
    Drain,
    /// No new connections and no checks; those that are still open after a minute are reset.
    #[n(2)]
    Maintenance,
}

/// The version of the PROXY protocol in which a server hears who the client is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum ProxyProtocol {
    #[n(0)]
    V1,
    #[n(1)]
    V2,
}

/// A port of each server that answers HTTP 200 while the server is well, as X-Road's health interface does.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct HealthPort {
    #[n(0)]
    pub port: Port,
    #[n(1)]
    pub path: String,
}

/// A prefix of addresses, as text like `198.51.100.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Prefix {
    #[n(0)]
    pub address: IpAddr,
    #[n(1)]
    pub length: u8,
}

/// Why a text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    #[error("{0:?} is not a prefix; write one like 198.51.100.0/24")]
    Form(String),
    #[error("{given} has bits beyond its length; write {right}")]
    Bits { given: IpNet, right: IpNet },
}

impl Prefix {
    /// None if the length is too long for the address.
    #[must_use]
    pub fn net(self) -> Option<IpNet> {
        IpNet::new(self.address, self.length).ok()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// A single address is a prefix of its whole length.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let address = || text.parse().ok().map(|ip: IpAddr| ip.to_canonical().into());
        let net: Option<IpNet> = text.parse().ok().or_else(address);
        let given = net.ok_or_else(|| {
            let shown = text.chars().take(MAX_SHOWN_CHARS);
            PrefixError::Form(shown.collect())
        })?;
        if given.trunc() != given {
            let right = given.trunc();
            return Err(PrefixError::Bits { given, right });
        }
        Ok(Self {
            address: given.addr(),
            length: given.prefix_len(),
        })
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One server behind a balancer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Backend {
    #[n(0)]
    pub service: ServiceId,
    /// On the overlay.
    #[n(1)]
    pub address: SocketAddr,
    #[n(2)]
    pub mode: BackendMode,
}

/// A balancer that this node runs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Balancer {
    #[n(0)]
    pub id: BalancerId,
    #[n(1)]
    pub name: Label,
    #[n(2)]
    pub port: Port,
    /// `tunnel`: on the overlay address; `public`: on the machine's own addresses.
    #[n(3)]
    pub exposure: Exposure,
    #[n(4)]
    pub algorithm: Algorithm,
    #[n(5)]
    pub backends: Vec<Backend>,
    /// None: servers are checked by connecting to them.
    #[n(6)]
    pub health: Option<HealthPort>,
    #[n(7)]
    pub proxy_protocol: Option<ProxyProtocol>,
    #[n(8)]
    pub check_interval_ms: u32,
    /// For one connection attempt to a server.
    #[n(9)]
    pub connect_ms: u32,
    /// Without a byte in either direction.
    #[n(10)]
    pub idle_s: u32,
    #[n(11)]
    pub slow_start_s: u32,
    #[n(12)]
    pub connections: u32,
    #[n(13)]
    pub connections_per_source: u32,
    /// Empty: every source.
    #[n(14)]
    pub allowed_sources: Vec<Prefix>,
}

/// How a server behind a balancer is, as the balancer's node sees it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum BackendCondition {
    /// Not checked yet.
    #[n(0)]
    Unproven,
    #[n(1)]
    Up,
    /// A connection to it failed; a check will decide.
    #[n(2)]
    Suspect,
    #[n(3)]
    Down,
    /// Checks go well again, not yet often or long enough.
    #[n(4)]
    Recovering,
}

/// What a balancer's node tells of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BackendReport {
    #[n(0)]
    pub balancer: BalancerId,
    #[n(1)]
    pub service: ServiceId,
    #[n(2)]
    pub condition: BackendCondition,
    /// Open now.
    #[n(3)]
    pub connections: u32,
}

/// What a balancer's node tells of the balancer as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BalancerReport {
    #[n(0)]
    pub balancer: BalancerId,
    /// Why it takes no connections; None: it takes them.
    #[n(1)]
    pub trouble: Option<BalancerTrouble>,
    #[n(2)]
    pub counts: BalancerCounts,
}

/// Why a balancer takes no connections.
#[derive(Clone, Debug, PartialEq, Eq, Error, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "detail")]
pub enum BalancerTrouble {
    #[n(0)]
    #[error("another program has the port")]
    PortTaken,
    #[n(1)]
    #[error("binding the port needs a right that the program has not (CAP_NET_BIND_SERVICE)")]
    PortForbidden,
    /// What the system says, at most [`MAX_TROUBLE_CHARS`].
    #[n(2)]
    #[error("{0}")]
    Other(#[n(0)] String),
}

/// Connections and bytes of one balancer since it was opened on its node; `open` goes up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct BalancerCounts {
    #[n(0)]
    pub open: u64,
    /// Taken, the unserved ones included.
    #[n(1)]
    pub taken: u64,
    /// Refused over a limit.
    #[n(2)]
    pub over_limit: u64,
    /// Refused because no listed prefix has their source.
    #[n(3)]
    pub not_allowed: u64,
    /// Reset because no server took them.
    #[n(4)]
    pub unserved: u64,
    /// Taken by a server at another attempt than the first.
    #[n(5)]
    pub retried: u64,
    /// From clients, and to clients.
    #[n(6)]
    pub bytes_in: u64,
    #[n(7)]
    pub bytes_out: u64,
}

/// How long a balancer's trouble may be.
pub const MAX_TROUBLE_CHARS: usize = 200;
/// How much of a wrong prefix an error repeats.
const MAX_SHOWN_CHARS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_reads_back_what_it_prints() {
        for text in ["198.51.100.0/24", "2001:db8::/32", "192.0.2.1/32"] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(prefix.to_string(), text);
        }
        let one: Prefix = "192.0.2.1".parse().unwrap();
        assert_eq!(one.to_string(), "192.0.2.1/32");
    }

    #[test]
    fn a_prefix_with_bits_beyond_its_length_is_refused_with_the_right_one() {
        let error = "198.51.100.7/24".parse::<Prefix>().unwrap_err();
        assert!(error.to_string().ends_with("write 198.51.100.0/24"));
        assert!("198.51.100.0/33".parse::<Prefix>().is_err());
    }
}
