//! The kernel's half of the engine: interface, peers and rules as they were last set, and what changed since the last look. Its
//! calls block, for milliseconds or, where thousands of peers change, for seconds; it never waits for a peer.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::link::Link;
use super::peer::{Known, ways};
use super::rules::Rules;
use super::ruleset::{Change, MAX_PEERS, Ruleset};
use super::wireguard::{Device, DeviceSeen, PeerChange, WireGuard};
use crate::config::{PeerConfig, TunnelConfig};
use crate::error::TunnelError;
use crate::keeper::open_when_freed;
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::nftables::{self, Content};
use crate::status::{
    FilterCounters, InterfaceState, PathKind, PeerDrops, PeerStatus, Refusals, RuleStatus,
    TunnelEvent,
};
use crate::tunnel::{PeersChange, PeersChanged};
use crate::upkeep::{Upkeep, is_absent};

/// Interface and table; both are gone when this is dropped, in this order.
pub(super) struct Host {
    link: Link,
    wireguard: Box<dyn Device>,
    key: PrivateKey,
    upkeep: Upkeep,
    rules: Rules,
    peers: BTreeMap<PublicKey, Known>,
    listen_port: u16,
    /// Why the interface could not be read at the last look.
    unread: Option<io::ErrorKind>,
}

impl Host {
    /// The rules stand before the interface does. The port may be in use until `freed_at`.
    pub(super) fn start(
        config: &TunnelConfig,
        port: Option<u16>,
        freed_at: Instant,
        state: watch::Sender<InterfaceState>,
    ) -> Result<Self, TunnelError> {
        let failed = |attempt| move |source| TunnelError::Kernel { attempt, source };
        let own = config.addresses.iter().map(|net| net.addr()).collect();
        let rules = Rules::new(Ruleset::new(&config.interface, own));
        nftables::apply(&rules.set.whole()).map_err(failed("setting the nftables table"))?;
        let link = Link::create(&config.interface, config.mtu_bytes);
        let mut link = link.map_err(failed("creating the WireGuard interface"))?;
        let wireguard = WireGuard::open(link.name());
        let mut wireguard = wireguard.map_err(failed("speaking to the kernel's WireGuard"))?;
        let set = wireguard.set_device(&config.private_key, port);
        set.map_err(failed("setting key and port of the interface"))?;
        let up = open_when_freed(freed_at, || link.set_up(true));
        up.map_err(|source| not_bound(port, source))?;
        let upkeep = Upkeep::start(link.name(), &config.addresses, state);
        let upkeep = upkeep.map_err(failed("giving the interface its addresses"))?;
        let mut host = Self {
            link,
            wireguard: Box::new(wireguard),
            key: config.private_key.clone(),
            upkeep,
            rules,
            peers: BTreeMap::new(),
            listen_port: port.unwrap_or(0),
            unread: None,
        };
        host.rules.in_force = true;
        let seen = host.wireguard.look();
        host.listen_port = seen.map_err(failed("reading the interface"))?.listen_port;
        Ok(host)
    }

    /// The rules of all change before any peer does, and first those of who may do less, in as few runs of nft as the size of
    /// its scripts allows.
    pub(super) fn change_peers(&mut self, peers: PeersChange, now: Instant) -> PeersChanged {
        let PeersChange { gone, set } = peers;
        let mut change = Change::default();
        for key in &gone {
            self.rules.set.remove_peer(key, &mut change);
            self.change_rules_if_many(&mut change, now);
        }
        let mut ruled: Vec<_> = set.iter().map(|_| Ok(())).collect();
        let mut order: Vec<_> = set.iter().zip(&mut ruled).collect();
        order.sort_by_cached_key(|(config, _)| !self.rules.set.cuts(config));
        for (config, ruled) in order {
            *ruled = self.rule(config, &mut change);
            self.change_rules_if_many(&mut change, now);
        }
        self.change_rules(&change, now);
        let ruled = ruled.into_iter().zip(set);
        PeersChanged {
            gone: gone.iter().map(|key| self.forget(key)).collect(),
            set: ruled
                .map(|(ruled, config)| ruled.and_then(|()| self.install(config, now)))
                .collect(),
        }
    }

    /// Gives a peer its rules.
    fn rule(&mut self, config: &PeerConfig, change: &mut Change) -> Result<(), TunnelError> {
        config.check()?;
        if config.public_key == self.key.public_key() {
            return Err(TunnelError::OwnKey);
        }
        let full = |_| TunnelError::TooMany {
            what: "peers",
            count: MAX_PEERS + 1,
            limit: MAX_PEERS,
        };
        self.rules.set.set_peer(config, change).map_err(full)
    }

    /// Sets a peer that has its rules.
    fn install(&mut self, config: PeerConfig, now: Instant) -> Result<(), TunnelError> {
        if !self.rules.in_force {
            return Err(TunnelError::Kernel {
                attempt: "changing the nftables table",
                source: io::Error::other("see the log"),
            });
        }
        let known = self.peers.get(&config.public_key);
        let goes = known.is_none_or(|known| known.leaves(&config));
        let endpoint = goes.then(|| first_way(&config)).flatten();
        let set = self.wireguard.install(&config, endpoint);
        set.map_err(|source| TunnelError::Kernel {
            attempt: "setting a peer",
            source,
        })?;
        let fresh = || Known::new(config.clone());
        let known = self.peers.entry(config.public_key).or_insert_with(fresh);
        known.config = config;
        if endpoint.is_some() {
            known.tried = Some(now);
        }
        Ok(())
    }

    /// Takes away a peer that has no rules any more, or whose interface is down for want of them; false if there was none. The
    /// next look tries again if the kernel keeps it.
    fn forget(&mut self, key: &PublicKey) -> bool {
        if self.peers.remove(key).is_none() {
            return false;
        }
        if let Err(error) = self.wireguard.set_peer(key, &REMOVAL) {
            tracing::error!(%error, peer = %key, "a peer is not wholly removed");
        }
        true
    }

    pub(super) fn owner(&self, address: IpAddr) -> Option<PublicKey> {
        self.rules.set.owner(address)
    }

    /// Whether somebody knows where the owner of an address is.
    pub(super) fn is_reachable(&mut self, address: IpAddr) -> bool {
        let Some(owner) = self.owner(address) else {
            return false;
        };
        let seen = |host: &Self| {
            let known = host.peers.get(&owner);
            known.is_some_and(|k| k.seen.endpoint.is_some() || !ways(&k.config).is_empty())
        };
        // It may have dialled us since the last look.
        seen(self) || self.look(Instant::now()).is_ok_and(|_| seen(self))
    }

    pub(super) fn listen_addrs(&self) -> Vec<SocketAddr> {
        let port = self.listen_port;
        vec![([0; 4], port).into(), ([0u16; 8], port).into()]
    }

    /// What happened since the last look, nothing while the kernel does not say. Peers that do not answer are tried at their next endpoint; those that the kernel
    /// does not have, though they were set, are set again, and those that it has, though they were removed, are removed. So is
    /// what somebody changed of the interface, unless it is down for want of rules.
    ///
    /// # Errors
    /// The interface is gone.
    pub(super) fn look(&mut self, now: Instant) -> io::Result<Vec<TunnelEvent>> {
        if self.rules.in_force {
            self.upkeep.mend(now)?;
        }
        let DeviceSeen {
            listen_port, peers, ..
        } = match self.wireguard.look() {
            Ok(seen) => seen,
            Err(error) if is_absent(&error) => return Err(error),
            Err(error) => {
                self.note_unread(&error);
                return Ok(Vec::new());
            }
        };
        self.unread = None;
        self.listen_port = listen_port;
        for key in peers.keys().filter(|key| !self.peers.contains_key(key)) {
            if let Err(error) = self.wireguard.set_peer(key, &REMOVAL) {
                tracing::warn!(%error, peer = %key, "a peer is left over and can't be removed yet");
            }
        }
        let mut events = Vec::new();
        for (key, known) in &mut self.peers {
            let Some(seen) = peers.get(key) else {
                if let Err(error) = self.wireguard.renew(known, &self.rules.set) {
                    tracing::warn!(%error, peer = %key, "a peer is missing and can't be set yet");
                }
                continue;
            };
            known.take(*seen, now, &mut events);
            if let Some(endpoint) = known.next_endpoint(now) {
                let change = PeerChange {
                    endpoint: Some(endpoint),
                    ..PeerChange::default()
                };
                if let Err(error) = self.wireguard.set_peer(key, &change) {
                    tracing::warn!(%error, peer = %key, %endpoint, "a peer's next address can't be set");
                }
            }
        }
        Ok(events)
    }

    /// One line in the log for as long as it goes on.
    fn note_unread(&mut self, error: &io::Error) {
        let kind = error.kind();
        if self.unread.replace(kind) != Some(kind) {
            tracing::warn!(%error, "the interface can't be read; it is tried again each second");
        }
    }

    pub(super) fn peers(&mut self, now: Instant) -> Vec<PeerStatus> {
        self.rules.look(now);
        let peers = self.peers.values();
        peers.map(|known| known.status(now, &self.rules)).collect()
    }

    pub(super) fn filter_counters(&mut self, now: Instant) -> FilterCounters {
        self.rules.look(now);
        self.rules.counted.totals()
    }

    /// After the host's network changed: other local addresses, other places for peers to which no route leads any more, and a
    /// packet that tells each peer where we are now.
    pub(super) fn rebind(&mut self, now: Instant) -> io::Result<()> {
        self.wireguard.forget_sources()?;
        for (key, known) in &mut self.peers {
            let Some(endpoint) = way_instead(known) else {
                continue;
            };
            let change = PeerChange {
                endpoint: Some(endpoint),
                ..PeerChange::default()
            };
            self.wireguard.set_peer(key, &change)?;
            (known.tried, known.seen.endpoint) = (Some(now), Some(endpoint));
        }
        self.nudge(|_| true)
    }

    /// Starts a handshake with every peer whose address was configured. The kernel does so only for a peer without a session,
    /// so one that is silent is made anew; one that was heard keeps its session.
    pub(super) fn refresh(&mut self, now: Instant) -> io::Result<()> {
        let is_heard = |known: &Known| {
            (known.heard).is_some_and(|at| now.saturating_duration_since(at) < HEARD_LATELY)
        };
        let lost = self.peers.iter_mut();
        let lost = lost.filter(|(_, known)| !ways(&known.config).is_empty() && !is_heard(known));
        let mut renewed = Ok(());
        for (key, known) in lost {
            let removed = self.wireguard.set_peer(key, &REMOVAL);
            let again = removed.and_then(|()| self.wireguard.renew(known, &self.rules.set));
            renewed = renewed.and(again);
        }
        renewed.and(self.nudge(|known| !ways(&known.config).is_empty()))
    }

    /// Puts the table back if somebody took it away. Until that succeeds nothing passes.
    pub(super) fn restore_rules(&mut self) {
        match self.rules.put_back() {
            Ok(()) if self.rules.in_force => {}
            // When it went down the kernel took its IPv6 addresses, and their routes with them.
            Ok(()) => match self.upkeep.set() {
                Ok(()) => self.rules.in_force = true,
                Err(error) => tracing::error!(%error, "the interface does not come up again"),
            },
            Err(error) => {
                tracing::error!(%error, "the filter can't be set; the interface is down until it can");
                self.rules.in_force = false;
                if let Err(error) = self.link.set_up(false) {
                    tracing::error!(%error, "the interface can't be taken down");
                }
            }
        }
    }

    pub(super) fn rules_wanted(&self) -> io::Result<Content> {
        Content::by(&self.rules.set.whole_with_idle(), self.rules.set.table())
    }

    pub(super) fn rules_found(&self) -> io::Result<Content> {
        Content::of(self.rules.set.table())
    }

    pub(super) fn rules_in_force(&self) -> bool {
        self.rules.in_force && nftables::table_exists(self.rules.set.table()).unwrap_or(true)
    }

    /// Takes away the counters that no rule has any more, every few seconds. False if there was nothing to do.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        let is_due = self.rules.sweep_is_due(now);
        if is_due && self.rules.sweep(now).is_err() {
            self.restore_rules();
        }
        is_due
    }

    fn change_rules_if_many(&mut self, change: &mut Change, now: Instant) {
        if change.bytes() >= SCRIPT_BYTES {
            self.change_rules(&std::mem::take(change), now);
        }
    }

    fn change_rules(&mut self, change: &Change, now: Instant) {
        if !(self.rules.in_force && self.rules.change(change).is_ok()) {
            // Somebody may have taken the table away a moment ago: the whole of it says the same.
            self.restore_rules();
        }
        if self.rules.has_many_idle() && self.rules.sweep(now).is_err() {
            self.restore_rules();
        }
    }

    /// A keepalive interval that begins makes the kernel send at once.
    fn nudge(&mut self, wanted: impl Fn(&Known) -> bool) -> io::Result<()> {
        for (key, known) in self.peers.iter().filter(|(_, known)| wanted(known)) {
            let wanted = known.config.keepalive_s.unwrap_or(0);
            for seconds in [0, wanted.max(1), wanted] {
                let change = PeerChange {
                    keepalive_s: Some(seconds),
                    ..PeerChange::default()
                };
                self.wireguard.set_peer(key, &change)?;
            }
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = self.link.set_up(false) {
            tracing::warn!(%error, "the interface could not be taken down");
        }
    }
}

impl dyn Device {
    /// Sets all that the kernel is told of a peer; its rules are somebody else's.
    fn install(&mut self, config: &PeerConfig, endpoint: Option<SocketAddr>) -> io::Result<()> {
        let no_key = PresharedKey::from_bytes([0; 32]);
        let change = PeerChange {
            preshared_key: Some(config.preshared_key.as_ref().unwrap_or(&no_key)),
            endpoint,
            keepalive_s: Some(config.keepalive_s.unwrap_or(0)),
            allowed_ips: Some(&config.allowed_ips),
            ..PeerChange::default()
        };
        self.set_peer(&config.public_key, &change)
    }

    /// Sets a peer that the kernel does not have any more. What was known of it is kept even if that fails, since from it the
    /// next attempt is made.
    fn renew(&mut self, known: &mut Known, rules: &Ruleset) -> io::Result<()> {
        let instead = way_instead(known);
        *known = known.anew();
        let mut config = known.config.clone();
        // An address that went to another peer since is judged by that one's rules.
        config
            .allowed_ips
            .retain(|prefix| rules.owns(&config.public_key, prefix));
        let endpoint = instead.or(known.seen.endpoint);
        let endpoint = endpoint.or_else(|| first_way(&config));
        self.install(&config, endpoint)
    }
}

impl Known {
    fn status(&self, now: Instant, rules: &Rules) -> PeerStatus {
        let key = &self.config.public_key;
        let count = |name: Option<String>| name.map_or(0, |name| rules.counted.of(&name));
        let ruled = self.config.ingress.iter().map(|rule| RuleStatus {
            rule: rule.clone(),
            admitted: count(rules.set.admitted(key, rule)),
        });
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since_epoch = since_epoch.unwrap_or_default();
        let handshake = self.seen.handshake;
        PeerStatus {
            public_key: self.config.public_key,
            endpoint: self.seen.endpoint.filter(|_| self.heard.is_some()),
            path: handshake.map(|_| PathKind::Direct),
            last_handshake_age: handshake.map(|at| since_epoch.saturating_sub(at)),
            last_rx_age: self.heard.map(|at| now.saturating_duration_since(at)),
            port_unreachable_age: None,
            rx_bytes: self.seen.rx_bytes,
            tx_bytes: self.seen.tx_bytes,
            // The kernel keeps the numbers of messages to itself.
            rx_expected: 0,
            rx_lost: 0,
            drops: PeerDrops {
                filtered: Refusals {
                    no_rule: count(rules.set.refusals(key)),
                    ..Refusals::default()
                },
                ..PeerDrops::default()
            },
            rules: ruled.collect(),
            // The table counts all peers' answers together.
            answers: 0,
        }
    }
}

/// Where a peer is looked for first. The kernel does not count what it could not send, so nobody would notice that a place to
/// which no route leads does not answer.
fn first_way(config: &PeerConfig) -> Option<SocketAddr> {
    routed_way(config).or_else(|| ways(config).first().copied())
}

/// The first place to which a route leads, if none leads to where the peer is looked for now.
fn way_instead(known: &Known) -> Option<SocketAddr> {
    let is_lost = !known.seen.endpoint.is_some_and(is_routed);
    routed_way(&known.config).filter(|_| is_lost)
}

fn routed_way(config: &PeerConfig) -> Option<SocketAddr> {
    ways(config).into_iter().find(|way| is_routed(*way))
}

/// Whether a datagram would leave this machine. None is sent.
fn is_routed(place: SocketAddr) -> bool {
    let any: IpAddr = match place {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect(place).is_ok())
}

/// A port that somebody else has is no fault of the kernel's: another can be tried.
fn not_bound(port: Option<u16>, source: io::Error) -> TunnelError {
    match port {
        Some(port) if source.kind() == io::ErrorKind::AddrInUse => TunnelError::Bind {
            address: ([0; 4], port).into(),
            source,
        },
        _ => TunnelError::Kernel {
            attempt: "binding the UDP port",
            source,
        },
    }
}

const REMOVAL: PeerChange<'static> = PeerChange {
    remove: true,
    preshared_key: None,
    endpoint: None,
    keepalive_s: None,
    allowed_ips: None,
};
/// A script that is so long takes no further peer; one peer's part has up to 1 MiB, and the networks come on top.
const SCRIPT_BYTES: usize = 1024 * 1024;
const HEARD_LATELY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
