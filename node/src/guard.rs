//! The guard: an nftables table that closes the node's ports on every interface but the overlay's and loopback. It stays when
//! the agent stops, so that a restart or a crash opens nothing; `malha-node guard remove` takes it away. It never touches a
//! rule of somebody else, and never a port that the operator excepted.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{Exposure, Netmap, Profile, Protocol};
use malha_tunnel::{Engine, local_addresses, nftables};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::text::{self, Lang};

/// The guard as the operator wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardChoice {
    /// In place where the engine has an interface and nftables works; the status says where not.
    #[default]
    Auto,
    /// Without it no service is opened.
    Required,
    Off,
}

/// What becomes of the guard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "detail")]
pub enum GuardStatus {
    /// No ports are known yet.
    #[default]
    Waiting,
    InPlace {
        /// TCP.
        ports: BTreeSet<u16>,
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        udp: BTreeSet<u16>,
        /// How often somebody took it away since the start.
        restored: u64,
    },
    Off,
    /// The engine has no interface, so the agent has no right to make rules either.
    NoInterface,
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    pub choice: GuardChoice,
    /// Ports that are never closed.
    pub except: BTreeSet<u16>,
}

/// What the guard closes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ports {
    tcp: BTreeSet<u16>,
    udp: BTreeSet<u16>,
}

/// The guard of one agent.
pub(crate) struct Guard {
    config: GuardConfig,
    engine: Engine,
    interface: String,
    watch: Option<nftables::TableWatch>,
    /// What is to be closed is looked up again and again: a target's address may come to this machine after the map did.
    map: Option<Arc<Netmap>>,
    ports: Ports,
    /// Those of the targets' addresses that are this machine's, as of the last look that succeeded.
    here: BTreeSet<IpAddr>,
    /// Why the last look did not; then a target may be open that is not known to be here.
    unseen: Option<io::Error>,
    look: fn(&BTreeSet<IpAddr>) -> io::Result<BTreeSet<IpAddr>>,
    status: GuardStatus,
    /// Guard tables in force that are not this one's.
    left: Vec<String>,
    restored: u64,
    /// A change was heard and not yet answered.
    disturbed: bool,
    /// Not before then; two programs that undo each other's work must not keep the machine busy.
    next_restore: Instant,
}

impl Guard {
    pub(crate) fn new(config: GuardConfig, engine: Engine, interface: &str) -> Self {
        let status = match (config.choice, engine) {
            (GuardChoice::Off, _) => GuardStatus::Off,
            (GuardChoice::Auto, Engine::Netstack) => GuardStatus::NoInterface,
            _ => GuardStatus::Waiting,
        };
        Self {
            config,
            engine,
            interface: interface.into(),
            watch: None,
            map: None,
            ports: Ports::default(),
            here: BTreeSet::new(),
            unseen: None,
            look: local_addresses,
            status,
            left: Vec::new(),
            restored: 0,
            disturbed: false,
            next_restore: Instant::now(),
        }
    }

    pub(crate) fn status(&self) -> &GuardStatus {
        &self.status
    }

    /// Guard tables in force that nobody wants here, as far as this process may ask for them.
    pub(crate) fn left(&self) -> &[String] {
        &self.left
    }

    /// Closes the ports of a map, to be called before its services are opened.
    ///
    /// # Errors
    /// It is required and can't be in place; the services must stay closed.
    pub(crate) async fn close(&mut self, map: &Arc<Netmap>) -> Result<(), String> {
        self.map = Some(map.clone());
        if !self.is_wanted() {
            return Ok(());
        }
        let is_other = self.follow();
        if !is_other && self.unseen.is_none() && self.is_in_place() {
            return Ok(());
        }
        self.apply().await;
        match (&self.status, self.config.choice) {
            (GuardStatus::Failed(why), GuardChoice::Required) => Err(format!("guard: {why}")),
            _ => Ok(()),
        }
    }

    /// Waits until somebody has changed the guard's table and it may be put back. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if !self.disturbed {
            let Some(watch) = &mut self.watch else {
                return pending().await;
            };
            if let Err(error) = watch.changed().await {
                tracing::warn!(%error, "changes of nftables are not heard; the guard is looked at each second");
                self.watch = None;
            }
            self.disturbed = true;
        }
        sleep_until(self.next_restore).await;
    }

    /// Puts it back if it is gone, and looks for what is left of others; to be called each second and after each change.
    pub(crate) async fn check(&mut self) {
        self.look_for_left().await;
        if !self.is_wanted() || Instant::now() < self.next_restore {
            return;
        }
        let was_unseen = self.unseen.is_some();
        let is_other = self.follow();
        if !is_other && !was_unseen && self.ports == Ports::default() {
            return;
        }
        // Who can't ask, for want of a descriptor for instance, has seen no change.
        let is_there = is_in_place(&self.interface).unwrap_or(self.is_in_place());
        match self.is_in_place() {
            true if is_there && !is_other => {}
            true if !is_there => self.restore().await,
            _ => self.apply().await,
        }
    }

    /// Puts it back whatever is left of it: a rule may be gone while the table is there.
    pub(crate) async fn restore(&mut self) {
        tracing::warn!("somebody changed the guard's nftables table; it is set again");
        self.restored += 1;
        self.apply().await;
    }

    /// Looks up what the map closes now; whether that is something else than before. Where it can't be looked up, what was
    /// known stays.
    fn follow(&mut self) -> bool {
        let Some(map) = &self.map else {
            return false;
        };
        match (self.look)(&targets(map)) {
            Ok(here) => (self.here, self.unseen) = (here, None),
            Err(error) => self.unseen = Some(error),
        }
        let wanted = Ports::of(map, &self.config.except, &self.here);
        let before = std::mem::replace(&mut self.ports, wanted);
        before != self.ports
    }

    fn is_in_place(&self) -> bool {
        matches!(self.status, GuardStatus::InPlace { .. })
    }

    fn is_wanted(&self) -> bool {
        match self.config.choice {
            GuardChoice::Off => false,
            GuardChoice::Required => true,
            GuardChoice::Auto => self.engine != Engine::Netstack,
        }
    }

    /// One's own table goes when no guard is wanted any more. That of another interface may be another agent's, so it is
    /// only told of. An agent without an interface has no claim on either.
    async fn look_for_left(&mut self) {
        let wanted = self.is_wanted().then_some(self.interface.as_str());
        self.left = left_behind(wanted).unwrap_or_default();
        let own = table(&self.interface);
        let may_remove = self.config.choice == GuardChoice::Off && self.engine != Engine::Netstack;
        let is_due = Instant::now() >= self.next_restore;
        if !may_remove || !is_due || !self.left.contains(&own) {
            return;
        }
        self.next_restore = Instant::now() + RESTORE_PAUSE;
        let gone = own.clone();
        let removed = spawn_blocking(move || nftables::remove_table(&gone)).await;
        match removed.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => self.left.retain(|table| *table != own),
            Err(error) => tracing::warn!(%error, "the guard is off, but its table stays in force"),
        }
    }

    async fn apply(&mut self) {
        self.disturbed = false;
        self.next_restore = Instant::now() + RESTORE_PAUSE;
        let script = script(&self.interface, &self.ports);
        let applied = spawn_blocking(move || nftables::apply(&script)).await;
        let applied = applied.unwrap_or_else(|error| Err(io::Error::other(error)));
        if self.watch.is_none() {
            self.watch = nftables::TableWatch::new(&table(&self.interface)).ok();
        } else if let Some(watch) = &mut self.watch {
            watch.forget();
        }
        let seen = self.unseen.as_ref().map_or(Ok(()), |error| {
            let what = "can't tell which targets are on this machine";
            Err(io::Error::new(error.kind(), format!("{what}: {error}")))
        });
        self.status = match applied.and(seen) {
            Ok(()) => GuardStatus::InPlace {
                ports: self.ports.tcp.clone(),
                udp: self.ports.udp.clone(),
                restored: self.restored,
            },
            Err(error) => {
                tracing::warn!(%error, "the guard is not in place");
                GuardStatus::Failed(error.to_string())
            }
        };
    }
}

impl GuardStatus {
    pub(crate) fn say(&self, lang: Lang) -> String {
        match self {
            Self::Waiting => text::guard_waiting(lang),
            Self::InPlace {
                ports,
                udp,
                restored,
            } => {
                let tcp = ports.iter().map(u16::to_string);
                let udp = udp.iter().map(|port| format!("{port}/udp"));
                let ports: Vec<_> = tcp.chain(udp).collect();
                let ports = ports.join(", ");
                match restored {
                    _ if ports.is_empty() => text::guard_nothing(lang),
                    0 => text::guard_in_place(lang, ports),
                    times => text::guard_restored(lang, ports, times),
                }
            }
            Self::Off => text::guard_off(lang),
            Self::NoInterface => text::guard_no_interface(lang),
            Self::Failed(why) => text::guard_failed(lang, why),
        }
    }
}

/// Takes the guard away, whoever put it there.
///
/// # Errors
/// nft's complaint.
pub fn remove(interface: &str) -> io::Result<()> {
    nftables::remove_table(&table(interface))
}

/// Whether a guard is in place, whether or not an agent runs.
///
/// # Errors
/// The kernel has no nftables, or this process may not ask.
pub fn is_in_place(interface: &str) -> io::Result<bool> {
    nftables::table_exists(&table(interface))
}

/// The guard tables in force but that of the interface whose guard is wanted.
///
/// # Errors
/// The kernel has no nftables, or this process may not ask.
pub fn left_behind(wanted: Option<&str>) -> io::Result<Vec<String>> {
    let wanted = wanted.map(table);
    let mut tables = nftables::tables()?;
    tables.retain(|name| name.starts_with(TABLE_START) && Some(name) != wanted.as_ref());
    Ok(tables)
}

impl Ports {
    fn of(map: &Netmap, except: &BTreeSet<u16>, here: &BTreeSet<IpAddr>) -> Self {
        let udp = of_profile(map, Protocol::Udp);
        Self {
            tcp: tcp_ports(map, except, here),
            udp: udp.filter(|port| !except.contains(port)).collect(),
        }
    }
}

/// The TCP ports that must be reachable through the overlay only: each service's port, its target where that is on this
/// machine, each balancer's, and those of the node's profile. A public balancer opens its port.
fn tcp_ports(map: &Netmap, except: &BTreeSet<u16>, here: &BTreeSet<IpAddr>) -> BTreeSet<u16> {
    let services = map.services.values();
    let of_services = services.flat_map(|service| {
        let is_here = |ip| is_certainly_here(ip, map) || here.contains(&ip);
        let target = Some(service.target).filter(|target| is_here(target.ip()));
        let target = target.map(|target| target.port());
        [Some(service.port.number()), target].into_iter().flatten()
    });
    let balancers = || map.balancers.values();
    let in_tunnel = balancers().filter(|it| it.exposure == Exposure::Tunnel);
    let public = balancers().filter(|it| it.exposure == Exposure::Public);
    let public: BTreeSet<u16> = public.map(|it| it.port.number()).collect();
    let all = of_services
        .chain(of_profile(map, Protocol::Tcp))
        .chain(in_tunnel.map(|it| it.port.number()));
    all.filter(|port| !except.contains(port) && !public.contains(port))
        .collect()
}

/// What the profile closes. A controller or a saved map from before profiles were data leaves it to the agent.
fn of_profile(map: &Netmap, protocol: Protocol) -> impl Iterator<Item = u16> {
    let before: &[u16] = match map.me.profile {
        _ if map.closed.is_some() || protocol != Protocol::Tcp => &[],
        Profile::SecurityServer | Profile::Balancer => &[5500, 5577],
        Profile::Central => &[4001],
        Profile::Garage | Profile::Edge => &[],
    };
    let closed = map.closed.iter().flatten();
    closed
        .filter(move |it| it.protocol == protocol)
        .map(|it| it.port.number())
        .chain(before.iter().copied())
}

/// The targets' addresses that have to be looked up.
fn targets(map: &Netmap) -> BTreeSet<IpAddr> {
    let all = map.services.values().map(|service| service.target.ip());
    all.filter(|ip| !is_certainly_here(*ip, map)).collect()
}

fn is_certainly_here(target: IpAddr, map: &Netmap) -> bool {
    let own: [IpAddr; 2] = [map.me.addresses.v4.into(), map.me.addresses.v6.into()];
    target.is_loopback() || target.is_unspecified() || own.contains(&target)
}

fn table(interface: &str) -> String {
    format!("{TABLE_START}{interface}")
}

/// After conntrack, so that fragments are whole and answers to this machine's own connections are known; before DNAT, so that a
/// container's published port is judged by the number that the stranger used. Only what goes on to another machine is let by: who
/// listens on all addresses hears broadcast and multicast too. IPv6 multicast is told by its prefix, since not every kernel's
/// lookup is known to call it that.
fn script(interface: &str, ports: &Ports) -> String {
    let table = table(interface);
    let mut script = format!(
        "add table inet {table}\n\
         delete table inet {table}\n\
         add table inet {table}\n\
         add set inet {table} ports {{ type inet_service; }}\n\
         add set inet {table} udp_ports {{ type inet_service; }}\n\
         add chain inet {table} guard {{ type filter hook prerouting priority -150; policy accept; }}\n\
         add rule inet {table} guard iifname {{ \"lo\", \"{interface}\" }} accept\n\
         add rule inet {table} guard meta nfproto ipv4 fib daddr type != {{ local, broadcast, multicast }} accept\n\
         add rule inet {table} guard ip6 daddr != ff00::/8 fib daddr type != {{ local, anycast }} accept\n\
         add rule inet {table} guard tcp dport @ports ct direction original counter drop\n\
         add rule inet {table} guard tcp dport @ports tcp flags & (syn|ack) == syn counter drop\n\
         add rule inet {table} guard udp dport @udp_ports ct direction original counter drop\n"
    );
    for (set, ports) in [("ports", &ports.tcp), ("udp_ports", &ports.udp)] {
        for port in ports {
            script += &format!("add element inet {table} {set} {{ {port} }}\n");
        }
    }
    script
}

const RESTORE_PAUSE: Duration = Duration::from_millis(500);
const TABLE_START: &str = "malha_guard_";

#[cfg(test)]
mod tests;
