//! The engine that leaves WireGuard to the kernel and the filter to nftables. UDP is its only path: what needs a relay or a
//! carrier needs another engine. It never lets the interface be up without its rules.

mod counted;
mod host;
mod link;
mod peer;
mod prefixes;
mod rules;
mod ruleset;
mod wireguard;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::{TunnelConfig, WishedPorts};
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::nftables::{Heard, TableWatch, apply, remove_table, table_exists};
use crate::socket::kept;
use crate::status::{InterfaceState, TunnelEvent, TunnelStats};
use crate::tunnel::{Engine, MAX_COMMANDS, MAX_EVENTS_KEPT, Tunnel};
use crate::underlay::Request;
use crate::userspace::{Command, Commands, CutSignal, Opener, handle};
use crate::watched::Watched;
use host::Host;
use link::Link;
use ruleset::{Ruleset, table};
use wireguard::{Device, WireGuard};

/// Whether this process may make a WireGuard interface of the kernel and the filter's nftables table: both are tried.
///
/// # Errors
/// What is missing, nft or WireGuard, and why, in their words.
pub fn available() -> io::Result<()> {
    let name = format!("mprobe{}", std::process::id() % 1_000_000);
    let rules = Ruleset::new(&name, BTreeSet::new());
    apply(&rules.whole())?;
    remove_table(rules.table())?;
    let link = Link::create(&name, PROBE_MTU_BYTES).map(drop);
    link.map_err(|error| io::Error::new(error.kind(), format!("WireGuard: {error}")))
}

/// Starts the engine on the current tokio runtime.
pub(crate) fn start(config: TunnelConfig) -> Result<Arc<dyn Tunnel>, TunnelError> {
    let freed_at = kept::give_up(&config);
    config.check()?;
    let port = port(&config)?;
    let (state, states) = watch::channel(InterfaceState::default());
    let host = match Host::start(&config, port, freed_at, state.clone()) {
        Err(TunnelError::Bind { .. }) if config.listen.is_empty() => {
            Host::start(&config, None, freed_at, state)?
        }
        started => started?,
    };
    let watch = TableWatch::new(&table(&config.interface));
    let watch = watch.map_err(|source| TunnelError::Kernel {
        attempt: "watching the nftables table",
        source,
    })?;
    let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
    let (events, _) = broadcast::channel(MAX_EVENTS_KEPT);
    let task = Task {
        host: Some(Box::new(host)),
        watch,
        inbox,
        events: events.clone(),
        watched: Watched::default(),
    };
    tokio::spawn(task.run());
    let commands = Commands::new(vec![commands]);
    Ok(handle(Engine::Kernel, commands, events, states, config))
}

/// Gives up what a killed run left of this engine: the interface has the name, the port and the addresses that another engine
/// wants, and the table judges the packets of any interface of that name.
pub(crate) fn give_up(engine: Engine, config: &TunnelConfig) {
    if let Err(error) = try_to_give_up(engine, config) {
        tracing::warn!(%error, "what is left of the kernel engine can't be removed");
    }
}

/// An engine that has an interface needs the name. One that has none takes away only what has this very node's key: what has
/// another is of an agent that runs beside it, a demo's for instance.
fn try_to_give_up(engine: Engine, config: &TunnelConfig) -> io::Result<()> {
    let interface = &config.interface;
    let own = config.private_key.public_key();
    // Asked in this order, since a question to WireGuard loads its module.
    let is_own =
        || io::Result::Ok(link::is_left(interface)? && key_in_kernel(interface) == Some(own));
    if engine == Engine::Netstack && !is_own()? {
        return Ok(());
    }
    link::remove_left(interface)?;
    let table = table(interface);
    // Who may not ask has made none.
    match table_exists(&table).unwrap_or(false) {
        true => remove_table(&table),
        false => Ok(()),
    }
}

/// None, too, for who may not ask.
fn key_in_kernel(interface: &str) -> Option<PublicKey> {
    let seen = WireGuard::open(interface).ok()?.look().ok()?;
    seen.key
}

/// The one UDP port; the kernel listens on it at every address.
fn port(config: &TunnelConfig) -> Result<Option<u16>, TunnelError> {
    if config.listen.is_empty() {
        let WishedPorts { ipv4, ipv6 } = config.wished_ports;
        return Ok([ipv4, ipv6].into_iter().find(|port| *port != 0));
    }
    let first = config.listen.first().map(|address| address.port());
    let other = config.listen.iter().map(|address| address.port());
    match other.clone().find(|port| Some(*port) != first) {
        Some(other) => Err(TunnelError::TwoPorts(first.unwrap_or(0), other)),
        None => Ok(first.filter(|port| *port != 0)),
    }
}

/// The one task that owns a tunnel's state.
struct Task {
    /// Away only while a blocking call uses it.
    host: Option<Box<Host>>,
    watch: TableWatch,
    inbox: mpsc::Receiver<Command>,
    events: broadcast::Sender<TunnelEvent>,
    watched: Watched,
}

impl Task {
    async fn run(mut self) {
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let asked_by = loop {
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(Command::Shutdown(reply)) => break Some(reply),
                    Some(command) => self.handle(command).await,
                    None => break None,
                },
                heard = self.watch.changed() => match heard {
                    Ok(Heard::Change) => self.restore().await,
                    Ok(Heard::TooMuch) => self.compare().await,
                    Err(error) => {
                        tracing::error!(%error, "changes of nftables are not heard any more");
                        tokio::time::sleep(LOOK_INTERVAL).await;
                        self.restore().await;
                    }
                },
                _ = look.tick() => self.look().await,
            }
            if self.host.is_none() {
                tracing::error!("the kernel's part of the tunnel is gone; the tunnel ends");
                break None;
            }
        };
        self.watched.cut(|_| true);
        let gone = self.on_host(|_| ()).await;
        let host = self.host.take();
        // Removing the interface blocks for a moment; an error means that the runtime ends, and the drop happens there.
        let _ = tokio::task::spawn_blocking(move || drop(host)).await;
        if let (Some(()), Some(reply)) = (gone, asked_by) {
            let _ = reply.send(());
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Device(request) => self.request(request).await,
            Command::Watch(remote, opener, reply) => {
                let _ = reply.send(self.signal(remote, opener).await);
            }
            Command::Stats(reply) => {
                let now = Instant::now().into_std();
                let filter = self.on_host(move |host| host.filter_counters(now)).await;
                let _ = reply.send(TunnelStats {
                    filter: filter.unwrap_or_default(),
                    ..TunnelStats::default()
                });
            }
            // Taken by the loop.
            Command::Shutdown(_) => {}
        }
    }

    async fn request(&mut self, request: Request) {
        let now = Instant::now().into_std();
        match request {
            Request::ChangePeers(peers, reply) => {
                let changed = self.change(move |host| host.change_peers(peers, now)).await;
                // Without an answer the tunnel has ended.
                if let Some(changed) = changed {
                    let _ = reply.send(changed);
                }
            }
            Request::Peers(reply) => {
                let peers = self.on_host(move |host| host.peers(now)).await;
                let _ = reply.send(peers.unwrap_or_default());
            }
            Request::ListenAddrs(reply) => {
                let addresses = self.on_host(|host| host.listen_addrs()).await;
                let _ = reply.send(addresses.unwrap_or_default());
            }
            Request::Rebind(reply) => {
                let rebound = self.on_host(move |host| host.rebind(now)).await;
                let rebound = rebound.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()));
                let _ = reply.send(rebound.map_err(|source| TunnelError::Kernel {
                    attempt: "telling the peers where we are",
                    source,
                }));
            }
            Request::Refresh(reply) => {
                if let Some(Err(error)) = self.change(move |host| host.refresh(now)).await {
                    tracing::warn!(%error, "not every peer was refreshed");
                }
                let _ = reply.send(());
            }
            Request::SetRelayPairs(pairs, reply) => {
                let _ = reply.send(match pairs.is_empty() {
                    true => Ok(()),
                    false => Err(TunnelError::NotInKernel("relay")),
                });
            }
            Request::AttachCarrier(_, _, reply) => {
                let _ = reply.send(Err(TunnelError::NotInKernel("carrier")));
            }
            Request::DetachCarrier(_, reply) => {
                let _ = reply.send(());
            }
            // Shards are asked this, and there are none.
            Request::Unbind(reply) => {
                let _ = reply.send(());
            }
            Request::Reachable(_, reply) => {
                let _ = reply.send(false);
            }
            Request::TakeQuic(_, reply) => {
                let _ = reply.send(Err(TunnelError::NotInKernel("QUIC side")));
            }
        }
    }

    /// Changes peers, and ends the connections whose address has left its peer.
    async fn change<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Host) -> T + Send + 'static,
    ) -> Option<T> {
        let remotes = self.watched.remotes();
        let owners = move |host: &Host| -> Vec<(IpAddr, Option<PublicKey>)> {
            let owner = |remote: &IpAddr| (*remote, host.owner(*remote));
            remotes.iter().map(owner).collect()
        };
        let (done, lost) = self
            .on_host(move |host| {
                let before = owners(host);
                let done = work(host);
                let mut lost = before;
                lost.retain(|(remote, owner)| host.owner(*remote) != *owner);
                (done, lost)
            })
            .await?;
        self.watched
            .cut(|remote| lost.iter().any(|(gone, _)| *gone == remote));
        // What was heard is the echo of our own change, unless there was more.
        if self.watch.forget() {
            self.compare().await;
        }
        Some(done)
    }

    async fn signal(&mut self, remote: IpAddr, opener: Opener) -> io::Result<CutSignal> {
        let look = move |host: &mut Host| {
            let is_enough = opener == Opener::Peer || host.is_reachable(remote);
            (host.owner(remote).is_some(), is_enough)
        };
        let found = self.on_host(look).await;
        let (kind, text) = match found {
            Some((true, true)) => return self.watched.signal(remote),
            Some((true, false)) => (
                io::ErrorKind::HostUnreachable,
                "nobody knows where the peer of this overlay address is",
            ),
            _ => (
                io::ErrorKind::NetworkUnreachable,
                "no peer owns this overlay address",
            ),
        };
        Err(io::Error::new(kind, text))
    }

    /// Sets the rules again if they are not what they should be: to do so takes the flows of this node their timeouts.
    async fn compare(&mut self) {
        let wanted = self.on_host(|host| host.rules_wanted()).await;
        // What is heard from now on is younger than what is read.
        self.watch.forget();
        let found = self.on_host(|host| host.rules_found()).await;
        match wanted.zip(found) {
            Some((Ok(wanted), Ok(found))) if wanted == found => {}
            _ => self.restore().await,
        }
    }

    async fn restore(&mut self) {
        tracing::warn!("somebody changed the tunnel's nftables table; it is set again");
        self.on_host(Host::restore_rules).await;
        self.watch.forget();
    }

    async fn look(&mut self) {
        let now = Instant::now().into_std();
        let looked = self
            .on_host(move |host| (host.look(now), host.sweep(now), host.rules_in_force()))
            .await;
        let Some((events, is_swept, rules_in_force)) = looked else {
            return;
        };
        if is_swept && self.watch.forget() {
            self.compare().await;
        }
        match events {
            // No receiver is no fault.
            Ok(events) => events
                .into_iter()
                .for_each(|event| _ = self.events.send(event)),
            Err(error) => {
                tracing::error!(%error, "the interface was taken away");
                self.host = None;
                return;
            }
        }
        if !rules_in_force {
            self.restore().await;
        }
    }

    /// Runs what blocks beside the runtime. None if it panicked or the runtime ends.
    async fn on_host<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Host) -> T + Send + 'static,
    ) -> Option<T> {
        let mut host = self.host.take()?;
        let worked = tokio::task::spawn_blocking(move || {
            let answer = work(&mut host);
            (host, answer)
        });
        let (host, answer) = worked.await.ok()?;
        self.host = Some(host);
        Some(answer)
    }
}

/// How often the kernel is asked what happened.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_MTU_BYTES: usize = 1280;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    #[test]
    fn two_ports_are_refused_unless_they_are_only_wished_and_two_addresses_of_one_port_are_not() {
        let mut config = TunnelConfig::new(
            PrivateKey::generate(),
            vec!["100.64.0.1/10".parse().unwrap()],
        );
        assert_eq!(port(&config).unwrap(), None);
        config.wished_ports.ipv6 = 40124;
        assert_eq!(port(&config).unwrap(), Some(40124));
        config.wished_ports.ipv4 = 40123;
        assert_eq!(port(&config).unwrap(), Some(40123));
        config.listen = vec![
            "192.0.2.1:51820".parse().unwrap(),
            "[::]:51820".parse().unwrap(),
        ];
        assert_eq!(port(&config).unwrap(), Some(51820));
        config.listen[1].set_port(443);
        assert!(matches!(
            port(&config),
            Err(TunnelError::TwoPorts(51820, 443))
        ));
    }
}
