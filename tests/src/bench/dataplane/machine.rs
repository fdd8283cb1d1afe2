//! What Malha's tunnel costs without any I/O: two devices that hand each other a TCP stream in super-packets, in one thread.
//! What is above sealing and opening alone is the tunnel's own handling.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malha_tunnel::{
    Allow, Device, Joins, Path, PeerConfig, PrivateKey, Protocol, TunnelConfig, Work,
};

use super::meter::busy_thread;

/// Processor time of both devices to carry one GB of a TCP stream from one to the other.
pub(super) fn machine_s_per_gb() -> Result<f64> {
    let now = Instant::now();
    let [mut near, mut far] = devices(now)?;
    let (to_far, to_near) = (Path::udp(address(1)), Path::udp(address(0)));
    let mut stream = Stream::default();
    let mut room = vec![0; ROOM_BYTES];
    // The first packet waits for the handshake.
    stream.next(&mut room);
    let work = Work::Cut {
        payload_bytes: PAYLOAD_BYTES,
    };
    near.handle_super_packet(&mut room, SUPER_PACKET_BYTES, work, now);
    for _ in 0..HANDSHAKE_TURNS {
        carry(&mut near, &mut far, to_near, now);
        carry(&mut far, &mut near, to_far, now);
    }
    while far.poll_packet().is_some() {}
    let mut arrived_bytes = 0;
    let before = busy_thread()?;
    for turn in 0..SUPER_PACKETS {
        let now = now + TURN * turn as u32;
        stream.next(&mut room);
        near.handle_super_packet(&mut room, SUPER_PACKET_BYTES, work, now);
        carry(&mut near, &mut far, to_near, now);
        while let Some(arrival) = far.poll_packet() {
            arrived_bytes += arrival.packet.len().saturating_sub(HEADER_BYTES);
            far.recycle_packet(arrival);
        }
    }
    let used = busy_thread()?.saturating_sub(before).as_secs_f64();
    let sent_bytes = SUPER_PACKETS * SEGMENTS * PAYLOAD_BYTES;
    ensure!(
        arrived_bytes == sent_bytes,
        "of {sent_bytes} bytes {arrived_bytes} arrived"
    );
    Ok(used / sent_bytes as f64 * 1e9)
}

/// Everything that one has for the other.
fn carry(from: &mut Device, to: &mut Device, path: Path, now: Instant) {
    while let Some(transmit) = from.poll_transmit() {
        to.handle_datagrams(path, &transmit.payload, transmit.segment_bytes, now);
        from.recycle_transmit(transmit);
    }
}

fn devices(now: Instant) -> Result<[Device; 2]> {
    let keys = [(); 2].map(|()| PrivateKey::generate());
    let end = |at: usize| -> Result<Device> {
        let net = |of: usize| ipnet::Ipv4Net::from(overlay(of)).into();
        let mut config = TunnelConfig::new(keys[at].clone(), vec![net(at)]);
        config.mtu_bytes = MTU_BYTES;
        let mut device = Device::new(&config, now).context("a device")?;
        device.set_joins(Joins {
            tcp: true,
            udp: true,
        });
        let mut peer = PeerConfig::new(keys[1 - at].public_key());
        peer.endpoints = vec![address(1 - at)];
        peer.allowed_ips = vec![net(1 - at)];
        peer.ingress = vec![Allow {
            protocol: Protocol::Tcp,
            ports: PORT..=PORT,
        }];
        device.set_peer(peer, now).context("a peer")?;
        Ok(device)
    };
    Ok([end(0)?, end(1)?])
}

/// The stream's next bytes, with the header that the kernel would give them.
#[derive(Default)]
struct Stream {
    sequence: u32,
}

impl Stream {
    fn next(&mut self, room: &mut [u8]) {
        let [high, low] = (SUPER_PACKET_BYTES as u16).to_be_bytes();
        // The device overwrites all of them with those of the segments.
        room[..4].copy_from_slice(&[0x45, 0, high, low]);
        room[4..12].copy_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
        room[12..16].copy_from_slice(&overlay(0).octets());
        room[16..20].copy_from_slice(&overlay(1).octets());
        room[20..22].copy_from_slice(&40_000u16.to_be_bytes());
        room[22..24].copy_from_slice(&PORT.to_be_bytes());
        room[24..28].copy_from_slice(&self.sequence.to_be_bytes());
        room[28..32].copy_from_slice(&[0; 4]);
        room[32..40].copy_from_slice(&[0x80, ACK, 0xff, 0xff, 0, 0, 0, 0]);
        room[40..52].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]);
        self.sequence = self
            .sequence
            .wrapping_add((SEGMENTS * PAYLOAD_BYTES) as u32);
    }
}

fn address(of: usize) -> SocketAddr {
    ([192, 0, 2, of as u8 + 1], 51_820).into()
}

fn overlay(of: usize) -> Ipv4Addr {
    Ipv4Addr::new(100, 64, 0, of as u8 + 1)
}

const PORT: u16 = 5201;
const ACK: u8 = 0x10;
/// IPv4, TCP and its timestamps.
const HEADER_BYTES: usize = 52;
const MTU_BYTES: usize = 1420;
const PAYLOAD_BYTES: usize = MTU_BYTES - HEADER_BYTES;
const SEGMENTS: usize = 45;
const SUPER_PACKET_BYTES: usize = HEADER_BYTES + SEGMENTS * PAYLOAD_BYTES;
const ROOM_BYTES: usize = 65_536;
/// Initiation, response and confirmation, and more than enough.
const HANDSHAKE_TURNS: usize = 4;
/// Some tens of milliseconds.
const SUPER_PACKETS: usize = 1_000;
/// Between two super-packets, at some 5 Gbit/s.
const TURN: Duration = Duration::from_micros(100);
