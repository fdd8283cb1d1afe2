//! Devices on a wire that the test controls: every datagram can be lost, kept, repeated, moved or changed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::config::Allow;
use crate::key::{PresharedKey, PrivateKey};
use crate::noise::{DATA_OVERHEAD_BYTES, Kind};
use crate::offload::cut::PADDING_BYTES;
use crate::offload::join::{Joins, MAX_DONE};
use crate::offload::vnet::Work;
use crate::packet::build;
use crate::path::Path;
use crate::wire::MAX_TRANSMITS;

/// Devices by number; device `n` is at 192.0.2.n on the underlay and 10.0.0.n on the overlay.
struct World {
    devices: BTreeMap<u8, Device>,
    now: Instant,
    /// Every datagram that was ever on the wire: sender, path, bytes.
    seen: Vec<(u8, SocketAddr, Vec<u8>)>,
}

impl World {
    fn new(numbers: impl IntoIterator<Item = u8>) -> Self {
        let now = Instant::now();
        let device = |n: u8| (n, Device::new(&config(n), now).unwrap());
        Self {
            devices: numbers.into_iter().map(device).collect(),
            now,
            seen: Vec::new(),
        }
    }

    /// Two devices that know each other; 1 dials 2.
    fn pair() -> Self {
        let mut world = Self::new([1, 2]);
        world.set_peer(2, peer(1));
        world.set_peer(1, dialled(2));
        world
    }

    fn connected_pair() -> Self {
        let mut world = Self::pair();
        world.settle();
        assert_eq!(world.handshakes(1, 2), 1);
        world
    }

    fn device(&mut self, n: u8) -> &mut Device {
        self.devices.get_mut(&n).unwrap()
    }

    fn set_peer(&mut self, at: u8, config: PeerConfig) {
        let now = self.now;
        self.device(at).set_peer(config, now).unwrap();
    }

    fn send(&mut self, from: u8, packet: &[u8]) {
        let now = self.now;
        self.device(from).handle_packet(packet, now);
    }

    /// Takes what a device wants to send, without delivering it.
    fn take(&mut self, from: u8) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut taken = Vec::new();
        while let Some(transmit) = self.device(from).poll_transmit() {
            let remote = transmit.path.remote().unwrap();
            for datagram in transmit.datagrams() {
                self.seen.push((from, remote, datagram.to_vec()));
                taken.push((remote, datagram.to_vec()));
            }
            self.device(from).recycle_transmit(transmit);
        }
        taken
    }

    fn deliver(&mut self, to: u8, source: Path, datagram: &[u8]) {
        let now = self.now;
        self.device(to).handle_datagram(source, datagram, now);
    }

    /// Delivers everything until the wire is quiet.
    fn settle(&mut self) {
        for _ in 0..MAX_SETTLE_ROUNDS {
            let mut quiet = true;
            for from in self.devices.keys().copied().collect::<Vec<_>>() {
                for (remote, datagram) in self.take(from) {
                    quiet = false;
                    if let Some(to) = number_at(remote).filter(|to| self.devices.contains_key(to)) {
                        self.deliver(to, at(from), &datagram);
                    }
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the wire never becomes quiet");
    }

    fn tick(&mut self, by: Duration) {
        self.now += by;
        let now = self.now;
        for device in self.devices.values_mut() {
            device.handle_timeout(now);
        }
    }

    fn packets(&mut self, at: u8) -> Vec<Vec<u8>> {
        let arrivals = std::iter::from_fn(|| self.device(at).poll_packet());
        arrivals.map(|arrival| arrival.packet.to_vec()).collect()
    }

    fn events(&mut self, at: u8) -> Vec<TunnelEvent> {
        std::iter::from_fn(|| self.device(at).poll_event()).collect()
    }

    fn handshakes(&mut self, at: u8, with: u8) -> usize {
        let completed = TunnelEvent::HandshakeCompleted {
            peer: key(with).public_key(),
        };
        self.events(at)
            .into_iter()
            .filter(|event| *event == completed)
            .count()
    }

    fn status(&mut self, at: u8, of: u8) -> PeerStatus {
        let now = self.now;
        let wanted = key(of).public_key();
        let all = self.device(at).peers(now);
        all.into_iter()
            .find(|status| status.public_key == wanted)
            .unwrap()
    }

    /// A packet of this body goes from one node to another.
    fn passes(&mut self, from: u8, to: u8, body: &[u8]) -> bool {
        let packet = packet(from, to, body);
        self.send(from, &packet);
        self.settle();
        self.packets(to).contains(&packet)
    }
}

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_bytes([n; 32])
}

fn config(n: u8) -> TunnelConfig {
    let v6 = format!("fd00::{n}/64");
    TunnelConfig::new(
        key(n),
        vec![
            format!("10.0.0.{n}/24").parse().unwrap(),
            v6.parse().unwrap(),
        ],
    )
}

fn peer(n: u8) -> PeerConfig {
    let mut peer = PeerConfig::new(key(n).public_key());
    peer.allowed_ips = vec![
        format!("10.0.0.{n}/32").parse().unwrap(),
        format!("fd00::{n}/128").parse().unwrap(),
    ];
    peer.ingress = vec![Allow::udp(7..=7)];
    peer
}

fn dialled(n: u8) -> PeerConfig {
    PeerConfig {
        endpoints: vec![address(n)],
        ..peer(n)
    }
}

fn address(n: u8) -> SocketAddr {
    ([192, 0, 2, n], 51820).into()
}

fn at(n: u8) -> Path {
    Path::Udp {
        local: Some(0),
        remote: address(n),
    }
}

fn number_at(remote: SocketAddr) -> Option<u8> {
    (1..=9).find(|n| address(*n) == remote)
}

fn packet(from: u8, to: u8, body: &[u8]) -> Vec<u8> {
    build::udp(&format!("10.0.0.{from}:7"), &format!("10.0.0.{to}:7"), body)
}

fn is_initiation(datagram: &[u8]) -> bool {
    Kind::of(datagram) == Some(Kind::Initiation)
}

#[test]
fn packets_pass_both_ways_in_both_families_after_one_handshake() {
    let mut world = World::connected_pair();
    assert!(world.passes(1, 2, b"there"));
    assert!(world.passes(2, 1, b"and back"));
    let v6 = build::udp("[fd00::1]:7", "[fd00::2]:7", b"six");
    world.send(1, &v6);
    world.settle();
    assert_eq!(world.packets(2), vec![v6]);
    assert_eq!(world.handshakes(2, 1), 1);
    assert_eq!(world.status(1, 2).last_handshake_age, Some(Duration::ZERO));
}

#[test]
fn packets_sent_before_the_handshake_arrive_after_it_in_order() {
    let mut world = World::pair();
    for body in [b"a", b"b", b"c"] {
        world.send(1, &packet(1, 2, body));
    }
    world.settle();
    assert_eq!(
        world.packets(2),
        [b"a", b"b", b"c"].map(|body| packet(1, 2, body))
    );
}

#[test]
fn an_eavesdropper_sees_no_plaintext() {
    let mut world = World::connected_pair();
    let secret = b"senha da garagem 4711";
    assert!(world.passes(1, 2, secret) && world.passes(2, 1, secret));
    let leaked = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(
        leaked(&packet(1, 2, secret), secret),
        "the search itself works"
    );
    for (_, _, datagram) in &world.seen {
        assert!(!leaked(datagram, secret) && !leaked(datagram, &[10, 0, 0, 2]));
    }
}

#[test]
fn lengths_on_the_wire_tell_only_multiples_of_16() {
    let mut world = World::connected_pair();
    world.seen.clear();
    for bytes in 0..40 {
        assert!(world.passes(1, 2, &vec![1; bytes]));
    }
    for (_, _, datagram) in &world.seen {
        assert_eq!((datagram.len() - DATA_OVERHEAD_BYTES) % 16, 0);
    }
}

#[test]
fn padding_does_not_exceed_the_link() {
    let mut world = World::connected_pair();
    let header_bytes = packet(1, 2, b"").len();
    let mtu_bytes = config(1).mtu_bytes;
    assert!(world.passes(1, 2, &vec![1; mtu_bytes - 3 - header_bytes]));
    let longest = world
        .seen
        .iter()
        .map(|(_, _, datagram)| datagram.len())
        .max();
    assert_eq!(longest, Some(mtu_bytes + DATA_OVERHEAD_BYTES));
}

#[test]
fn a_repeated_datagram_is_delivered_once() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"once"));
    let (_, datagram) = world.take(1).remove(0);
    for _ in 0..3 {
        world.deliver(2, at(1), &datagram);
    }
    assert_eq!(world.packets(2), vec![packet(1, 2, b"once")]);
    assert_eq!(world.status(2, 1).drops.unopened, 2);
}

#[test]
fn reordered_datagrams_are_all_delivered() {
    let mut world = World::connected_pair();
    for n in 0..200u8 {
        world.send(1, &packet(1, 2, &[n]));
    }
    let mut datagrams = world.take(1);
    datagrams.reverse();
    for (_, datagram) in datagrams {
        world.deliver(2, at(1), &datagram);
    }
    assert_eq!(world.packets(2).len(), 200);
}

#[test]
fn lost_datagrams_cost_only_themselves() {
    let mut world = World::connected_pair();
    for n in 0..100u8 {
        world.send(1, &packet(1, 2, &[n]));
    }
    for (n, (_, datagram)) in world.take(1).into_iter().enumerate() {
        if n % 3 != 0 {
            world.deliver(2, at(1), &datagram);
        }
    }
    assert_eq!(world.packets(2).len(), 66);
    assert!(world.passes(1, 2, b"still here"));
}

#[test]
fn every_changed_byte_is_refused() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"genuine"));
    let (_, datagram) = world.take(1).remove(0);
    for position in 0..datagram.len() {
        let mut forged = datagram.clone();
        forged[position] ^= 0x40;
        world.deliver(2, at(1), &forged);
    }
    assert!(world.packets(2).is_empty());
    world.deliver(2, at(1), &datagram);
    assert_eq!(world.packets(2).len(), 1);
}

#[test]
fn a_huge_forged_datagram_for_a_live_session_does_no_harm() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"x"));
    let (_, genuine) = world.take(1).remove(0);
    for bytes in [2048, 9000, 65_507, 65_535, 65_536, 70_000] {
        let mut forged = vec![0xaa; bytes];
        forged[..16].copy_from_slice(&genuine[..16]);
        world.deliver(2, at(1), &forged);
    }
    assert!(world.packets(2).is_empty());
    assert!(world.passes(1, 2, b"still here"));
}

#[test]
fn the_largest_ip_packet_passes_and_one_too_large_is_counted() {
    let mut world = World::connected_pair();
    let header_bytes = packet(1, 2, b"").len();
    assert!(world.passes(1, 2, &vec![1; 65_000 - header_bytes]));
    world.send(1, &packet(1, 2, &vec![1; 65_535 - header_bytes]));
    assert_eq!(world.status(1, 2).drops.too_large, 1);
}

#[test]
fn a_peer_cannot_speak_for_the_narrower_prefix_of_another() {
    let mut world = World::new([1, 2, 3]);
    let mut wide = peer(1);
    wide.allowed_ips = vec!["10.0.0.0/24".parse().unwrap()];
    world.set_peer(2, wide);
    world.set_peer(2, peer(3));
    world.set_peer(1, dialled(2));
    world.settle();
    assert!(world.passes(1, 2, b"own address"));
    world.send(1, &packet(3, 2, b"stolen address"));
    world.settle();
    assert!(world.packets(2).is_empty());
    assert_eq!(world.status(2, 1).drops.spoofed, 1);
    assert!(world.device(2).remove_peer(&key(3).public_key()));
    world.send(1, &packet(3, 2, b"nobody else's address now"));
    world.settle();
    assert_eq!(world.packets(2).len(), 1);
}

#[test]
fn the_endpoint_follows_authenticated_data() {
    let mut world = World::connected_pair();
    world.events(2);
    world.send(1, &packet(1, 2, b"from a new address"));
    let (_, datagram) = world.take(1).remove(0);
    world.deliver(2, at(9), &datagram);
    let moved = TunnelEvent::EndpointChanged {
        peer: key(1).public_key(),
        endpoint: address(9),
    };
    assert_eq!(world.events(2), vec![moved]);
    world.send(2, &packet(2, 1, b"reply"));
    assert_eq!(world.take(2)[0].0, address(9));
}

#[test]
fn no_forgery_and_no_recording_moves_the_endpoint() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"x"));
    let (_, data) = world.take(1).remove(0);
    let mut forged = data.clone();
    *forged.last_mut().unwrap() ^= 1;
    world.deliver(2, at(9), &forged);
    world.deliver(2, at(1), &data);
    world.deliver(2, at(9), &data);
    let recorded: Vec<_> = world
        .seen
        .iter()
        .filter(|(from, _, _)| *from == 1)
        .map(|seen| seen.2.clone())
        .collect();
    for datagram in recorded {
        world.deliver(2, at(9), &datagram);
    }
    assert_eq!(world.status(2, 1).endpoint, Some(address(1)));
}

#[test]
fn a_recorded_initiation_moves_no_endpoint_after_a_restart() {
    let mut world = World::connected_pair();
    let initiation = world
        .seen
        .iter()
        .find(|seen| is_initiation(&seen.2))
        .unwrap()
        .2
        .clone();
    let fresh = Device::new(&config(2), world.now).unwrap();
    world.devices.insert(2, fresh);
    world.set_peer(2, peer(1));
    world.deliver(2, at(9), &initiation);
    assert_eq!(
        world.take(2).len(),
        1,
        "the recording is answered, since nothing tells it from an original"
    );
    let status = world.status(2, 1);
    assert_eq!((status.endpoint, status.last_handshake_age), (None, None));
}

#[test]
fn an_unanswered_node_keeps_trying_with_growing_pauses_forever() {
    let mut world = World::pair();
    world.take(1);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        expire(&mut world, 1);
        let gave_up_at = world.now;
        world.tick(GRID);
        let unanswered = TunnelEvent::HandshakeUnanswered {
            peer: key(2).public_key(),
        };
        assert!(world.events(1).contains(&unanswered));
        while !world
            .take(1)
            .iter()
            .any(|(_, datagram)| is_initiation(datagram))
        {
            world.tick(GRID);
            assert!(world.now - gave_up_at < Duration::from_secs(100));
        }
        pauses.push(world.now - gave_up_at);
    }
    assert!(pauses[0] < Duration::from_secs(3));
    assert!(
        pauses[6..]
            .iter()
            .all(|pause| *pause > Duration::from_secs(30))
    );
    world.tick(GRID);
    world.settle();
    expire(&mut world, 1);
    world.tick(Duration::from_secs(100));
    world.tick(Duration::from_secs(100));
    world.settle();
    assert_eq!(world.handshakes(1, 2), 1);
    assert!(world.passes(1, 2, b"alive again"));
}

#[test]
fn a_node_that_is_dialled_does_not_call_after_peers_that_left() {
    let mut world = World::connected_pair();
    expire(&mut world, 2);
    for _ in 0..400 {
        world.tick(GRID);
        assert!(world.take(2).is_empty());
    }
}

fn expire(world: &mut World, at: u8) {
    let device = world.device(at);
    device
        .peers
        .values_mut()
        .next()
        .unwrap()
        .noise_mut()
        .expire();
}

#[test]
fn candidates_are_tried_in_turn_until_one_answers() {
    let mut world = World::new([1, 2]);
    world.set_peer(2, peer(1));
    let mut config = peer(2);
    config.endpoints = [7, 8, 2].map(address).to_vec();
    world.set_peer(1, config);
    let mut tried = Vec::new();
    for _ in 0..4 {
        for (remote, datagram) in world.take(1) {
            tried.push(remote);
            if number_at(remote) == Some(2) {
                world.deliver(2, at(1), &datagram);
            }
        }
        world.tick(Duration::from_millis(600));
    }
    world.settle();
    assert_eq!(tried[..3], [7, 8, 2].map(address));
    assert_eq!(world.status(1, 2).endpoint, Some(address(2)));
    assert!(world.passes(1, 2, b"through the third"));
}

#[test]
fn a_removed_peer_is_cut_in_both_directions_at_once() {
    let mut world = World::connected_pair();
    world.send(1, &packet(1, 2, b"under way"));
    let under_way = world.take(1).remove(0).1;
    assert!(world.device(2).remove_peer(&key(1).public_key()));
    world.deliver(2, at(1), &under_way);
    world.send(2, &packet(2, 1, b"answer"));
    assert!(world.packets(2).is_empty() && world.take(2).is_empty());
    let counters = world.device(2).counters();
    assert_eq!((counters.unknown_session, counters.no_peer), (1, 1));
    assert!(!world.device(2).remove_peer(&key(1).public_key()));
}

#[test]
fn a_changed_preshared_key_loses_no_packet_while_the_sides_disagree() {
    let mut world = World::connected_pair();
    let shared = PresharedKey::generate();
    let with_key = |config: PeerConfig| PeerConfig {
        preshared_key: Some(shared.clone()),
        ..config
    };
    world.set_peer(2, with_key(peer(1)));
    world.settle();
    assert!(world.passes(1, 2, b"only one side has the new key"));
    assert!(world.passes(2, 1, b"and back"));
    world.set_peer(1, with_key(dialled(2)));
    world.settle();
    assert!(world.handshakes(1, 2) >= 1);
    assert!(world.passes(1, 2, b"both have it") && world.passes(2, 1, b"and back"));
    world.tick(Duration::from_secs(200));
    world.settle();
    assert!(world.passes(1, 2, b"the old session is gone"));
    assert_eq!(world.device(1).by_session.len(), 1);
}

#[test]
fn a_key_that_changes_again_before_its_handshake_is_confirmed_cuts_nobody() {
    let mut world = World::connected_pair();
    let keys = [PresharedKey::generate(), PresharedKey::generate()];
    let with_key = |config: PeerConfig, number: usize| PeerConfig {
        preshared_key: Some(keys[number].clone()),
        ..config
    };
    world.set_peer(2, with_key(peer(1), 0));
    world.settle();
    world.set_peer(1, with_key(dialled(2), 0));
    for (_, initiation) in world.take(1) {
        world.deliver(2, at(1), &initiation);
    }
    for (_, response) in world.take(2) {
        world.deliver(1, at(2), &response);
    }
    // Node 1 has finished its handshake and seals with it; node 2 learns that only after its key has changed again.
    let confirmation = world.take(1);
    world.set_peer(2, with_key(peer(1), 1));
    for (_, datagram) in confirmation {
        world.deliver(2, at(1), &datagram);
    }
    assert!(world.passes(1, 2, b"sealed with the key between"));
    assert!(world.passes(2, 1, b"and back"));
    world.set_peer(1, with_key(dialled(2), 1));
    world.settle();
    assert!(world.passes(1, 2, b"both have the last one") && world.passes(2, 1, b"and back"));
    world.tick(Duration::from_secs(200));
    world.settle();
    assert!(world.passes(1, 2, b"the old sessions are gone"));
    assert_eq!(world.device(1).by_session.len(), 1);
    assert_eq!(world.device(2).by_session.len(), 1);
}

#[test]
fn different_preshared_keys_never_agree() {
    let mut world = World::new([1, 2]);
    let mut other = peer(1);
    other.preshared_key = Some(PresharedKey::generate());
    world.set_peer(2, other);
    world.set_peer(1, dialled(2));
    world.settle();
    assert_eq!(world.handshakes(1, 2), 0);
    assert!(!world.passes(1, 2, b"x"));
}

#[test]
fn a_peer_with_a_new_identity_takes_over_the_address() {
    let mut world = World::connected_pair();
    let replacement = PeerConfig {
        public_key: key(3).public_key(),
        ..peer(1)
    };
    world.set_peer(2, replacement);
    world.send(1, &packet(1, 2, b"the old identity"));
    world.settle();
    assert!(
        world.packets(2).is_empty(),
        "the address is no longer its own"
    );
    let mut config = config(1);
    config.private_key = key(3);
    world
        .devices
        .insert(1, Device::new(&config, world.now).unwrap());
    world.set_peer(1, dialled(2));
    world.settle();
    assert!(world.passes(1, 2, b"the new identity"));
}

#[test]
fn changing_one_peer_keeps_the_sessions_of_the_others() {
    let mut world = World::new([1, 2, 3]);
    for n in [1, 3] {
        world.set_peer(2, peer(n));
        world.set_peer(n, dialled(2));
    }
    world.settle();
    let mut changed = peer(1);
    changed.keepalive_s = Some(30);
    world.set_peer(2, changed);
    world.seen.clear();
    assert!(world.passes(3, 2, b"undisturbed"));
    assert!(
        !world
            .seen
            .iter()
            .any(|(from, _, datagram)| *from == 3 && is_initiation(datagram))
    );
}

#[test]
fn a_new_ingress_rule_holds_from_the_next_packet_without_a_handshake() {
    let mut world = World::connected_pair();
    world.seen.clear();
    let closed = PeerConfig {
        ingress: Vec::new(),
        ..peer(1)
    };
    world.set_peer(2, closed);
    assert!(!world.passes(1, 2, b"no longer permitted"));
    world.set_peer(2, peer(1));
    assert!(world.passes(1, 2, b"permitted again"));
    assert!(
        !world
            .seen
            .iter()
            .any(|(_, _, datagram)| is_initiation(datagram))
    );
    assert_eq!(world.status(2, 1).drops.filtered.no_rule, 1);
}

#[test]
fn a_permission_counts_what_it_admits_while_others_come_and_go() {
    let mut world = World::connected_pair();
    let admitted = |world: &mut World| -> u64 {
        let rules = world.status(2, 1).rules;
        rules.iter().map(|status| status.admitted).sum()
    };
    let before = admitted(&mut world);
    assert!(world.passes(1, 2, b"one"));
    let mut more = peer(1);
    more.ingress.insert(0, Allow::tcp(9..=9));
    world.set_peer(2, more);
    assert!(world.passes(1, 2, b"two"));
    assert_eq!(admitted(&mut world), before + 2);
}

#[test]
fn a_flood_of_initiations_is_stopped_before_any_key_work() {
    let mut world = World::pair();
    let (_, initiation) = world.take(1).remove(0);
    for _ in 0..1000 {
        world.deliver(2, at(9), &initiation);
    }
    assert!(world.device(2).counters().flooded >= 790);
}

#[test]
fn under_load_a_cookie_is_asked_for_and_then_accepted() {
    let mut world = World::pair();
    let (_, initiation) = world.take(1).remove(0);
    let mut forged = initiation.clone();
    let mut answers = 0;
    for n in 0..1500u32 {
        // Different prefixes, as a flood with forged sources has; the wrong content costs us the key work.
        let source = Path::Udp {
            local: Some(0),
            remote: ([10 + (n >> 8) as u8, n as u8, 1, 1], 1000).into(),
        };
        forged.copy_from_slice(&initiation);
        world.deliver(2, source, &forged);
        answers += world.take(2).len();
    }
    assert!(answers > 0 && world.device(2).counters().cookies_sent > 500);
    let again = |world: &mut World| {
        let now = world.now;
        let device = world.device(1);
        let index = *device.peers.keys().next().unwrap();
        device
            .peers
            .get_mut(&index)
            .unwrap()
            .initiate(now, &mut device.wire);
    };
    // The real initiator is sent a cookie, too, and its next initiation carries the proof.
    again(&mut world);
    world.settle();
    assert_eq!(world.handshakes(1, 2), 0);
    let endpoint = world.status(1, 2).endpoint;
    assert_eq!(endpoint, None, "a cookie reply proves nothing");
    again(&mut world);
    world.settle();
    assert_eq!(world.handshakes(1, 2), 1);
}

#[test]
fn a_stranger_gets_no_answer() {
    let mut world = World::new([1, 2]);
    world.set_peer(1, dialled(2));
    world.settle();
    assert!(world.seen.iter().all(|(from, _, _)| *from == 1));
    assert_eq!(world.device(2).counters().unknown_peer, 1);
}

#[test]
fn without_an_endpoint_nothing_is_queued_and_the_loss_is_counted() {
    let mut world = World::new([1, 2]);
    world.set_peer(2, peer(1));
    world.send(2, &packet(2, 1, b"where to?"));
    assert!(world.take(2).is_empty());
    assert_eq!(world.status(2, 1).drops.no_endpoint, 1);
}

#[test]
fn full_queues_drop_and_count() {
    let mut world = World::connected_pair();
    for _ in 0..MAX_DONE + 10 {
        world.send(1, &packet(1, 2, b"x"));
        for (_, datagram) in world.take(1) {
            world.deliver(2, at(1), &datagram);
        }
    }
    assert_eq!(world.device(2).counters().packets_dropped, 10);
    for _ in 0..MAX_TRANSMITS + 7 {
        world.send(1, &packet(1, 2, b"x"));
    }
    assert_eq!(world.device(1).counters().transmits_dropped, 7);
}

#[test]
fn a_refused_port_is_reported_for_the_peers_that_may_be_there() {
    let mut world = World::pair();
    let now = world.now;
    world.device(1).handle_port_unreachable(address(2), now);
    world.device(1).handle_port_unreachable(address(9), now);
    let unreachable = TunnelEvent::PortUnreachable {
        peer: key(2).public_key(),
        endpoint: address(2),
    };
    assert_eq!(world.events(1), vec![unreachable]);
    assert_eq!(
        world.status(1, 2).port_unreachable_age,
        Some(Duration::ZERO)
    );
    world.settle();
    assert_eq!(
        world.status(1, 2).port_unreachable_age,
        None,
        "a handshake disproves it"
    );
}

#[test]
fn a_rebind_tells_the_peers_where_we_are() {
    let mut world = World::connected_pair();
    let now = world.now;
    world.device(1).handle_rebind(now);
    let (_, keepalive) = world.take(1).remove(0);
    world.deliver(2, at(9), &keepalive);
    assert_eq!(world.status(2, 1).endpoint, Some(address(9)));
}

#[test]
fn a_refresh_finds_a_peer_that_lost_its_sessions_by_a_restart() {
    let mut world = World::connected_pair();
    let restarted = Device::new(&config(2), world.now).unwrap();
    world.devices.insert(2, restarted);
    world.set_peer(2, peer(1));
    assert!(!world.passes(1, 2, b"into the void"));
    let now = world.now;
    world.device(1).handle_refresh(now);
    world.settle();
    assert!(world.passes(2, 1, b"back again"));
    assert!(world.passes(1, 2, b"and forth"));
}

#[test]
fn session_indexes_are_never_shared() {
    let mut world = World::new([1]);
    for n in 2..200 {
        world.set_peer(1, peer(n));
    }
    assert_eq!(world.device(1).by_session.len(), 198);
}

#[test]
fn our_own_key_is_no_peer() {
    let mut world = World::new([1]);
    let now = world.now;
    assert!(matches!(
        world.device(1).set_peer(peer(1), now),
        Err(TunnelError::OwnKey)
    ));
}

/// A TCP super-packet of the kernel, from 1 to 2.
fn super_packet(payload: &[u8], flags: u8) -> Vec<u8> {
    let mut packet = build::tcp("10.0.0.1:4000", "10.0.0.2:80", flags);
    packet.extend(payload);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet
}

fn send_super_packet(world: &mut World, packet: &[u8], work: Work) {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + PADDING_BYTES, 0xaa);
    let now = world.now;
    world
        .device(1)
        .handle_super_packet(&mut buffer, packet.len(), work, now);
}

const ALL: Joins = Joins {
    tcp: true,
    udp: true,
};

#[test]
fn a_super_packet_crosses_the_tunnel_in_one_batch_and_is_one_again() {
    let mut world = World::connected_pair();
    let mut open = peer(1);
    open.ingress = vec![Allow::tcp(80..=80)];
    world.set_peer(2, open);
    world.device(2).set_joins(ALL);
    let payload: Vec<u8> = (0..40_000u32).map(|n| (n % 253) as u8).collect();
    let work = Work::Cut {
        payload_bytes: 1200,
    };
    send_super_packet(&mut world, &super_packet(&payload, 0x18), work);
    let batch = world.device(1).poll_transmit().unwrap();
    assert_eq!(
        (batch.count(), batch.segment_bytes),
        (34, 1240 + 8 + DATA_OVERHEAD_BYTES)
    );
    assert_eq!(world.device(1).poll_transmit(), None);
    let now = world.now;
    let stride = batch.segment_bytes;
    world
        .device(2)
        .handle_datagrams(at(1), &batch.payload, stride, now);
    let arrival = world.device(2).poll_packet().unwrap();
    assert_eq!(arrival.work, work);
    assert_eq!(arrival.packet[40..], payload);
    assert_eq!(world.device(2).poll_packet(), None);
    assert_eq!(world.device(2).filter_counters().admitted_by_rule, 34);
}

#[test]
fn a_run_that_is_not_permitted_stops_at_every_segment() {
    let mut world = World::connected_pair();
    world.device(2).set_joins(ALL);
    let work = Work::Cut { payload_bytes: 500 };
    send_super_packet(&mut world, &super_packet(&[7; 5000], 0x10), work);
    world.settle();
    assert!(world.packets(2).is_empty());
    assert_eq!(world.status(2, 1).drops.filtered.total(), 10);
}

#[test]
fn a_rule_that_is_taken_away_ends_a_run() {
    let mut world = World::connected_pair();
    let open = PeerConfig {
        ingress: vec![Allow::tcp(80..=80)],
        ..peer(1)
    };
    world.set_peer(2, open);
    world.device(2).set_joins(ALL);
    let work = Work::Cut { payload_bytes: 500 };
    send_super_packet(&mut world, &super_packet(&[7; 5000], 0x10), work);
    let datagrams = world.take(1);
    for (number, (_, datagram)) in datagrams.iter().enumerate() {
        if number == 4 {
            world.set_peer(2, peer(1));
        }
        world.deliver(2, at(1), datagram);
    }
    let arrived: usize = world
        .packets(2)
        .iter()
        .map(|packet| packet.len() - 40)
        .sum();
    assert_eq!(arrived, 4 * 500);
    assert_eq!(world.status(2, 1).drops.filtered.total(), 6);
}

#[test]
fn work_that_the_packet_contradicts_is_counted_and_forgotten() {
    let mut world = World::connected_pair();
    let udp = packet(1, 2, b"x");
    let works = [
        Work::Checksum {
            start: 20,
            offset: 10,
        },
        Work::Checksum {
            start: 4000,
            offset: 6,
        },
        Work::Cut { payload_bytes: 0 },
    ];
    for work in works {
        send_super_packet(&mut world, &udp, work);
    }
    let icmp = build::icmp([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 8, 1, &[0; 2000]);
    send_super_packet(&mut world, &icmp, Work::Cut { payload_bytes: 100 });
    assert!(
        world
            .take(1)
            .iter()
            .all(|(_, datagram)| datagram.len() < 100)
    );
    assert_eq!(world.device(1).counters().malformed_packets, 4);
}

#[test]
fn an_idle_node_wakes_once_a_second_and_an_idle_hub_once_in_five() {
    let mut world = World::new([1, 2]);
    world.set_peer(2, peer(1));
    world.set_peer(
        1,
        PeerConfig {
            keepalive_s: Some(25),
            ..dialled(2)
        },
    );
    world.settle();
    world.tick(Duration::from_secs(30));
    world.settle();
    for (number, wakes) in [(1, 60), (2, 12)] {
        let end = world.now + Duration::from_secs(60);
        let mut woken = 0;
        while let Some(at) = world.device(number).poll_timeout().filter(|at| *at < end) {
            world.device(number).handle_timeout(at);
            woken += 1;
        }
        assert!(
            (1..=wakes).contains(&woken),
            "device {number} woke {woken} times"
        );
    }
}

#[test]
fn thousands_of_idle_peers_are_looked_at_together() {
    let mut world = World::new([9]);
    let now = world.now;
    for n in 0..3000u32 {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        let peer = PeerConfig::new(PrivateKey::from_bytes(key).public_key());
        let at = now + Duration::from_micros(u64::from(n) * 700);
        world.device(9).set_peer(peer, at).unwrap();
    }
    world.tick(Duration::from_secs(10));
    let end = world.now + Duration::from_secs(20);
    let mut woken = 0;
    while let Some(at) = world.device(9).poll_timeout().filter(|at| *at < end) {
        world.device(9).handle_timeout(at);
        woken += 1;
    }
    assert!((1..=80).contains(&woken), "{woken} wake-ups in 20 s");
}

#[test]
fn a_peer_that_is_used_after_a_rest_is_ticked_first() {
    let mut world = World::connected_pair();
    world.tick(Duration::from_secs(30));
    let now = world.now + Duration::from_secs(3);
    world.now = now;
    expire(&mut world, 1);
    world.send(1, &packet(1, 2, b"x"));
    let unanswered = TunnelEvent::HandshakeUnanswered {
        peer: key(2).public_key(),
    };
    assert!(
        world.events(1).contains(&unanswered),
        "the machine was asked before it was used"
    );
}

#[test]
fn an_idle_device_without_peers_wants_no_timer() {
    let mut world = World::new([1]);
    assert_eq!(world.device(1).poll_timeout(), None);
}

const MAX_SETTLE_ROUNDS: usize = 20;
