//! Parcels between two shards: order, bounds, buffers, waking and the end.

use super::*;

fn pair() -> [Neighbours; 2] {
    Neighbours::all(2).try_into().ok().unwrap()
}

fn packet(number: u32, bytes: usize) -> Buffer {
    let mut packet = Pool::default().large();
    packet.room()[..4].copy_from_slice(&number.to_be_bytes());
    packet.set_end(bytes);
    packet
}

/// The numbers of the packets that wait, in their order.
fn taken(of: &mut Neighbours) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some((from, parcel)) = of.next_packets() {
        let Errand::Packets(packets) = &parcel.errand else {
            panic!("{:?}", parcel.errand);
        };
        for packet in packets {
            let start = parcel.bytes.peek(packet.start..packet.start + 4);
            numbers.push(u32::from_be_bytes(start.try_into().unwrap()));
            let behind = packet.start + packet.bytes + PADDING_BYTES;
            assert!(behind <= parcel.bytes.capacity());
        }
        of.give_back(from, parcel.bytes);
    }
    numbers
}

#[test]
fn packets_of_all_sizes_keep_their_order() {
    let [mut reader, mut owner] = pair();
    let cut = Work::Cut { payload_bytes: 100 };
    for number in 0..300 {
        let (bytes, work) = match number % 7 {
            0 => (60_000, cut),
            1 => (1500, cut),
            2 => (2049, Work::None),
            _ => (64 + number as usize % 1400, Work::None),
        };
        reader.packet(1, &mut packet(number, bytes), bytes, work);
        if number % 50 == 0 {
            reader.settle();
            assert_eq!(taken(&mut owner).last(), Some(&number));
        }
    }
    reader.settle();
    assert_eq!(taken(&mut owner), (251..300).collect::<Vec<_>>());
    assert_eq!(reader.counters.over, 300);
}

#[test]
fn a_full_queue_drops_and_counts_and_takes_more_once_it_was_emptied() {
    for bytes in [100, 60_000] {
        let [mut reader, mut owner] = pair();
        let fit = match bytes {
            100 => MAX_PARCELS,
            _ => MAX_PARCELS_BYTES / packet(0, 1).capacity(),
        } as u32;
        for number in 0..fit + 10 {
            reader.packet(1, &mut packet(number, bytes), bytes, Work::None);
            reader.settle();
        }
        let counted = Handed {
            over: u64::from(fit),
            dropped: 10,
        };
        assert_eq!(reader.counters, counted);
        assert_eq!(taken(&mut owner), (0..fit).collect::<Vec<_>>());
        reader.packet(1, &mut packet(7, bytes), bytes, Work::None);
        reader.settle();
        assert_eq!(taken(&mut owner), [7]);
    }
}

#[test]
fn buffers_come_back_to_where_they_were_filled() {
    let [mut reader, mut owner] = pair();
    let mut current = packet(1, 4000);
    for _ in 0..100 {
        reader.packet(1, &mut current, 4000, Work::None);
        taken(&mut owner);
        reader.recycle();
    }
    let (_, kept) = reader.pool.waiting();
    assert_eq!(kept, 1, "one is under way at a time, so one is enough");
}

#[tokio::test]
async fn a_shard_that_panics_ends_the_others() {
    let [one, other] = pair();
    let bell = other.bell();
    assert!(!other.have_ended());
    let panicked = std::thread::spawn(move || {
        let _one = one;
        panic!("as a defect would");
    });
    assert!(panicked.join().is_err());
    bell.notified().await;
    assert!(other.have_ended());
}

#[tokio::test]
async fn who_sleeps_is_woken_by_the_first_of_a_burst_and_again_at_its_end() {
    let [mut one, mut other] = pair();
    let bell = other.bell();
    let errand = || Errand::Carried(CarrierId(1));
    one.datagrams(1, errand(), &[4; 100], 100);
    bell.notified().await;
    assert!(other.next_datagrams().is_some());
    one.datagrams(1, errand(), &[4; 100], 100);
    one.settle();
    bell.notified().await;
    assert!(other.next_datagrams().is_some());
}
