//! The ways in which a machine reaches the internet, and which of them can meet. It knows nothing of how Malha finds its paths:
//! what should be possible is said here from the theory of NAT alone.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::internet::{HUB, HUB_NAME, HUB_V6, Internet};
use super::machine::Machine;
use super::namespace::Namespace;
use super::process::Process;
use super::router::{GATEWAY, Mapping, Router, SECOND_MACHINE, behind_nat64};

/// What stands between a machine and the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// One router of its own.
    Home(Mapping),
    /// A router of its own, and a carrier that translates a second time, as RFC 6888 wants it: one port for all destinations.
    Carrier(Mapping),
    /// The carrier's network itself, as behind a mobile modem.
    Mobile,
    /// A router of its own that lets no UDP through.
    UdpBlocked,
    /// No way out but an HTTP proxy that wants a password.
    ProxyOnly,
    /// A public IPv6 address behind a stateful firewall, and no IPv4.
    Ipv6Only,
    /// IPv6 alone behind a router that translates to IPv4 (RFC 6146) and leads nowhere else. Not one of [`ALL`](Self::ALL), whose
    /// hub says that it is to be found by IPv6.
    Nat64,
}

/// A machine and what stands between it and the internet.
pub struct Connected {
    pub machine: Machine,
    /// The innermost first.
    pub routers: Vec<Router>,
    access: Access,
    number: u8,
    outer_address: String,
    /// A proxy, or a translator.
    _program: Option<Process>,
}

impl Access {
    pub const ALL: [Self; 12] = [
        Self::Home(Mapping::Preserving),
        Self::Home(Mapping::Restricted),
        Self::Home(Mapping::PerAddress),
        Self::Home(Mapping::Symmetric),
        Self::Carrier(Mapping::Preserving),
        Self::Carrier(Mapping::Restricted),
        Self::Carrier(Mapping::PerAddress),
        Self::Carrier(Mapping::Symmetric),
        Self::Mobile,
        Self::UdpBlocked,
        Self::ProxyOnly,
        Self::Ipv6Only,
    ];

    /// Whether datagrams get out at all, and thereby to the hub.
    #[must_use]
    pub fn passes_udp(self) -> bool {
        !matches!(self, Self::UdpBlocked | Self::ProxyOnly)
    }

    /// Whether datagrams of two such machines can meet without help. Every router here lets in only answers, so each side must
    /// know in advance from which port the other's datagrams will come: it learns that from the hub, and that holds for itself
    /// only where the port is the same for every destination.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        let foreseeable = |access| {
            !matches!(
                access,
                Self::Home(Mapping::PerAddress | Mapping::Symmetric)
                    | Self::Carrier(Mapping::PerAddress | Mapping::Symmetric)
                    | Self::Nat64
            )
        };
        let same_family = (self == Self::Ipv6Only) == (other == Self::Ipv6Only);
        same_family
            && [self, other]
                .into_iter()
                .all(|access| access.passes_udp() && foreseeable(access))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapping = |mapping| match mapping {
            Mapping::Preserving => "preserving",
            Mapping::Restricted => "restricted",
            Mapping::PerAddress => "per-address",
            Mapping::Symmetric => "symmetric",
        };
        match self {
            Self::Home(kind) => f.pad(mapping(*kind)),
            Self::Carrier(kind) => f.pad(&format!("cgn+{}", mapping(*kind))),
            Self::Mobile => f.pad("cgn"),
            Self::UdpBlocked => f.pad("udp-blocked"),
            Self::ProxyOnly => f.pad("proxy-only"),
            Self::Ipv6Only => f.pad("ipv6-only"),
            Self::Nat64 => f.pad("nat64"),
        }
    }
}

impl Connected {
    pub(super) fn new(
        internet: &Internet,
        folder: &Path,
        access: Access,
        number: u8,
    ) -> Result<Self> {
        let mut machine = Machine::new(folder, &format!("site{number}"))?;
        let address = outer_address(number);
        let box_of = |role: &str, mapping| {
            Router::new(internet, &format!("{role}{number}"), &address, mapping)
        };
        let (mut routers, mut program) = (Vec::new(), None);
        match access {
            Access::Home(mapping) => routers.push(box_of("nat", mapping)?),
            Access::UdpBlocked => {
                routers.push(box_of("nat", Mapping::Preserving)?);
                routers[0].block_udp()?;
            }
            Access::Carrier(mapping) => {
                let carrier = box_of("carrier", Mapping::Restricted)?;
                routers.push(Router::inside(&carrier, &format!("nat{number}"), mapping)?);
                routers.push(carrier);
            }
            Access::Mobile => {
                let carrier = box_of("carrier", Mapping::Restricted)?;
                carrier.serve_as_carrier(&machine.namespace)?;
                routers.push(carrier);
            }
            Access::ProxyOnly => {
                let router = box_of("proxy", Mapping::Preserving)?;
                router.block_all()?;
                router.serve(&machine.namespace)?;
                program = Some(start_proxy(&router.namespace, folder, number)?);
                machine.set_environment(
                    "HTTPS_PROXY",
                    &format!("http://malha:segredo@{GATEWAY}:3128"),
                );
                routers.push(router);
            }
            Access::Ipv6Only => {
                let namespace = &machine.namespace;
                internet.attach_v6(namespace, "wan", &format!("2001:db8::{}", 100 + number))?;
                namespace.nft(FIREWALL)?;
                namespace.set_etc(
                    "hosts",
                    &format!("127.0.0.1 localhost\n{HUB_V6} {HUB_NAME}\n"),
                )?;
            }
            Access::Nat64 => {
                let router = box_of("nat64", Mapping::Preserving)?;
                program = Some(router.serve_by_nat64(&machine.namespace, folder)?);
                // What a resolver with DNS64 would say.
                machine.namespace.set_etc(
                    "hosts",
                    &format!("127.0.0.1 localhost\n{} {HUB_NAME}\n", behind_nat64(HUB)?),
                )?;
                routers.push(router);
            }
        }
        if matches!(
            access,
            Access::Home(_) | Access::Carrier(_) | Access::UdpBlocked
        ) {
            routers[0].serve(&machine.namespace)?;
        }
        Ok(Self {
            machine,
            routers,
            access,
            number,
            outer_address: address,
            _program: program,
        })
    }

    /// Another machine of the same site, behind the router of this one, which keeps it.
    pub(super) fn beside(&self, folder: &Path, number: u8) -> Result<Self> {
        let machine = Machine::new(folder, &format!("site{number}"))?;
        let router = self.routers.first().context("no router")?;
        router.serve_beside(&machine.namespace)?;
        Ok(Self {
            machine,
            routers: Vec::new(),
            access: self.access,
            number,
            outer_address: self.outer_address.clone(),
            _program: None,
        })
    }

    /// In the network of a machine that stands [beside](super::Lab::connected_beside) another.
    pub const LAN_ADDRESS_BESIDE: &str = SECOND_MACHINE;

    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// The label under which it enrols.
    #[must_use]
    pub fn name(&self) -> String {
        format!("maquina-{}", self.number)
    }

    /// The outermost address.
    #[must_use]
    pub fn outer_address(&self) -> &str {
        &self.outer_address
    }
}

fn start_proxy(namespace: &Namespace, folder: &Path, number: u8) -> Result<Process> {
    namespace.set_etc("hosts", &format!("127.0.0.1 localhost\n{HUB} {HUB_NAME}\n"))?;
    let file = folder.join(format!("proxy{number}.conf"));
    fs::write(&file, PROXY)?;
    let mut command = namespace.command("tinyproxy");
    command.arg("-d").arg("-c").arg(&file);
    let log = folder.join(format!("proxy{number}.log"));
    Process::start("the proxy", &mut command, &log)
}

fn outer_address(number: u8) -> String {
    format!("203.0.113.{}", 100 + number)
}

/// As a home router does for IPv6: out with everything, in with answers only.
const FIREWALL: &str = "
table inet site {
    chain arriving {
        type filter hook input priority filter;
        iifname \"wan\" meta l4proto != ipv6-icmp ct state new drop
    }
}";
const PROXY: &str = "\
Port 3128
Timeout 600
MaxClients 50
LogLevel Info
BasicAuth malha segredo
ConnectPort 443
";
