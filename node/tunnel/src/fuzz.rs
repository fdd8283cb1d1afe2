//! Entry points for fuzzing: any bytes must be judged without a panic. Only tests and fuzzers call them.

mod bound;
mod carried;
mod joined;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{Allow, PeerConfig, TunnelConfig};
use crate::device::Device;
use crate::error::TunnelError;
use crate::filter::{Filter, Verdict};
use crate::ingress::Ingress;
use crate::key::{PrivateKey, RelayKey};
use crate::netstack::fuzz_stack;
use crate::noise::Kind;
use crate::offload::cut::PADDING_BYTES;
use crate::offload::join::Joins;
use crate::offload::vnet::{HEADER_BYTES, Work};
use crate::path::{ChannelId, Path};
use crate::peer::PeerIndex;
use crate::relay::{ChannelGrant, RelayGrant, RelayPair};

pub use bound::bound;
pub use carried::carried;
pub use joined::joined;

/// A datagram from the underlay, at a device with a live session. Bytes that claim to belong to a session are also tried with
/// the number of the live one, which an eavesdropper knows.
pub fn datagram(data: &[u8]) {
    let mut pair = PAIR.lock().unwrap_or_else(PoisonError::into_inner);
    let pair =
        pair.get_or_insert_with(|| Pair::connected().expect("the fixed configuration is valid"));
    let now = Instant::now();
    pair.right.handle_datagram(underlay(1), data, now);
    if matches!(
        Kind::of(data),
        Some(Kind::Data { .. } | Kind::Cookie { .. } | Kind::Response { .. })
    ) {
        let mut aimed = data.to_vec();
        // Responses carry the receiver after the sender.
        let at = if data[0] == 2 { 8 } else { 4 };
        aimed[at..at + 4].copy_from_slice(&pair.session);
        pair.right.handle_datagram(underlay(1), &aimed, now);
    }
    drain(&mut pair.right);
}

/// A frame between node and relay, at a hub that relays for two nodes and at a node with a channel. Frames are also tried
/// with a live channel's number.
pub fn relay_frame(data: &[u8]) {
    let mut relayed = RELAYED.lock().unwrap_or_else(PoisonError::into_inner);
    let relayed =
        relayed.get_or_insert_with(|| Relayed::start().expect("the fixed configuration is valid"));
    let now = Instant::now();
    let mut aimed = data.to_vec();
    if let Some(channel) = aimed.get_mut(4..8) {
        channel.copy_from_slice(&CHANNELS[0].0.to_be_bytes());
    }
    for frame in [data, &aimed] {
        for device in [&mut relayed.hub, &mut relayed.node] {
            device.handle_datagram(underlay(1), frame, now);
            drain(device);
        }
    }
}

/// A packet that a permitted peer sends through the tunnel: device, filter and TCP/IP stack.
pub fn packet(data: &[u8]) {
    let mut pair = PAIR.lock().unwrap_or_else(PoisonError::into_inner);
    let pair =
        pair.get_or_insert_with(|| Pair::connected().expect("the fixed configuration is valid"));
    let now = Instant::now();
    pair.left.handle_packet(data, now);
    pair.exchange(now);
    fuzz_stack(&config(1), data, now);
}

/// What a TUN device hands over: ten bytes that say what is left to do, and a packet. What is cut from it goes to a device that
/// joins it again.
pub fn tun_frame(data: &[u8]) {
    let Some((header, packet)) = data.split_first_chunk::<HEADER_BYTES>() else {
        return;
    };
    let Ok(work) = Work::parse(header) else {
        return;
    };
    let mut pair = JOINING.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = pair.get_or_insert_with(|| {
        let mut pair = Pair::connected().expect("the fixed configuration is valid");
        pair.right.set_joins(Joins {
            tcp: true,
            udp: true,
        });
        pair
    });
    let now = Instant::now();
    let bytes = packet.len().min(usize::from(u16::MAX));
    let mut buffer = packet[..bytes].to_vec();
    buffer.resize(bytes + PADDING_BYTES, 0);
    pair.left.handle_super_packet(&mut buffer, bytes, work, now);
    pair.exchange(now);
}

/// Packets that pass the filter one after another, each behind two bytes: direction, peer and pause; its length. A peer that
/// may open nothing, and to which nothing was sent, must be refused whatever it sends.
pub fn filter(data: &[u8]) {
    let own = config(1).addresses.iter().map(|net| net.addr()).collect();
    let mut filter = Filter::new(own);
    let rules = [Allow::tcp(80..=443), Allow::udp(53..=53), Allow::icmp()];
    let (mut known, mut stranger) = (Ingress::new(&rules), Ingress::new(&[]));
    let mut now = Instant::now();
    let mut rest = data;
    while let [head, length, tail @ ..] = rest {
        let (packet, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        now += PAUSES[usize::from(head >> 2 & 3)];
        match head & 3 {
            0 | 1 => filter.leave(PeerIndex(1), &known, packet, now),
            2 => {
                filter.enter(PeerIndex(1), &mut known, packet, now);
            }
            _ => {
                let verdict = filter.enter(PeerIndex(2), &mut stranger, packet, now);
                assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
            }
        }
    }
}

static PAIR: Mutex<Option<Pair>> = Mutex::new(None);

static JOINING: Mutex<Option<Pair>> = Mutex::new(None);

static RELAYED: Mutex<Option<Relayed>> = Mutex::new(None);

/// A hub, and a node that was granted a channel on it.
struct Relayed {
    hub: Device,
    node: Device,
}

impl Relayed {
    fn start() -> Result<Self, TunnelError> {
        let now = Instant::now();
        let mut hub = Device::new(&config(1), now)?;
        let end = |channel| ChannelGrant {
            channel,
            key: RelayKey::from_bytes([7; 32]),
            node: peer(2).public_key,
        };
        let [a, b] = CHANNELS.map(end);
        hub.set_relay_pairs(vec![RelayPair { a, b }], now)?;
        let mut node = Device::new(&config(2), now)?;
        let mut hub_peer = peer(1);
        hub_peer.endpoints = underlay(1).remote().into_iter().collect();
        let mut other = peer(3);
        other.relay = Some(RelayGrant {
            channel: CHANNELS[0],
            key: RelayKey::from_bytes([7; 32]),
            via: hub_peer.public_key,
        });
        node.set_peer(hub_peer, now)?;
        node.set_peer(other, now)?;
        Ok(Self { hub, node })
    }
}

/// Two devices that have shaken hands.
struct Pair {
    left: Device,
    right: Device,
    /// The number of the live session at `right`, as it is on the wire.
    session: [u8; 4],
}

impl Pair {
    fn connected() -> Result<Self, TunnelError> {
        let now = Instant::now();
        let mut pair = Self {
            left: Device::new(&config(1), now)?,
            right: Device::new(&config(2), now)?,
            session: [0; 4],
        };
        pair.right.set_peer(peer(1), now)?;
        let mut left_peer = peer(2);
        left_peer.endpoints = underlay(2).remote().into_iter().collect();
        pair.left.set_peer(left_peer, now)?;
        pair.exchange(now);
        Ok(pair)
    }

    fn exchange(&mut self, now: Instant) {
        for _ in 0..EXCHANGE_ROUNDS {
            while let Some(transmit) = self.left.poll_transmit() {
                if matches!(Kind::of(&transmit.payload), Some(Kind::Data { .. })) {
                    self.session.copy_from_slice(&transmit.payload[4..8]);
                }
                let stride = transmit.segment_bytes;
                self.right
                    .handle_datagrams(underlay(1), &transmit.payload, stride, now);
            }
            while let Some(transmit) = self.right.poll_transmit() {
                let stride = transmit.segment_bytes;
                self.left
                    .handle_datagrams(underlay(2), &transmit.payload, stride, now);
            }
        }
        drain(&mut self.left);
        drain(&mut self.right);
    }
}

fn drain(device: &mut Device) {
    while device.poll_transmit().is_some() {}
    while device.poll_packet().is_some() {}
    while device.poll_event().is_some() {}
}

fn config(number: u8) -> TunnelConfig {
    let v4 = format!("10.0.0.{number}/24").parse().expect("written here");
    let v6 = format!("fd00::{number}/64").parse().expect("written here");
    TunnelConfig::new(PrivateKey::from_bytes([number; 32]), vec![v4, v6])
}

fn peer(number: u8) -> PeerConfig {
    let mut peer = PeerConfig::new(PrivateKey::from_bytes([number; 32]).public_key());
    peer.allowed_ips = vec![
        "0.0.0.0/0".parse().expect("written here"),
        "::/0".parse().expect("written here"),
    ];
    peer.ingress = vec![
        Allow::tcp(0..=u16::MAX),
        Allow::udp(0..=u16::MAX),
        Allow::icmp(),
    ];
    peer
}

fn underlay(number: u8) -> Path {
    Path::Udp {
        local: Some(0),
        remote: ([192, 0, 2, number], 51820).into(),
    }
}

const CHANNELS: [ChannelId; 2] = [ChannelId(1), ChannelId(2)];
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_secs(60),
    Duration::from_secs(240),
    Duration::from_secs(7_440),
];
/// A handshake and its first keepalive take three.
const EXCHANGE_ROUNDS: usize = 3;
