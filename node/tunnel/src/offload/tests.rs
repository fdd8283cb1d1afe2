//! What is cut and joined again is what it was, for any traffic that the strategies below can think of.

use proptest::prelude::*;

use super::checksum::Sum;
use super::cut::{Cutter, PADDING_BYTES};
use super::join::{Arrival, Joiner, Joins};
use super::layout::{Layout, be16};
use super::vnet::{HEADER_BYTES, Work, complete};

const ALL: Joins = Joins {
    tcp: true,
    udp: true,
};

/// One flow's header fields.
#[derive(Debug, Clone)]
struct Flow {
    ipv6: bool,
    udp: bool,
    port: u16,
    options_bytes: usize,
    flags: u8,
}

fn flow() -> impl Strategy<Value = Flow> {
    let flags = prop_oneof![Just(0x10), Just(0x18), Just(0x11), Just(0x19), Just(0xd8)];
    (any::<bool>(), any::<bool>(), 1u16..4, 0usize..3, flags).prop_map(
        |(ipv6, udp, port, options, flags)| Flow {
            ipv6,
            udp,
            port,
            options_bytes: options * 12,
            flags,
        },
    )
}

/// A packet with right checksums.
fn packet(flow: &Flow, id: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(flow.port.to_be_bytes());
    segment.extend(443u16.to_be_bytes());
    if flow.udp {
        segment.extend((8 + payload.len() as u16).to_be_bytes());
        segment.extend([0, 0]);
    } else {
        segment.extend(sequence.to_be_bytes());
        segment.extend(7u32.to_be_bytes());
        segment.extend([((20 + flow.options_bytes) / 4 * 16) as u8, flags]);
        segment.extend([1, 2, 0, 0, 0, 0]);
        segment.extend(vec![1; flow.options_bytes]);
    }
    segment.extend(payload);
    let protocol = if flow.udp { 17 } else { 6 };
    let mut packet = Vec::new();
    if flow.ipv6 {
        packet.extend([0x60, 0, 0, 0]);
        packet.extend((segment.len() as u16).to_be_bytes());
        packet.extend([protocol, 64]);
        packet.extend([0xfd; 16]);
        packet.extend([0xfe; 16]);
    } else {
        packet.extend([0x45, 0]);
        packet.extend((20 + segment.len() as u16).to_be_bytes());
        packet.extend(id.to_be_bytes());
        packet.extend([0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let checksum = Sum::default().bytes(&packet).checksum();
        packet[10..12].copy_from_slice(&checksum);
    }
    let at = packet.len();
    packet.extend(segment);
    let layout = Layout::of(&packet).unwrap();
    let length = (packet.len() - at) as u16;
    let partial = layout.pseudo_header(&packet).u16(length).partial();
    let field = at + layout.checksum_offset();
    packet[field..field + 2].copy_from_slice(&partial);
    complete(&mut packet, at, layout.checksum_offset()).unwrap();
    assert!(layout.is_intact(&packet));
    packet
}

fn payload(bytes: usize, seed: u32) -> Vec<u8> {
    (0..bytes as u32)
        .map(|n| (n.wrapping_mul(31).wrapping_add(seed * 7) >> 2) as u8)
        .collect()
}

/// The segments of a transfer: full ones, and a rest that carries the flags.
fn segments(flow: &Flow, payload_bytes: usize, payload: &[u8]) -> Vec<Vec<u8>> {
    let chunks: Vec<_> = payload.chunks(payload_bytes).collect();
    let last = chunks.len() - 1;
    let one = |(number, chunk): (usize, &&[u8])| {
        let mut flags = flow.flags;
        if number < last {
            flags &= !0x09;
        }
        if number > 0 {
            flags &= !0x80;
        }
        let sequence = (u32::MAX - 5000).wrapping_add((number * payload_bytes) as u32);
        packet(
            flow,
            65_530u16.wrapping_add(number as u16),
            sequence,
            flags,
            chunk,
        )
    };
    chunks.iter().enumerate().map(one).collect()
}

/// The same as one super-packet, as a kernel gives it.
fn whole(flow: &Flow, payload: &[u8]) -> Vec<u8> {
    packet(flow, 65_530, u32::MAX - 5000, flow.flags, payload)
}

fn cut(arrival: &Arrival) -> Vec<Vec<u8>> {
    let Work::Cut { payload_bytes } = arrival.work else {
        return vec![arrival.packet.to_vec()];
    };
    let bytes = arrival.packet.len();
    let mut buffer = arrival.packet.to_vec();
    buffer.resize(bytes + PADDING_BYTES, 0);
    let mut cutter = Cutter::new(&mut buffer, bytes, payload_bytes).unwrap();
    let mut all = Vec::new();
    while let Some(range) = cutter.next() {
        all.push(cutter.buffer()[range].to_vec());
    }
    all
}

/// Feeds packets as the device does; the label is the peer's number.
fn join(joiner: &mut Joiner<u8>, packet: &[u8], peer: u8) {
    // What is opened carries padding and a tag that are not part of the packet.
    let opened_bytes = packet.len() + 31;
    let place = joiner.land(opened_bytes);
    place[..packet.len()].copy_from_slice(packet);
    place[packet.len()..opened_bytes].fill(0xee);
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

fn joined(packets: &[Vec<u8>], peer: impl Fn(usize) -> u8) -> Vec<Arrival> {
    let mut joiner = Joiner::new(ALL);
    for (number, packet) in packets.iter().enumerate() {
        join(&mut joiner, packet, peer(number));
    }
    std::iter::from_fn(|| joiner.poll()).collect()
}

/// The packets of one flow, in their order.
fn of_flow<'a>(packets: impl IntoIterator<Item = &'a Vec<u8>>, flow: &Flow) -> Vec<Vec<u8>> {
    let own = |packet: &&Vec<u8>| {
        let layout = Layout::of(packet).unwrap();
        let ipv6 = packet[0] >> 4 == 6;
        let protocol = packet[if ipv6 { 6 } else { 9 }];
        ipv6 == flow.ipv6
            && (protocol == 17) == flow.udp
            && be16(packet, layout.transport_at) == flow.port
    };
    packets.into_iter().filter(own).cloned().collect()
}

#[test]
fn a_long_transfer_becomes_one_super_packet() {
    let flow = Flow {
        ipv6: false,
        udp: false,
        port: 1,
        options_bytes: 12,
        flags: 0x18,
    };
    let data = payload(40 * 1200 + 7, 1);
    let arrivals = joined(&segments(&flow, 1200, &data), |_| 1);
    assert_eq!(arrivals.len(), 1);
    assert_eq!(
        arrivals[0].work,
        Work::Cut {
            payload_bytes: 1200
        }
    );
    let header = arrivals[0].work.header(&arrivals[0].packet);
    assert_eq!(Work::parse(&header), Ok(arrivals[0].work));
    let layout = Layout::of(&arrivals[0].packet).unwrap();
    let mut complete_packet = arrivals[0].packet.to_vec();
    complete(&mut complete_packet, 20, 16).unwrap();
    assert!(layout.is_intact(&complete_packet));
    assert_eq!(complete_packet, whole(&flow, &data));
}

#[test]
fn segments_of_two_peers_never_meet() {
    let flow = Flow {
        ipv6: true,
        udp: false,
        port: 1,
        options_bytes: 0,
        flags: 0x10,
    };
    let all = segments(&flow, 100, &payload(1000, 1));
    let arrivals = joined(&all, |number| (number % 2) as u8);
    assert_eq!(arrivals.len(), all.len());
}

#[test]
fn what_the_receiver_cannot_take_is_not_joined() {
    for udp in [false, true] {
        let flow = Flow {
            ipv6: false,
            udp,
            port: 1,
            options_bytes: 0,
            flags: 0x10,
        };
        let mut joiner = Joiner::new(Joins {
            tcp: udp,
            udp: !udp,
        });
        for packet in segments(&flow, 100, &payload(500, 1)) {
            join(&mut joiner, &packet, 1);
        }
        assert_eq!(std::iter::from_fn(|| joiner.poll()).count(), 5);
    }
}

#[test]
fn more_flows_than_can_be_joined_lose_nothing() {
    let flow = |port| Flow {
        ipv6: false,
        udp: false,
        port,
        options_bytes: 0,
        flags: 0x10,
    };
    let each: Vec<_> = (1..60)
        .map(|port| segments(&flow(port), 500, &payload(2000, 1)))
        .collect();
    let all: Vec<_> = (0..4)
        .flat_map(|number| each.iter().map(move |own| own[number].clone()))
        .collect();
    let arrivals = joined(&all, |_| 1);
    let again: Vec<_> = arrivals.iter().flat_map(cut).collect();
    for port in 1..60 {
        assert_eq!(of_flow(&again, &flow(port)), of_flow(&all, &flow(port)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn cutting_gives_the_segments_that_a_kernel_would(
        flow in flow(),
        payload_bytes in 16usize..1500,
        bytes in 1usize..20_000,
        seed in any::<u32>(),
    ) {
        let data = payload(bytes, seed % 1000);
        let expected = segments(&flow, payload_bytes, &data);
        let super_packet = Arrival {
            packet: whole(&flow, &data).into(),
            work: Work::Cut { payload_bytes },
        };
        prop_assert_eq!(cut(&super_packet), expected);
    }

    #[test]
    fn what_is_joined_is_cut_into_what_it_was(
        flows in prop::collection::vec((flow(), 30usize..1400, 1usize..9000), 1..5),
        order in prop::collection::vec(0usize..5, 0..80),
        damage in prop::collection::vec((0usize..80, 0usize..100), 0..4),
    ) {
        let mut queues: Vec<_> = flows
            .iter()
            .map(|(flow, payload_bytes, bytes)| segments(flow, *payload_bytes, &payload(*bytes, 3)))
            .map(std::collections::VecDeque::from)
            .collect();
        let mut all = Vec::new();
        for turn in order {
            let number = turn % queues.len();
            all.extend(queues[number].pop_front());
        }
        queues.into_iter().for_each(|rest| all.extend(rest));
        for (which, at) in damage {
            let Some(packet) = all.get_mut(which) else { continue };
            // Behind the ports and lengths, so that the packet still belongs to its flow.
            let layout = Layout::of(packet).unwrap();
            let at = layout.transport_at + 6 + at % (packet.len() - layout.transport_at - 6);
            if layout.transport == super::layout::Transport::Udp || at >= layout.payload_at {
                packet[at] ^= 0x55;
            }
        }
        let arrivals = joined(&all, |_| 1);
        let again: Vec<_> = arrivals.iter().flat_map(cut).collect();
        prop_assert_eq!(again.len(), all.len());
        for (flow, _, _) in &flows {
            prop_assert_eq!(of_flow(&again, flow), of_flow(&all, flow));
        }
        for arrival in arrivals.iter().filter(|arrival| arrival.work != Work::None) {
            for packet in cut(arrival) {
                prop_assert!(Layout::of(&packet).unwrap().is_intact(&packet));
            }
        }
    }

    #[test]
    fn any_bytes_are_cut_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        header in any::<[u8; HEADER_BYTES]>(),
        first in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()],
        protocol in prop_oneof![Just(6u8), Just(17), any::<u8>()],
    ) {
        let length = bytes.len();
        if length > 40 {
            bytes[0] = first;
            bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            if first == 0x60 {
                bytes[4..6].copy_from_slice(&(length as u16 - 40).to_be_bytes());
                bytes[6] = protocol;
            } else {
                bytes[6..8].fill(0);
                bytes[9] = protocol;
            }
        }
        if let Ok(Work::Cut { payload_bytes }) = Work::parse(&header) {
            bytes.resize(length + PADDING_BYTES, 0);
            if let Ok(mut cutter) = Cutter::new(&mut bytes, length, payload_bytes) {
                let mut total = 0;
                while let Some(range) = cutter.next() {
                    prop_assert!(range.end <= length);
                    total += 1;
                }
                prop_assert!(total > 0);
            }
        }
    }

    #[test]
    fn any_packets_come_out_of_the_joiner_as_they_went_in(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..100), 1..20),
    ) {
        let again: Vec<_> = joined(&packets, |_| 1).iter().flat_map(cut).collect();
        prop_assert_eq!(again, packets);
    }
}
