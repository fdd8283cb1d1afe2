//! Names inside the overlay: answers for the overlay zone and for the names that organizations declared, from the last map and to
//! programs on this machine alone. It asks nobody else, and knows no name that the map does not show.

mod ask;
mod doors;
#[doc(hidden)]
pub mod fuzz;
mod status;
mod system;
mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use malha_proto::{HostName, NameSeen, Netmap, Profile};
use malha_tunnel::{Engine, Tunnel};
use malha_zone::Zones;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::streams::Overlay;
use doors::Doors;
use system::Wish;
use table::{Content, Table};

pub(crate) use ask::{ask_agent, ask_system};
pub use status::{Closed, ClosedWhy, NamesStatus, SystemStatus};
pub use system::Program;

/// Which names this machine's programs are to ask the agent for. The agent answers the same in every case but the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamesChoice {
    /// As [`Self::Declared`] on security servers, central servers and balancers, which find each other by the names that
    /// organizations declare; else as [`Self::Overlay`].
    #[default]
    Auto,
    /// Those below the overlay zone.
    Overlay,
    /// Also those that the organizations of its peers declared, where it may open something.
    Declared,
    /// Nothing is answered.
    Off,
}

impl NamesChoice {
    /// Whether programs on a machine of this profile are led to declared names.
    fn leads_to_declared(self, profile: Profile) -> bool {
        match self {
            Self::Declared => true,
            Self::Overlay | Self::Off => false,
            Self::Auto => matches!(
                profile,
                Profile::SecurityServer | Profile::Balancer | Profile::Central
            ),
        }
    }
}

/// What stays the same for the life of the process.
#[derive(Clone, Debug)]
pub struct NamesConfig {
    pub choice: NamesChoice,
    pub engine: Engine,
    pub interface: String,
}

/// What the answers are made from.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub map: Option<Arc<Netmap>>,
    /// `host:port`. Nobody's declaration leads to them, for without them no other map comes.
    pub controllers: Vec<String>,
}

/// What is answered now, and where.
#[derive(Clone, Debug, Default)]
pub struct NamesView {
    pub status: NamesStatus,
    table: Option<Arc<Table>>,
}

impl NamesView {
    /// What each of these names leads to on this machine: by the agent's answer, and for names that it knows also as programs get
    /// it. `limit` is for each question.
    pub async fn look_up(&self, names: Vec<HostName>, limit: Duration) -> Vec<NameSeen> {
        let server = self.status.listen.first().copied();
        let looks = names
            .iter()
            .map(|name| ask::look_up(name, server, self.table.as_deref(), limit));
        futures_util::future::join_all(looks).await
    }
}

/// Answers until the sender of `known` is dropped; then this machine's resolver is as it was.
pub async fn run_names(
    config: NamesConfig,
    mut known: watch::Receiver<Known>,
    mut overlay: watch::Receiver<Option<Overlay>>,
    seen: watch::Sender<NamesView>,
) {
    let mut names = Names {
        config,
        table: None,
        zones: watch::channel(Arc::default()).0,
        doors: Doors::default(),
        told: None,
        system: SystemStatus::default(),
        retry_at: None,
    };
    loop {
        let (newest, running) = (
            known.borrow_and_update().clone(),
            overlay.borrow_and_update().clone(),
        );
        names.follow(&newest, running.as_ref()).await;
        // The tunnel goes when nobody holds it.
        drop(running);
        seen.send_replace(names.view());
        let retry_at = names.retry_at;
        tokio::select! {
            changed = known.changed() => if changed.is_err() { break },
            Ok(()) = overlay.changed() => {}
            () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {}
        }
    }
    names.end().await;
}

struct Names {
    config: NamesConfig,
    table: Option<Arc<Table>>,
    zones: watch::Sender<Arc<Zones>>,
    doors: Doors,
    /// What the machine's resolver was told, and for which tunnel: its settings go with the interface.
    told: Option<(Wish, Weak<dyn Tunnel>)>,
    system: SystemStatus,
    /// When to try again what failed.
    retry_at: Option<Instant>,
}

impl Names {
    async fn follow(&mut self, known: &Known, overlay: Option<&Overlay>) {
        let map = (known.map.as_deref()).filter(|_| self.config.choice != NamesChoice::Off);
        self.take(map, &known.controllers);
        let is_due = self.retry_at.is_none_or(|at| Instant::now() >= at);
        let wanted = self.wanted_doors(map, overlay);
        self.doors.follow(&wanted, &self.zones, is_due);
        self.tell_system(overlay, is_due).await;
        let has_failed = !self.doors.closed().is_empty() || self.system.may_be_tried_again();
        if is_due {
            self.retry_at = has_failed.then(|| Instant::now() + RETRY_PAUSE);
        }
    }

    /// Answers from this map from now on.
    fn take(&mut self, map: Option<&Netmap>, controllers: &[String]) {
        let content = map.and_then(|map| Content::of(map, controllers));
        let is_same = match (&self.table, &content) {
            (Some(table), Some(content)) => table.says(content),
            (None, None) => true,
            _ => false,
        };
        if is_same {
            return;
        }
        let revision = map.map(|map| map.revision).unwrap_or_default();
        let table = content.map(|content| Table::new(content, revision));
        let table = table.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "the names of the map can't be answered");
            None
        });
        let zones = table.as_ref().map(Table::zones).unwrap_or_default();
        self.zones.send_replace(Arc::new(zones));
        self.table = table.map(Arc::new);
    }

    /// Loopback first: it is there with every engine.
    fn wanted_doors(&self, map: Option<&Netmap>, overlay: Option<&Overlay>) -> Vec<SocketAddr> {
        let Some(map) = map.filter(|_| self.table.is_some()) else {
            return Vec::new();
        };
        let mut ips = vec![IpAddr::V4(LOOPBACK)];
        let is_own = |port: u16| {
            let services = map.services.values().map(|it| it.port);
            let balancers = map.balancers.values().map(|it| it.port);
            services.chain(balancers).any(|it| it.number() == port)
        };
        // The overlay's addresses are this machine's only where the engine has an interface.
        let has_interface = self.config.engine != Engine::Netstack;
        if let Some(overlay) = overlay.filter(|_| has_interface && !is_own(DNS_PORT)) {
            ips.push(IpAddr::V4(overlay.me.v4));
            let v6 = Some(IpAddr::V6(overlay.me.v6));
            ips.extend(v6.filter(|_| overlay.tunnel.has_ipv6()));
        }
        let doors = ips.into_iter().map(|ip| SocketAddr::new(ip, DNS_PORT));
        doors.collect()
    }

    async fn tell_system(&mut self, overlay: Option<&Overlay>, is_due: bool) {
        if self.config.choice == NamesChoice::Off {
            self.system = SystemStatus::Off;
            return;
        }
        if self.config.engine == Engine::Netstack {
            self.system = SystemStatus::NoInterface;
            return;
        }
        let open = self.doors.open().into_iter().map(|door| door.ip());
        let servers: Vec<IpAddr> = open.filter(|ip| !ip.is_loopback()).collect();
        let (Some(overlay), Some(table)) = (overlay, &self.table) else {
            self.told = None;
            self.system = SystemStatus::Waiting;
            return;
        };
        if servers.is_empty() {
            self.system = SystemStatus::Waiting;
            return;
        }
        let wish = Wish {
            interface: self.config.interface.clone(),
            servers,
            domains: table.domains(self.config.choice.leads_to_declared(table.profile())),
        };
        let tunnel = Arc::downgrade(&overlay.tunnel);
        let is_told = self
            .told
            .as_ref()
            .is_some_and(|(told, of)| *told == wish && of.ptr_eq(&tunnel));
        if is_told && !(is_due && self.system.may_be_tried_again()) {
            return;
        }
        self.system = system::tell(&wish).await;
        self.told = Some((wish, tunnel));
    }

    fn view(&self) -> NamesView {
        let table = self.table.as_deref();
        NamesView {
            status: NamesStatus {
                zone: table.map(|table| table.zone().to_string()),
                nodes: table.map_or(0, Table::nodes),
                declared: table.map_or_else(Vec::new, Table::declared),
                listen: self.doors.open(),
                closed: self.doors.closed(),
                system: self.system.clone(),
            },
            table: self.table.clone(),
        }
    }

    async fn end(mut self) {
        if self.system.is_told()
            && let Some((wish, _)) = &self.told
        {
            system::take_back(&wish.interface).await;
        }
        self.doors.close_all().await;
    }
}

/// Where programs find the agent's answers whatever the engine; RFC 1122 §3.2.1.3 keeps the network for the machine itself. Not
/// 127.0.0.53 nor .54, which are systemd-resolved's.
pub const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 77, 53);
const DNS_PORT: u16 = 53;
const RETRY_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
