//! Entry point for fuzzing how arriving segments of several flows are joined. It describes packets rather than holding them,
//! since chance never finds a checksum.

use std::collections::BTreeMap;

use crate::offload::cut::{Cutter, PADDING_BYTES};
use crate::offload::join::{Arrival, Joiner, Joins};
use crate::offload::layout::{
    Family, IPV4_CHECKSUM_AT, IPV4_ID_AT, Layout, TCP_SEQUENCE_AT, put16,
};
use crate::offload::vnet::{Work, complete};

/// Segments one after the other, each described by four bytes or six: flow, peculiarities, length, and a changed byte. Whatever is
/// joined, each flow comes out in its order, byte for byte but for numbers without meaning.
pub fn joined(data: &[u8]) {
    let mut joiner = Joiner::new(Joins {
        tcp: true,
        udp: true,
    });
    let mut flows = BTreeMap::new();
    let (mut sent, mut came) = (Vec::new(), Vec::new());
    let mut rest = data;
    for _ in 0..MAX_SEGMENTS {
        let Some(segment) = Segment::read(&mut rest) else {
            break;
        };
        let packet = segment.packet(flows.entry(segment.flow).or_default());
        join(&mut joiner, &packet, segment.peer());
        sent.push(packet);
        if segment.is(DRAINED) {
            came.extend(std::iter::from_fn(|| joiner.poll_closed()).flat_map(cut));
        }
    }
    came.extend(std::iter::from_fn(|| joiner.poll()).flat_map(cut));
    assert_eq!(joiner.dropped(), 0);
    assert_eq!(by_flow(&sent), by_flow(&came));
}

/// What comes next in one flow.
#[derive(Default)]
struct Next {
    id: u16,
    sequence: u32,
}

struct Segment {
    flow: u8,
    peculiarities: u8,
    payload_bytes: usize,
    /// Where, and which bits.
    change: Option<[u8; 2]>,
}

impl Segment {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        let [flow, peculiarities, high, low, tail @ ..] = *rest else {
            return None;
        };
        let change = match tail {
            [at, bits, ..] if peculiarities & CHANGED != 0 => Some([*at, *bits]),
            _ => None,
        };
        *rest = tail.get(change.map_or(0, |change| change.len())..)?;
        Some(Self {
            flow: flow & 0x1f,
            peculiarities: *peculiarities,
            payload_bytes: usize::from(u16::from_be_bytes([*high, *low])) % MAX_PAYLOAD_BYTES,
            change,
        })
    }

    fn is(&self, peculiarity: u8) -> bool {
        self.peculiarities & peculiarity != 0
    }

    /// Who sends it; also part of its source address.
    fn peer(&self) -> u8 {
        self.flow >> 4
    }

    fn packet(&self, next: &mut Next) -> Vec<u8> {
        let (ipv6, udp) = (self.flow & 1 != 0, self.flow & 2 != 0);
        let payload: Vec<u8> = (0..self.payload_bytes).map(|at| (at % 251) as u8).collect();
        if self.is(GAP) {
            next.sequence = next.sequence.wrapping_add(1);
        }
        let transport = self.transport(udp, next.sequence, &payload);
        let mut packet = self.ip(ipv6, udp, next.id, transport.len());
        let at = packet.len();
        packet.extend(transport);
        next.sequence = next.sequence.wrapping_add(self.payload_bytes as u32);
        next.id = next.id.wrapping_add(u16::from(!self.is(STILL)));
        if let Some([at, bits]) = self.change {
            let at = usize::from(at) % packet.len();
            packet[at] ^= bits;
        }
        self.seal(&mut packet, at);
        packet
    }

    fn transport(&self, udp: bool, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let port = 1000 + u16::from(self.flow >> 2 & 3);
        let mut bytes = [port.to_be_bytes(), 443u16.to_be_bytes()].concat();
        if udp {
            bytes.extend((8 + payload.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
        } else {
            let options_bytes = if self.is(OPTIONS) { 12 } else { 0 };
            let push = if self.is(PUSH) { 0x08 } else { 0 };
            let fin = if self.is(FIN) { 0x01 } else { 0 };
            bytes.extend(sequence.to_be_bytes());
            bytes.extend(7u32.to_be_bytes());
            bytes.extend([((20 + options_bytes) / 4 * 16) as u8, 0x10 | push | fin]);
            bytes.extend([1, 2, 0, 0, 0, 0]);
            bytes.extend(vec![1; options_bytes]);
        }
        bytes.extend(payload);
        bytes
    }

    fn ip(&self, ipv6: bool, udp: bool, id: u16, bytes: usize) -> Vec<u8> {
        let protocol = if udp { 17 } else { 6 };
        let mut packet = Vec::new();
        if ipv6 {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((bytes as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend([0xfd; 15]);
            packet.push(self.peer());
            packet.extend([0xfe; 16]);
        } else {
            let whole = if self.is(STILL) { 0x40 } else { 0 };
            packet.extend([0x45, 0]);
            packet.extend((20 + bytes as u16).to_be_bytes());
            packet.extend(id.to_be_bytes());
            packet.extend([whole, 0, 64, protocol, 0, 0]);
            packet.extend([10, 0, 1, self.peer(), 10, 0, 0, 2]);
        }
        packet
    }

    /// Right checksums for whatever the packet has become, unless they are to be wrong.
    fn seal(&self, packet: &mut [u8], transport_at: usize) {
        let Some(layout) = Layout::of(packet) else {
            return;
        };
        if layout.family == Family::V4 {
            put16(packet, IPV4_CHECKSUM_AT, 0);
            let header = &mut packet[..layout.transport_at];
            let _ = complete(header, 0, IPV4_CHECKSUM_AT);
        }
        if self.is(GAP) && self.is(STILL) || layout.transport_at != transport_at {
            return;
        }
        let offset = layout.checksum_offset();
        let length = (packet.len() - transport_at) as u16;
        let partial = layout.pseudo_header(packet).u16(length).partial();
        packet[transport_at + offset..transport_at + offset + 2].copy_from_slice(&partial);
        let _ = complete(packet, transport_at, offset);
    }
}

/// As the device does it.
fn join(joiner: &mut Joiner<u8>, packet: &[u8], peer: u8) {
    // What is opened carries padding and a tag that are not part of the packet.
    let opened_bytes = packet.len() + PADDING_BYTES;
    joiner.land(opened_bytes)[..packet.len()].copy_from_slice(packet);
    let own = |label: &u8| *label == peer;
    if joiner.extend(packet.len(), own).is_some() {
        return;
    }
    joiner.lift(packet.len());
    assert_eq!(joiner.lifted(packet.len()), packet);
    if joiner.append(packet.len(), own).is_none() {
        joiner.start(packet.len(), peer);
    }
}

fn cut(arrival: Arrival) -> Vec<Vec<u8>> {
    let Work::Cut { payload_bytes } = arrival.work else {
        return vec![arrival.packet.to_vec()];
    };
    let bytes = arrival.packet.len();
    let mut buffer = arrival.packet.to_vec();
    buffer.resize(bytes + PADDING_BYTES, 0);
    let cutter = Cutter::new(&mut buffer, bytes, payload_bytes);
    let mut cutter = cutter.expect("what was joined can be cut");
    let mut segments = Vec::new();
    while let Some(range) = cutter.next() {
        let segment = cutter.buffer()[range].to_vec();
        let layout = Layout::of(&segment).expect("a segment is a packet");
        assert!(layout.is_intact(&segment));
        segments.push(segment);
    }
    segments
}

type Flows = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// The packets of each flow in their order; what has no ports is a flow of its own.
fn by_flow(packets: &[Vec<u8>]) -> Flows {
    let mut flows = Flows::new();
    for packet in packets {
        let layout = Layout::of(packet);
        let key = layout.map_or_else(Vec::new, |it| {
            let addresses = match it.family {
                Family::V4 => &packet[12..20],
                Family::V6 => &packet[8..40],
            };
            let ports = &packet[it.transport_at..it.transport_at + TCP_SEQUENCE_AT];
            [&[it.checksum_offset() as u8], addresses, ports].concat()
        });
        flows.entry(key).or_default().push(plain(packet, layout));
    }
    flows
}

/// Without what may change on the way: checksums have two forms of zero, and an identifier says nothing where nothing is
/// fragmented (RFC 6864 §4.1).
fn plain(packet: &[u8], layout: Option<Layout>) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let Some(layout) = layout.filter(|it| it.is_intact(&packet)) else {
        return packet;
    };
    put16(
        &mut packet,
        layout.transport_at + layout.checksum_offset(),
        0,
    );
    if layout.family == Family::V4 {
        put16(&mut packet, IPV4_CHECKSUM_AT, 0);
        put16(&mut packet, IPV4_ID_AT, 0);
    }
    packet
}

const PUSH: u8 = 0x01;
const FIN: u8 = 0x02;
const GAP: u8 = 0x04;
/// The identifier stands still, and the packet may not be fragmented. With [`GAP`] the checksum is wrong.
const STILL: u8 = 0x08;
const OPTIONS: u8 = 0x10;
const CHANGED: u8 = 0x20;
const DRAINED: u8 = 0x40;
const MAX_SEGMENTS: usize = 100;
const MAX_PAYLOAD_BYTES: usize = 9217;
