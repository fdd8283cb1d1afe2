//! The host before a kernel that a test plays.

mod rules;

use std::process::Command;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use tokio::sync::{broadcast, mpsc};

use super::*;
use crate::config::Allow;
use crate::kernel::Task;
use crate::kernel::wireguard::PeerSeen;
use crate::watched::Watched;

/// A kernel's WireGuard. It has what it was told, and may refuse to add peers, or to part with them.
#[derive(Clone, Default)]
struct Played(Arc<Mutex<InKernel>>);

#[derive(Default)]
struct InKernel {
    peers: BTreeMap<PublicKey, PeerSeen>,
    owned: BTreeMap<PublicKey, Vec<IpNet>>,
    is_full: bool,
    keeps_all: bool,
    unread: Option<Errno>,
    takes_no_endpoint: bool,
}

impl Played {
    fn peers(&self) -> Vec<PublicKey> {
        self.0.lock().unwrap().peers.keys().copied().collect()
    }

    fn owned(&self, key: &PublicKey) -> Vec<IpNet> {
        self.0.lock().unwrap().owned[key].clone()
    }

    fn endpoint(&self, key: &PublicKey) -> Option<SocketAddr> {
        self.0.lock().unwrap().peers[key].endpoint
    }

    /// Something of the peer's came from there.
    fn hear(&self, key: &PublicKey, endpoint: SocketAddr) {
        let mut device = self.0.lock().unwrap();
        let seen = device.peers.get_mut(key).unwrap();
        seen.endpoint = Some(endpoint);
        seen.rx_bytes += 92;
    }

    fn refuse_peers(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
    }

    fn refuse_questions(&self, number: Option<Errno>) {
        self.0.lock().unwrap().unread = number;
    }

    fn refuse_endpoints(&self) {
        self.0.lock().unwrap().takes_no_endpoint = true;
    }

    fn refuse_removals(&self, keeps_all: bool) {
        self.0.lock().unwrap().keeps_all = keeps_all;
    }
}

impl Device for Played {
    fn set_peer(&mut self, key: &PublicKey, change: &PeerChange<'_>) -> io::Result<()> {
        let mut device = self.0.lock().unwrap();
        if change.remove {
            if device.keeps_all {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            device.peers.remove(key);
        } else if let Some(owned) = change.allowed_ips {
            if device.is_full {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            device.peers.entry(*key).or_default();
            device.owned.insert(*key, owned.to_vec());
        }
        if change.endpoint.is_some() && device.takes_no_endpoint {
            return Err(Errno::ENOBUFS.into());
        }
        if let Some(peer) = device.peers.get_mut(key) {
            peer.endpoint = change.endpoint.or(peer.endpoint);
        }
        Ok(())
    }

    fn look(&mut self) -> io::Result<DeviceSeen> {
        let device = self.0.lock().unwrap();
        if let Some(number) = device.unread {
            return Err(number.into());
        }
        let peers = device.peers.clone();
        Ok(DeviceSeen {
            key: None,
            listen_port: 51820,
            peers,
        })
    }

    fn forget_sources(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hub() -> PeerConfig {
    let mut hub = PeerConfig::new(PrivateKey::from_bytes([2; 32]).public_key());
    hub.allowed_ips = vec!["100.64.0.2/32".parse().unwrap()];
    hub.endpoints = vec!["192.0.2.1:51820".parse().unwrap()];
    hub
}

/// A host that has set one peer, and that can't change a rule: no table can have the name of its own.
fn host(peer: PeerConfig) -> (Host, Played) {
    let played = Played::default();
    let mut rules = Ruleset::new("no name", [].into());
    rules.set_peer(&peer, &mut Change::default()).unwrap();
    let mut wireguard: Box<dyn Device> = Box::new(played.clone());
    wireguard.install(&peer, None).unwrap();
    let mut host = Host {
        link: Link::found("none", i32::MAX as u32).unwrap(),
        wireguard,
        key: PrivateKey::from_bytes([1; 32]),
        upkeep: Upkeep::untouched("none", i32::MAX as u32, &own()).unwrap(),
        rules: Rules::new(rules),
        peers: [(peer.public_key, Known::new(peer))].into(),
        listen_port: 51820,
        unread: None,
    };
    host.rules.in_force = true;
    (host, played)
}

fn set(host: &mut Host, peers: &[PeerConfig]) {
    let change = PeersChange {
        gone: vec![],
        set: peers.to_vec(),
    };
    for set in host.change_peers(change, Instant::now()).set {
        set.unwrap();
    }
}

fn remove(host: &mut Host, key: PublicKey) {
    let change = PeersChange {
        gone: vec![key],
        set: vec![],
    };
    assert_eq!(host.change_peers(change, Instant::now()).gone, [true]);
}

#[test]
fn a_refresh_needs_no_rules_and_so_loses_no_peer_while_they_cannot_be_set() {
    let (mut host, kernel) = host(hub());
    host.refresh(Instant::now()).unwrap();
    assert_eq!(kernel.peers(), [hub().public_key]);
}

#[test]
fn a_peer_that_the_kernel_did_not_take_back_is_set_at_the_next_look() {
    let (mut host, kernel) = host(hub());
    kernel.refuse_peers(true);
    assert!(host.refresh(Instant::now()).is_err());
    host.look(Instant::now()).unwrap();
    assert_eq!(kernel.peers(), []);
    kernel.refuse_peers(false);
    host.look(Instant::now()).unwrap();
    assert_eq!(kernel.peers(), [hub().public_key]);
}

#[test]
fn a_kernel_that_is_short_of_memory_for_a_moment_ends_no_tunnel() {
    let (mut host, kernel) = host(hub());
    kernel.refuse_questions(Some(Errno::ENOBUFS));
    host.look(Instant::now()).unwrap();
    kernel.refuse_questions(None);
    kernel.refuse_endpoints();
    host.look(Instant::now()).unwrap();
    assert_eq!(kernel.peers(), [hub().public_key]);
}

#[test]
fn an_interface_that_is_gone_ends_the_tunnel() {
    let (mut host, kernel) = host(hub());
    kernel.refuse_questions(Some(Errno::ENODEV));
    assert!(host.look(Instant::now()).is_err());
}

#[test]
fn a_peer_that_the_kernel_would_not_part_with_is_removed_at_the_next_look() {
    let (mut host, kernel) = host(hub());
    kernel.refuse_removals(true);
    remove(&mut host, hub().public_key);
    host.look(Instant::now()).unwrap();
    assert_eq!(kernel.peers(), [hub().public_key]);
    kernel.refuse_removals(false);
    host.look(Instant::now()).unwrap();
    assert_eq!(kernel.peers(), []);
}

#[test]
fn a_refresh_takes_back_no_address_that_went_to_another_peer() {
    let (mut host, kernel) = host(hub());
    let mut other = PeerConfig::new(PrivateKey::from_bytes([3; 32]).public_key());
    other.allowed_ips = hub().allowed_ips;
    let rules = &mut host.rules.set;
    rules.set_peer(&other, &mut Change::default()).unwrap();
    host.refresh(Instant::now()).unwrap();
    assert_eq!(kernel.owned(&hub().public_key), []);
}

#[test]
fn a_refresh_looks_for_a_peer_where_it_answered_last() {
    let second = "192.0.2.2:51820".parse().unwrap();
    let mut at_two = hub();
    at_two.endpoints.push(second);
    let (mut host, kernel) = host(at_two);
    let start = Instant::now();
    kernel.hear(&hub().public_key, second);
    host.look(start).unwrap();
    for rest in [1, 2] {
        host.refresh(start + rest * HEARD_LATELY).unwrap();
        assert_eq!(kernel.endpoint(&hub().public_key), Some(second));
    }
}

#[test]
fn a_peer_is_looked_for_where_a_route_leads() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: it needs root");
        return;
    }
    let played = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        let places = ["[2001:db8::1]:51820", "127.0.0.2:51820"];
        let mut at_two = hub();
        at_two.endpoints = places.map(|it| it.parse().unwrap()).into();
        let (mut host, kernel) = host(at_two.clone());
        host.refresh(Instant::now()).unwrap();
        let renewed = kernel.endpoint(&at_two.public_key);
        // It answered there until the network changed.
        kernel.hear(&at_two.public_key, at_two.endpoints[0]);
        host.look(Instant::now()).unwrap();
        host.rebind(Instant::now()).unwrap();
        let moved = kernel.endpoint(&at_two.public_key);
        host.refresh(Instant::now() + HEARD_LATELY).unwrap();
        let moved_and_renewed = kernel.endpoint(&at_two.public_key);
        kernel.hear(&at_two.public_key, at_two.endpoints[0]);
        host.look(Instant::now()).unwrap();
        host.refresh(Instant::now() + HEARD_LATELY).unwrap();
        let lost = kernel.endpoint(&at_two.public_key);
        [renewed, moved, moved_and_renewed, lost]
    });
    let routed = Some("127.0.0.2:51820".parse().unwrap());
    assert_eq!(played.join().unwrap(), [routed; 4]);
}

#[test]
fn a_port_that_somebody_has_is_told_from_a_kernel_that_fails() {
    let refused = |kind: io::ErrorKind| not_bound(Some(51820), kind.into());
    let taken = refused(io::ErrorKind::AddrInUse);
    assert!(matches!(taken, TunnelError::Bind { address, .. } if address.port() == 51820));
    let failed = refused(io::ErrorKind::PermissionDenied);
    assert!(matches!(failed, TunnelError::Kernel { .. }));
}

#[test]
fn an_interface_that_was_down_without_its_rules_has_its_addresses_again() {
    if !nix::unistd::geteuid().is_root() || nftables::remove_table("malha_probe").is_err() {
        println!("skipped: it needs root and the package nftables");
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_of_cable();
        assert_eq!(has_addresses(), [true, true]);
        host.link.set_up(false).unwrap();
        host.rules.in_force = false;
        host.restore_rules();
        assert_eq!(has_addresses(), [true, true]);
    });
    played.join().unwrap();
}

#[test]
fn an_interface_that_somebody_changed_is_mended_at_the_next_look_unless_it_has_no_rules() {
    if !nix::unistd::geteuid().is_root() || nftables::remove_table("malha_probe").is_err() {
        println!("skipped: it needs root and the package nftables");
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_of_cable();
        host.link.set_up(false).unwrap();
        host.rules.in_force = false;
        host.look(Instant::now()).unwrap();
        assert_eq!(has_addresses(), [true, false]);
        host.rules.in_force = true;
        host.look(Instant::now()).unwrap();
        assert_eq!(has_addresses(), [true, true]);
        ip("link del m0");
        assert!(host.look(Instant::now() + Duration::from_secs(1)).is_err());
    });
    played.join().unwrap();
}

/// A host whose interface is one end of a cable, in a namespace of its own.
fn host_of_cable() -> Host {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip("link add m0 type veth peer name m1");
    let (mut host, _) = host(hub());
    let index = if_nametoindex("m0").unwrap();
    host.link = Link::found("m0", index).unwrap();
    host.rules.set = Ruleset::new("m0", [].into());
    host.upkeep = Upkeep::untouched("m0", index, &own()).unwrap();
    host.upkeep.set().unwrap();
    host
}

fn has_addresses() -> [bool; 2] {
    ["100.64.0.1", "fd00::1"].map(|ip| UdpSocket::bind((ip, 0)).is_ok())
}

fn own() -> [IpNet; 2] {
    ["100.64.0.1/10", "fd00::1/48"].map(|it| it.parse().unwrap())
}

fn ip(words: &str) {
    let called = Command::new("ip").args(words.split(' ')).status();
    assert!(called.unwrap().success(), "ip {words}");
}
