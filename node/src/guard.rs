//! The guard: an nftables table that closes the node's ports on every interface but the overlay's and loopback. It stays when
//! the agent stops, so that a restart or a crash opens nothing; `malha-node guard remove` takes it away. It never touches a
//! rule of somebody else, and never a port that the operator excepted.

mod ports;
mod restore;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::Netmap;
use malha_tunnel::nftables::{self, Content, Heard};
use malha_tunnel::{Engine, local_addresses};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::text::{self, Lang};
use ports::{Ports, is_certainly_here, service_ports, targets};

pub use restore::restore;

/// The guard as the operator wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardChoice {
    /// In place where the engine has an interface. Where nftables does not work, services are opened all the same, and the node
    /// is degraded as long as something is open that the guard should close.
    #[default]
    Auto,
    /// In place with any engine; without it no service is opened.
    Required,
    /// What is open is meant to be.
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
        /// Why it is not known to close all that it should; that is tried again each second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    Off,
    /// It is off, and why its table could not be taken away.
    StillInForce(String),
    /// The engine has no interface, so the agent has no right to make rules either.
    NoInterface,
    /// It can't be set, but nothing is to be closed.
    Idle(String),
    /// It can't be set, so what is to be closed is open.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    pub choice: GuardChoice,
    /// Ports that are never closed.
    pub except: BTreeSet<u16>,
}

/// A map as far as its guard lets it be offered.
pub(crate) struct Guarded {
    pub(crate) map: Arc<Netmap>,
    /// The services and balancers that it lacks therefore, each with the reason.
    pub(crate) withheld: Vec<(String, String)>,
}

impl Guarded {
    /// What a node offers that is held apart, though its guard closes the ports of what it would.
    pub(crate) fn nothing(map: &Netmap) -> Self {
        let mut map = map.clone();
        map.services.clear();
        map.balancers.clear();
        Self {
            map: Arc::new(map),
            withheld: vec![],
        }
    }
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
    /// What the table closes, as long as nobody changes it.
    in_force: Option<Ports>,
    /// Why that is not what is to be closed.
    refused: Option<String>,
    /// The targets' addresses, as of the last look that succeeded: which were looked up, and which of them are this machine's.
    seen: BTreeSet<IpAddr>,
    here: BTreeSet<IpAddr>,
    /// Why the last look did not; then a target may be open that no look has seen.
    unseen: Option<String>,
    look: fn(&BTreeSet<IpAddr>) -> io::Result<BTreeSet<IpAddr>>,
    /// Guard tables in force that are not this one's.
    left: Vec<String>,
    /// Why one's own could not be taken away.
    stuck: Option<String>,
    restored: u64,
    /// What was heard and not yet answered.
    disturbed: Option<Heard>,
    /// Not before then; two programs that undo each other's work must not keep the machine busy.
    next_restore: Instant,
}

impl Guard {
    pub(crate) fn new(config: GuardConfig, engine: Engine, interface: &str) -> Self {
        Self {
            config,
            engine,
            interface: interface.into(),
            watch: None,
            map: None,
            ports: Ports::default(),
            in_force: None,
            refused: None,
            seen: BTreeSet::new(),
            here: BTreeSet::new(),
            unseen: None,
            look: local_addresses,
            left: Vec::new(),
            stuck: None,
            restored: 0,
            disturbed: None,
            next_restore: Instant::now(),
        }
    }

    pub(crate) fn status(&self) -> GuardStatus {
        match (&self.in_force, &self.refused) {
            _ if self.config.choice == GuardChoice::Off => match &self.stuck {
                None => GuardStatus::Off,
                Some(why) => GuardStatus::StillInForce(why.clone()),
            },
            _ if !self.is_wanted() => GuardStatus::NoInterface,
            (Some(ports), _) => GuardStatus::InPlace {
                ports: ports.tcp.clone(),
                udp: ports.udp.clone(),
                restored: self.restored,
                trouble: self.refused.clone().or_else(|| self.blindness()),
            },
            (None, Some(why)) if self.ports == Ports::default() => GuardStatus::Idle(why.clone()),
            (None, Some(why)) => GuardStatus::Failed(why.clone()),
            (None, None) => GuardStatus::Waiting,
        }
    }

    /// Guard tables in force that nobody wants here, as far as this process may ask for them.
    pub(crate) fn left(&self) -> &[String] {
        &self.left
    }

    /// Closes the ports of a map, to be called before its services are opened. Where the guard is required, what it does not
    /// cover yet must stay closed.
    pub(crate) async fn close(&mut self, map: &Arc<Netmap>) -> Guarded {
        self.map = Some(map.clone());
        if self.is_wanted() {
            self.follow();
            if !self.is_right() {
                self.apply().await;
            }
        }
        match self.config.choice {
            GuardChoice::Required => self.covered(map),
            GuardChoice::Auto | GuardChoice::Off => Guarded {
                map: map.clone(),
                withheld: vec![],
            },
        }
    }

    /// Waits until somebody has changed the guard's table, or may have, and it may be put back. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if self.disturbed.is_none() {
            let Some(watch) = &mut self.watch else {
                return pending().await;
            };
            let heard = watch.changed().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "changes of nftables are not heard; the guard is looked at each second");
                self.watch = None;
                Heard::Change
            });
            self.disturbed = Some(heard);
        }
        sleep_until(self.next_restore).await;
    }

    /// Puts it back if somebody has changed it; to be called after [`Self::changed`].
    pub(crate) async fn answer(&mut self) {
        if self.disturbed == Some(Heard::TooMuch)
            && let Some(ports) = &self.in_force
        {
            let script = script(&self.interface, ports);
            self.next_restore = Instant::now() + RESTORE_PAUSE;
            match self.is_made_by(script).await {
                Ok(true) => return self.disturbed = None,
                Ok(false) => {}
                // Who can't read it has seen no change, unless it is gone; it is read again after the pause.
                Err(_) if is_in_place(&self.interface).unwrap_or(true) => return,
                Err(_) => {}
            }
        }
        self.restore().await;
    }

    /// Whether the table is what this script makes of it.
    async fn is_made_by(&mut self, script: String) -> io::Result<bool> {
        let table = table(&self.interface);
        let name = table.clone();
        let wanted = blocking(move || Content::by(&script, &name)).await?;
        // What is heard from now on is younger than what is read.
        if let Some(watch) = &mut self.watch {
            watch.forget();
        }
        let found = blocking(move || Content::of(&table)).await?;
        Ok(wanted == found)
    }

    /// Puts it back if it is gone, and looks for what is left of others; to be called each second and after each change.
    pub(crate) async fn check(&mut self) {
        self.look_for_left().await;
        if !self.is_wanted() || Instant::now() < self.next_restore {
            return;
        }
        self.follow();
        let nothing = Ports::default();
        if self.ports == nothing && self.in_force.as_ref().is_none_or(|it| *it == nothing) {
            return;
        }
        // Who can't ask, for want of a descriptor for instance, has seen no change.
        let is_there = is_in_place(&self.interface).unwrap_or(true);
        match self.in_force {
            Some(_) if !is_there => self.restore().await,
            _ if self.is_right() => {}
            _ => self.apply().await,
        }
    }

    /// Puts it back whatever is left of it: a rule may be gone while the table is there.
    async fn restore(&mut self) {
        tracing::warn!("somebody changed the guard's nftables table; it is set again");
        self.restored += 1;
        self.disturbed = None;
        self.in_force = None;
        self.apply().await;
    }

    /// Looks up what the map closes now. Where it can't be looked up, what was known stays.
    fn follow(&mut self) {
        let Some(map) = &self.map else {
            return;
        };
        let targets = targets(map);
        match (self.look)(&targets) {
            Ok(here) => (self.seen, self.here, self.unseen) = (targets, here, None),
            Err(error) => self.unseen = Some(error.to_string()),
        }
        self.ports = Ports::of(map, &self.config.except, &self.here);
        if self.in_force.as_ref() == Some(&self.ports) {
            // What was refused is not wanted any more.
            self.refused = None;
        }
    }

    fn is_right(&self) -> bool {
        self.refused.is_none() && self.in_force.as_ref() == Some(&self.ports)
    }

    /// What of a map is covered.
    fn covered(&self, map: &Arc<Netmap>) -> Guarded {
        let mut covered = Netmap::clone(map);
        let mut withheld = Vec::new();
        let mut is_covered = |name: String, objection: Option<String>| {
            let is_covered = objection.is_none();
            withheld.extend(objection.map(|why| (name, format!("guard: {why}"))));
            is_covered
        };
        covered.services.retain(|id, service| {
            let ports = service_ports(service, map, &self.here);
            let target = service.target.ip();
            let objection = (self.open_one(ports)).or_else(|| self.unknown(target, map));
            is_covered(id.to_string(), objection)
        });
        covered
            .balancers
            .retain(|id, it| is_covered(id.to_string(), self.open_one([it.port.number()])));
        Guarded {
            map: Arc::new(covered),
            withheld,
        }
    }

    /// Why one of these ports is not closed that should be. Without a table none is.
    fn open_one(&self, ports: impl IntoIterator<Item = u16>) -> Option<String> {
        let why = self.refused.clone()?;
        let Some(in_force) = &self.in_force else {
            return Some(why);
        };
        let is_open = |port| self.ports.tcp.contains(&port) && !in_force.tcp.contains(&port);
        ports.into_iter().any(is_open).then_some(why)
    }

    /// Why nobody knows of a target whether it is here.
    fn unknown(&self, target: IpAddr, map: &Netmap) -> Option<String> {
        let is_known = is_certainly_here(target, map) || self.seen.contains(&target);
        self.blindness().filter(|_| !is_known)
    }

    fn blindness(&self) -> Option<String> {
        let why = self.unseen.as_ref()?;
        Some(format!(
            "can't tell which targets are on this machine: {why}"
        ))
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
        if !may_remove || !self.left.contains(&own) {
            return self.stuck = None;
        }
        if Instant::now() < self.next_restore {
            return;
        }
        self.next_restore = Instant::now() + RESTORE_PAUSE;
        let gone = own.clone();
        match blocking(move || nftables::remove_table(&gone)).await {
            Ok(()) => self.left.retain(|table| *table != own),
            Err(error) => {
                tracing::warn!(%error, "the guard is off, but its table stays in force");
                self.stuck = Some(error.to_string());
            }
        }
    }

    /// Sets what is to be closed. A refusal leaves the table as it was.
    async fn apply(&mut self) {
        self.next_restore = Instant::now() + RESTORE_PAUSE;
        let script = script(&self.interface, &self.ports);
        if let Err(error) = blocking(move || nftables::apply(&script)).await {
            tracing::warn!(%error, "the guard can't be set");
            self.refused = Some(error.to_string());
            return;
        }
        self.refused = None;
        self.in_force = Some(self.ports.clone());
        self.disturbed = None;
        if let Some(watch) = &mut self.watch {
            watch.forget();
        } else {
            self.watch = nftables::TableWatch::new(&table(&self.interface)).ok();
        }
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
                trouble,
            } => {
                let tcp = ports.iter().map(u16::to_string);
                let udp = udp.iter().map(|port| format!("{port}/udp"));
                let ports: Vec<_> = tcp.chain(udp).collect();
                let ports = ports.join(", ");
                let state = match restored {
                    _ if ports.is_empty() => text::guard_nothing(lang),
                    0 => text::guard_in_place(lang, ports),
                    times => text::guard_restored(lang, ports, times),
                };
                match trouble {
                    None => state,
                    Some(why) => text::guard_in_trouble(lang, state, why),
                }
            }
            Self::Off => text::guard_off(lang),
            Self::StillInForce(why) => text::guard_still_in_force(lang, why),
            Self::NoInterface => text::guard_no_interface(lang),
            Self::Idle(why) => text::guard_idle(lang, why),
            Self::Failed(why) => text::guard_failed(lang, why),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
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

fn table(interface: &str) -> String {
    format!("{TABLE_START}{interface}")
}

/// After conntrack, so that fragments are whole and answers to this machine's own connections are known; before DNAT, so that a
/// container's published port is judged by the number that the stranger used. Only what goes on to another machine is let by: who
/// listens on all addresses hears broadcast and multicast too. IPv6 multicast is told by its prefix, since not every kernel's
/// lookup is known to call it that. What conntrack was told not to track has no direction: of TCP only a SYN can begin something,
/// of UDP every datagram.
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
         add rule inet {table} guard udp dport @udp_ports ct direction reply accept\n\
         add rule inet {table} guard udp dport @udp_ports counter drop\n"
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
