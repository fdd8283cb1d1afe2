//! The underlay between the machines: one segment of public addresses, on which somebody may listen. It filters nothing.

use anyhow::Result;

use super::namespace::Namespace;
use super::wiretap::Wiretap;

/// Public addresses (RFC 5737), each with the segment's prefix length.
pub const HUB: &str = "203.0.113.2";
pub const AGENCY: &str = "203.0.113.30";
pub const CLIENT: &str = "203.0.113.50";
/// What nodes call the hub.
pub const HUB_NAME: &str = "hub.malha.example";

/// A switch in a namespace of its own.
pub struct Internet {
    namespace: Namespace,
}

impl Internet {
    pub fn new() -> Result<Self> {
        let namespace = Namespace::new("internet")?;
        namespace.ip("link add segment type bridge")?;
        namespace.ip("link set segment up")?;
        Ok(Self { namespace })
    }

    /// Gives a machine an interface with a public address.
    pub fn attach(&self, machine: &Namespace, interface: &str, address: &str) -> Result<()> {
        let last = address.rsplit('.').next().unwrap_or_default();
        let port = format!("port{last}");
        self.namespace.connect(&port, machine, interface)?;
        self.namespace
            .ip(&format!("link set {port} master segment up"))?;
        machine.ip(&format!(
            "address add {address}/{PREFIX_LENGTH} dev {interface}"
        ))?;
        machine.ip(&format!("link set {interface} up"))
    }

    /// Begins to take down every packet that passes.
    pub fn tap(&self) -> Result<Wiretap> {
        Wiretap::start(&self.namespace)
    }
}

pub(super) const PREFIX_LENGTH: u8 = 24;
