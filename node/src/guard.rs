//! The guard: an nftables table that closes the node's ports on every interface but the overlay's and loopback. It stays when
//! the agent stops, so that a restart or a crash opens nothing; `malha-node guard remove` takes it away. It never touches a
//! rule of somebody else, and never a port that the operator excepted.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use malha_proto::{Exposure, Netmap, Profile, Protocol};
use malha_tunnel::{Engine, nftables};
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
    ports: Ports,
    status: GuardStatus,
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
            ports: Ports::default(),
            status,
            restored: 0,
            disturbed: false,
            next_restore: Instant::now(),
        }
    }

    pub(crate) fn status(&self) -> &GuardStatus {
        &self.status
    }

    /// Closes the ports of a map, to be called before its services are opened.
    ///
    /// # Errors
    /// It is required and can't be in place; the services must stay closed.
    pub(crate) async fn close(&mut self, map: &Netmap) -> Result<(), String> {
        let wanted = Ports::of(map, &self.config.except);
        let is_done = matches!(&self.status, GuardStatus::InPlace { .. }) && wanted == self.ports;
        if !self.is_wanted() || is_done {
            return Ok(());
        }
        self.ports = wanted;
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

    /// Puts it back if it is gone; to be called each second and after each change.
    pub(crate) async fn check(&mut self) {
        if self.ports == Ports::default() || !self.is_wanted() || Instant::now() < self.next_restore
        {
            return;
        }
        let table = table(&self.interface);
        let is_there = nftables::table_exists(&table).unwrap_or(false);
        match &self.status {
            GuardStatus::InPlace { .. } if is_there => {}
            GuardStatus::InPlace { .. } => self.restore().await,
            _ => self.apply().await,
        }
    }

    /// Puts it back whatever is left of it: a rule may be gone while the table is there.
    pub(crate) async fn restore(&mut self) {
        tracing::warn!("somebody changed the guard's nftables table; it is set again");
        self.restored += 1;
        self.apply().await;
    }

    fn is_wanted(&self) -> bool {
        match self.config.choice {
            GuardChoice::Off => false,
            GuardChoice::Required => true,
            GuardChoice::Auto => self.engine != Engine::Netstack,
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
        self.status = match applied {
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

impl Ports {
    fn of(map: &Netmap, except: &BTreeSet<u16>) -> Self {
        let udp = of_profile(map, Protocol::Udp);
        Self {
            tcp: tcp_ports(map, except),
            udp: udp.filter(|port| !except.contains(port)).collect(),
        }
    }
}

/// The TCP ports that must be reachable through the overlay only: each service's port, its target where that is on this
/// machine, each balancer's, and those of the node's profile. A public balancer opens its port.
fn tcp_ports(map: &Netmap, except: &BTreeSet<u16>) -> BTreeSet<u16> {
    let services = map.services.values();
    let of_services = services.flat_map(|service| {
        let target = Some(service.target).filter(|target| is_here(target.ip(), map));
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

fn is_here(target: IpAddr, map: &Netmap) -> bool {
    let own: [IpAddr; 2] = [map.me.addresses.v4.into(), map.me.addresses.v6.into()];
    // Only an address of this machine can be bound.
    target.is_loopback() || own.contains(&target) || std::net::UdpSocket::bind((target, 0)).is_ok()
}

fn table(interface: &str) -> String {
    format!("malha_guard_{interface}")
}

/// After conntrack, so that fragments are whole and answers to this machine's own connections are known; before DNAT, so that a
/// container's published port is judged by the number that the stranger used.
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
         add rule inet {table} guard fib daddr type != local accept\n\
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

#[cfg(test)]
mod tests {
    use malha_proto::{ClosedPort, Port};

    use super::*;
    use crate::testbed;

    #[test]
    fn a_guard_with_nothing_to_close_says_so() {
        let said = |ports: &[u16], restored| {
            let status = GuardStatus::InPlace {
                ports: ports.iter().copied().collect(),
                udp: [].into(),
                restored,
            };
            status.say(Lang::En)
        };
        for restored in [0, 2] {
            let nothing = "in place; this machine has no port to close";
            assert_eq!(said(&[], restored), nothing);
        }
        assert!(said(&[80, 5500], 0).ends_with("the ports: 80, 5500"));
    }

    #[test]
    fn a_service_closes_its_port_and_a_target_on_this_machine() {
        let mut map = testbed::netmap(1);
        let (id, service) = map
            .services
            .iter()
            .next()
            .map(|(k, v)| (*k, v.clone()))
            .unwrap();
        let mut elsewhere = service.clone();
        elsewhere.id = malha_proto::ServiceId(id.0 + 1);
        elsewhere.port = Port::new(7000).unwrap();
        elsewhere.target = ([192, 0, 2, 1], 9999).into();
        map.services.insert(elsewhere.id, elsewhere);
        map.closed = Some([closed(Protocol::Tcp, 9011)].into());
        let wanted = [service.port.number(), service.target.port(), 7000, 9011];
        assert_eq!(tcp(&map, &BTreeSet::new()), wanted.into());
        let except = BTreeSet::from([7000, 9011]);
        assert!(tcp(&map, &except).is_disjoint(&except));
    }

    #[test]
    fn the_controller_says_what_the_profile_closes() {
        let mut map = testbed::netmap(1);
        map.services.clear();
        map.me.profile = Profile::SecurityServer;
        let none = BTreeSet::new();
        // A map from before the controller said it.
        assert_eq!(tcp(&map, &none), [5500, 5577].into());
        map.closed = Some([closed(Protocol::Tcp, 4000), closed(Protocol::Udp, 161)].into());
        assert_eq!(tcp(&map, &none), [4000].into());
        assert_eq!(Ports::of(&map, &none).udp, [161].into());
        assert_eq!(Ports::of(&map, &[161].into()).udp, none);
        map.closed = Some([].into());
        assert_eq!(Ports::of(&map, &none), Ports::default());
    }

    fn tcp(map: &Netmap, except: &BTreeSet<u16>) -> BTreeSet<u16> {
        Ports::of(map, except).tcp
    }

    fn closed(protocol: Protocol, port: u16) -> ClosedPort {
        ClosedPort {
            protocol,
            port: Port::new(port).unwrap(),
        }
    }
}
