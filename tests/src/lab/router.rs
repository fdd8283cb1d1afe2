//! A site's router: masquerades its private network, forwards what was begun inside, and can be moved, blocked and unplugged.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result};

use super::internet::{Internet, PREFIX_LENGTH};
use super::namespace::Namespace;
use super::patience::{PATIENCE, eventually};
use super::process::{Process, checked};

/// How a router chooses the outer port of a UDP flow (RFC 4787 §4.1). All of them let in only what answers, from the very
/// address and port that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The inner port, for every destination the same.
    Preserving,
    /// Another port, for every destination the same.
    Restricted,
    /// One port for each address asked.
    PerAddress,
    /// One port for each flow, and none that can be guessed.
    Symmetric,
}

/// One NAT box with one outer address.
pub struct Router {
    pub namespace: Namespace,
}

impl Router {
    /// A box on the internet.
    pub(super) fn new(
        internet: &Internet,
        role: &str,
        address: &str,
        mapping: Mapping,
    ) -> Result<Self> {
        let namespace = Namespace::new(role)?;
        internet.attach(&namespace, "wan", address)?;
        Self::set_up(namespace, mapping)
    }

    /// A box that has no public address: the network of a carrier that translates once more lies between.
    pub(super) fn inside(carrier: &Self, role: &str, mapping: Mapping) -> Result<Self> {
        let namespace = Namespace::new(role)?;
        carrier.connect("lan", &namespace, "wan", CARRIER_GATEWAY, CARRIER_CUSTOMER)?;
        Self::set_up(namespace, mapping)
    }

    fn set_up(namespace: Namespace, mapping: Mapping) -> Result<Self> {
        // Each namespace has its own switch, which is off.
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        checked(namespace.command("sh").args(["-c", forward]))?;
        namespace.nft(RULES)?;
        for rule in mapping.rules() {
            namespace.nft(&format!("add rule inet site translated oifname wan {rule}"))?;
        }
        Ok(Self { namespace })
    }

    /// Connects a machine to the private network.
    pub(super) fn serve(&self, machine: &Namespace) -> Result<()> {
        self.connect("lan", machine, "lan", GATEWAY, MACHINE)
    }

    /// Connects another machine to a network of its own, as a site with several has it; there is no NAT between them.
    pub(super) fn serve_beside(&self, machine: &Namespace) -> Result<()> {
        self.connect("lan2", machine, "lan", SECOND_GATEWAY, SECOND_MACHINE)
    }

    /// Connects a machine that is a customer of the carrier itself, as behind a mobile modem.
    pub(super) fn serve_as_carrier(&self, machine: &Namespace) -> Result<()> {
        self.connect("lan", machine, "lan", CARRIER_GATEWAY, CARRIER_CUSTOMER)
    }

    /// Connects a machine to a private network of IPv6 alone; the program that it gives translates to IPv4 what goes to
    /// [addresses of its prefix](behind_nat64).
    pub(super) fn serve_by_nat64(&self, machine: &Namespace, folder: &Path) -> Result<Process> {
        let router = &self.namespace;
        let forward = "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        checked(router.command("sh").args(["-c", forward]))?;
        router.connect("lan", machine, "lan")?;
        for (namespace, address) in [(router, V6_GATEWAY), (machine, V6_MACHINE)] {
            namespace.ip(&format!("address add {address}/64 dev lan nodad"))?;
            namespace.ip("link set lan up")?;
        }
        machine.ip(&format!("route add default via {V6_GATEWAY}"))?;
        let name = router.name();
        let config = folder.join(format!("{name}.conf"));
        fs::write(&config, TAYGA)?;
        let mut command = router.command("tayga");
        command.arg("-d").arg("--config").arg(&config);
        command
            .arg("--pidfile")
            .arg(folder.join(format!("{name}.pid")));
        let log = folder.join(format!("{name}.log"));
        let mut translator = Process::start("the NAT64", &mut command, &log)?;
        eventually("the NAT64 is there", PATIENCE, || {
            translator.check_runs()?;
            router.ip("link set lan-v4 up")
        })?;
        router.ip("route add 192.168.64.0/24 dev lan-v4")?;
        router.ip(&format!("route add {NAT64}/96 dev lan-v4"))?;
        Ok(translator)
    }

    fn connect(
        &self,
        port: &str,
        inner: &Namespace,
        interface: &str,
        own: &str,
        theirs: &str,
    ) -> Result<()> {
        self.namespace.connect(port, inner, interface)?;
        self.namespace
            .ip(&format!("address add {own}/24 dev {port}"))?;
        self.namespace.ip(&format!("link set {port} up"))?;
        inner.ip(&format!("address add {theirs}/24 dev {interface}"))?;
        inner.ip(&format!("link set {interface} up"))?;
        inner.ip(&format!("route add default via {own}"))
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

    /// Lets no datagram through to or from an address.
    pub fn block_udp_with(&self, address: &str) -> Result<()> {
        let rule = |field| {
            format!("add rule inet site blocked ip {field} {address} meta l4proto udp drop")
        };
        self.namespace.nft(&rule("daddr"))?;
        self.namespace.nft(&rule("saddr"))
    }

    /// Lets nothing through to the port of the control channel.
    pub fn block_control(&self) -> Result<()> {
        self.namespace
            .nft("add rule inet site blocked meta l4proto { tcp, udp } th dport 443 drop")
    }

    /// Lets nothing out to this port of `udp` or `tcp`.
    pub fn block_port(&self, protocol: &str, port: u16) -> Result<()> {
        self.namespace.nft(&format!(
            "add rule inet site blocked iifname \"lan\" {protocol} dport {port} drop"
        ))
    }

    /// Lets nothing out but what goes to this port of `udp` or `tcp`.
    pub fn let_out_only(&self, protocol: &str, port: u16) -> Result<()> {
        for rule in [&format!("{protocol} dport {port} accept"), "drop"] {
            let rule = format!("add rule inet site blocked iifname \"lan\" {rule}");
            self.namespace.nft(&rule)?;
        }
        Ok(())
    }

    /// Lets no WireGuard out, whatever its port: its first byte is never so large as QUIC's.
    pub fn block_wireguard(&self) -> Result<()> {
        self.namespace
            .nft("add rule inet site blocked iifname \"lan\" meta l4proto udp @th,64,8 < 64 drop")
    }

    /// Loses one UDP packet in a hundred on the way out, at random.
    pub fn lose_one_percent(&self) -> Result<()> {
        self.namespace.nft(
            "add rule inet site lossy iifname \"lan\" meta l4proto udp numgen random mod 100 0 drop",
        )
    }

    /// Bytes that went out over QUIC so far.
    pub fn quic_bytes(&self) -> Result<u64> {
        let list = ["list", "counter", "inet", "site", "quic"];
        let text = checked(self.namespace.command("nft").args(list))?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "bytes");
        let bytes = words.nth(1);
        Ok(bytes.context("nft shows no bytes")?.parse()?)
    }

    /// Swallows every TCP connection that there is, without a word to anybody; new ones pass. So does a box that was restarted.
    pub fn forget_connections(&self) -> Result<()> {
        for rule in ["ct state new ct mark set 1", "ct mark != 1 drop"] {
            let rule = format!("add rule inet site blocked meta l4proto tcp {rule}");
            self.namespace.nft(&rule)?;
        }
        Ok(())
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

/// Under which address machines behind a NAT64 find one that has IPv4 only.
pub(super) fn behind_nat64(address: &str) -> Result<Ipv6Addr> {
    let prefix: Ipv6Addr = NAT64.parse()?;
    let address: Ipv4Addr = address.parse()?;
    Ok((u128::from(prefix) | u128::from(u32::from(address))).into())
}

impl Mapping {
    fn rules(self) -> &'static [&'static str] {
        match self {
            Self::Preserving => &["masquerade"],
            Self::Restricted => &[
                "meta l4proto udp masquerade to :jhash udp sport mod 20000 offset 20000",
                "masquerade",
            ],
            Self::PerAddress => &[
                "meta l4proto udp masquerade to :jhash udp sport . ip daddr mod 20000 offset 20000",
                "masquerade",
            ],
            Self::Symmetric => &["masquerade fully-random"],
        }
    }
}

/// What comes unasked must vanish before connection tracking remembers it: otherwise it would take the place of the flow that the
/// inner side begins a moment later, and that flow would get another port.
const RULES: &str = "
table inet site {
    chain translated { type nat hook postrouting priority srcnat; }
    counter quic {}
    chain lossy { type filter hook forward priority filter - 2; iifname \"lan\" udp dport 443 @th,64,8 >= 64 counter name quic; }
    chain blocked { type filter hook forward priority filter - 1; }
    chain passing {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname \"lan*\" accept
    }
    chain arriving {
        type filter hook input priority filter;
        iifname \"wan\" meta l4proto udp ct state new drop
    }
}";

/// Every site has the same private network: they overlap.
pub(super) const GATEWAY: &str = "192.168.1.1";
pub(super) const MACHINE: &str = "192.168.1.10";
const SECOND_GATEWAY: &str = "192.168.2.1";
pub(super) const SECOND_MACHINE: &str = "192.168.2.10";
/// Shared address space (RFC 6598), from which the overlay takes its addresses too, the lowest first.
const CARRIER_GATEWAY: &str = "100.72.0.1";
const CARRIER_CUSTOMER: &str = "100.72.0.10";
const V6_GATEWAY: &str = "fd00:64::1";
const V6_MACHINE: &str = "fd00:64::10";
/// A prefix of the network's own: behind the well-known one no addresses of documentation are translated.
const NAT64: &str = "2001:db8:64::";
/// Its interface is one of the private network's, so what comes from there may go out.
const TAYGA: &str = "\
tun-device lan-v4
ipv4-addr 192.168.64.1
prefix 2001:db8:64::/96
dynamic-pool 192.168.64.0/24
";
