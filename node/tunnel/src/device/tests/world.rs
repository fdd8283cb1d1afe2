//! Devices on a wire that the test controls: every datagram can be lost, kept, repeated, moved or changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::{Allow, PeerConfig, TunnelConfig};
use crate::device::Device;
use crate::key::PrivateKey;
use crate::noise::Kind;
use crate::packet::build;
use crate::path::Path;
use crate::status::{PeerStatus, TunnelEvent};

/// Devices by number; device `n` is at 192.0.2.n on the underlay and 10.0.0.n on the overlay.
pub(super) struct World {
    pub(super) devices: BTreeMap<u8, Device>,
    pub(super) now: Instant,
    /// Every datagram that was ever on the wire: sender, path, bytes.
    pub(super) seen: Vec<(u8, SocketAddr, Vec<u8>)>,
}

impl World {
    pub(super) fn new(numbers: impl IntoIterator<Item = u8>) -> Self {
        let now = Instant::now();
        let device = |n: u8| (n, Device::new(&config(n), now).unwrap());
        Self {
            devices: numbers.into_iter().map(device).collect(),
            now,
            seen: Vec::new(),
        }
    }

    /// Two devices that know each other; 1 dials 2.
    pub(super) fn pair() -> Self {
        let mut world = Self::new([1, 2]);
        world.set_peer(2, peer(1));
        world.set_peer(1, dialled(2));
        world
    }

    pub(super) fn connected_pair() -> Self {
        let mut world = Self::pair();
        world.settle();
        assert_eq!(world.handshakes(1, 2), 1);
        world
    }

    pub(super) fn device(&mut self, n: u8) -> &mut Device {
        self.devices.get_mut(&n).unwrap()
    }

    pub(super) fn set_peer(&mut self, at: u8, config: PeerConfig) {
        let now = self.now;
        self.device(at).set_peer(config, now).unwrap();
    }

    pub(super) fn send(&mut self, from: u8, packet: &[u8]) {
        let now = self.now;
        self.device(from).handle_packet(packet, now);
    }

    /// Takes what a device wants to send, without delivering it.
    pub(super) fn take(&mut self, from: u8) -> Vec<(SocketAddr, Vec<u8>)> {
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

    pub(super) fn deliver(&mut self, to: u8, source: Path, datagram: &[u8]) {
        let now = self.now;
        self.device(to).handle_datagram(source, datagram, now);
    }

    /// Delivers everything until the wire is quiet.
    pub(super) fn settle(&mut self) {
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

    pub(super) fn tick(&mut self, by: Duration) {
        self.now += by;
        let now = self.now;
        for device in self.devices.values_mut() {
            device.handle_timeout(now);
        }
    }

    pub(super) fn packets(&mut self, at: u8) -> Vec<Vec<u8>> {
        let arrivals = std::iter::from_fn(|| self.device(at).poll_packet());
        arrivals.map(|arrival| arrival.packet.to_vec()).collect()
    }

    pub(super) fn events(&mut self, at: u8) -> Vec<TunnelEvent> {
        std::iter::from_fn(|| self.device(at).poll_event()).collect()
    }

    pub(super) fn handshakes(&mut self, at: u8, with: u8) -> usize {
        let completed = TunnelEvent::HandshakeCompleted {
            peer: key(with).public_key(),
        };
        self.events(at)
            .into_iter()
            .filter(|event| *event == completed)
            .count()
    }

    pub(super) fn status(&mut self, at: u8, of: u8) -> PeerStatus {
        let now = self.now;
        let wanted = key(of).public_key();
        let all = self.device(at).peers(now);
        all.into_iter()
            .find(|status| status.public_key == wanted)
            .unwrap()
    }

    /// A packet of this body goes from one node to another.
    pub(super) fn passes(&mut self, from: u8, to: u8, body: &[u8]) -> bool {
        let packet = packet(from, to, body);
        self.send(from, &packet);
        self.settle();
        self.packets(to).contains(&packet)
    }
}

pub(super) fn key(n: u8) -> PrivateKey {
    PrivateKey::from_bytes([n; 32])
}

pub(super) fn config(n: u8) -> TunnelConfig {
    let v6 = format!("fd00::{n}/64");
    TunnelConfig::new(
        key(n),
        vec![
            format!("10.0.0.{n}/24").parse().unwrap(),
            v6.parse().unwrap(),
        ],
    )
}

pub(super) fn peer(n: u8) -> PeerConfig {
    let mut peer = PeerConfig::new(key(n).public_key());
    peer.allowed_ips = vec![
        format!("10.0.0.{n}/32").parse().unwrap(),
        format!("fd00::{n}/128").parse().unwrap(),
    ];
    peer.ingress = vec![Allow::udp(7..=7)];
    peer
}

pub(super) fn dialled(n: u8) -> PeerConfig {
    PeerConfig {
        endpoints: vec![address(n)],
        ..peer(n)
    }
}

pub(super) fn address(n: u8) -> SocketAddr {
    ([192, 0, 2, n], 51820).into()
}

pub(super) fn at(n: u8) -> Path {
    Path::Udp {
        local: Some(0),
        remote: address(n),
    }
}

pub(super) fn number_at(remote: SocketAddr) -> Option<u8> {
    (1..=9).find(|n| address(*n) == remote)
}

pub(super) fn packet(from: u8, to: u8, body: &[u8]) -> Vec<u8> {
    build::udp(&format!("10.0.0.{from}:7"), &format!("10.0.0.{to}:7"), body)
}

pub(super) fn is_initiation(datagram: &[u8]) -> bool {
    Kind::of(datagram) == Some(Kind::Initiation)
}

pub(super) fn expire(world: &mut World, at: u8) {
    let device = world.device(at);
    device
        .peers
        .values_mut()
        .next()
        .unwrap()
        .noise_mut()
        .expire();
}

const MAX_SETTLE_ROUNDS: usize = 20;
