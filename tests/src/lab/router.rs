//! A site's router: masquerades its private network, forwards what was begun inside, and can be moved, blocked and unplugged.

use anyhow::Result;

use super::internet::{Internet, PREFIX_LENGTH};
use super::namespace::Namespace;

/// One NAT box with one public address.
pub struct Router {
    pub namespace: Namespace,
}

impl Router {
    pub(super) fn new(internet: &Internet, role: &str, address: &str) -> Result<Self> {
        let namespace = Namespace::new(role)?;
        internet.attach(&namespace, "wan", address)?;
        // Each namespace has its own switch, which is off.
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        super::process::checked(namespace.command("sh").args(["-c", forward]))?;
        namespace.nft(RULES)?;
        Ok(Self { namespace })
    }

    /// Connects a machine to the private network.
    pub(super) fn serve(&self, machine: &Namespace) -> Result<()> {
        self.namespace.connect("lan", machine, "lan")?;
        self.namespace
            .ip(&format!("address add {GATEWAY}/24 dev lan"))?;
        self.namespace.ip("link set lan up")?;
        machine.ip(&format!("address add {MACHINE}/24 dev lan"))?;
        machine.ip("link set lan up")?;
        machine.ip(&format!("route add default via {GATEWAY}"))
    }

    /// The provider gives another public address; what was translated to the former one is forgotten.
    pub fn move_to(&self, address: &str) -> Result<()> {
        self.namespace.ip("address flush dev wan")?;
        self.namespace
            .ip(&format!("address add {address}/{PREFIX_LENGTH} dev wan"))
    }

    /// Lets no UDP through.
    pub fn block_udp(&self) -> Result<()> {
        self.namespace
            .nft("add rule inet site blocked meta l4proto udp drop")
    }

    /// Swallows everything, without a word to anybody.
    pub fn block_all(&self) -> Result<()> {
        self.namespace.nft("add rule inet site blocked drop")
    }

    pub fn unblock(&self) -> Result<()> {
        self.namespace.nft("flush chain inet site blocked")
    }

    /// Pulls the cable of the private network.
    pub fn unplug(&self) -> Result<()> {
        self.namespace.ip("link set lan down")
    }

    pub fn plug(&self) -> Result<()> {
        self.namespace.ip("link set lan up")
    }
}

const RULES: &str = "
table inet site {
    chain translated { type nat hook postrouting priority srcnat; oifname \"wan\" masquerade fully-random; }
    chain blocked { type filter hook forward priority filter - 1; }
    chain passing {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname \"lan\" accept
    }
}";

/// Every site has the same private network: they overlap.
const GATEWAY: &str = "192.168.1.1";
pub(super) const MACHINE: &str = "192.168.1.10";
