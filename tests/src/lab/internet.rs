//! The underlay between the machines: one segment of public addresses, on which somebody may listen. It filters nothing.

use anyhow::Result;

use super::namespace::Namespace;
use super::wiretap::Wiretap;

/// Public addresses (RFC 5737), each with the segment's prefix length.
pub const HUB: &str = "203.0.113.2";
pub const AGENCY: &str = "203.0.113.30";
pub const CLIENT: &str = "203.0.113.50";
/// The hub in the newer family (RFC 3849).
pub const HUB_V6: &str = "2001:db8::2";
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
        self.plug(machine, interface, &format!("port{last}"))?;
        machine.ip(&format!(
            "address add {address}/{PREFIX_LENGTH} dev {interface}"
        ))
    }

    /// Gives a machine an interface with an IPv6 address and no other.
    pub fn attach_v6(&self, machine: &Namespace, interface: &str, address: &str) -> Result<()> {
        let last = address.rsplit(':').next().unwrap_or_default();
        self.plug(machine, interface, &format!("six{last}"))?;
        Self::add_v6(machine, interface, address)
    }

    /// One more address. Nobody else has it, so nobody is asked before it is used.
    pub(super) fn add_v6(machine: &Namespace, interface: &str, address: &str) -> Result<()> {
        machine.ip(&format!("address add {address}/64 dev {interface} nodad"))
    }

    fn plug(&self, machine: &Namespace, interface: &str, port: &str) -> Result<()> {
        self.namespace.connect(port, machine, interface)?;
        self.namespace
            .ip(&format!("link set {port} master segment up"))?;
        machine.ip(&format!("link set {interface} up"))
    }

    /// Begins to take down every packet that passes.
    pub fn tap(&self) -> Result<Wiretap> {
        Wiretap::start(&self.namespace)
    }
}

pub(super) const PREFIX_LENGTH: u8 = 24;
