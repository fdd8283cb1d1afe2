//! The door alone: queues that end somewhere, and a tunnel whose socket speaks QUIC and WireGuard.

use std::future::poll_fn;
use std::net::UdpSocket;
use std::task::{Waker, ready};
use std::time::Duration;

use quinn_udp::EcnCodepoint;
use tokio::time::timeout;

use super::door::{MAX_ARRIVED, MAX_ARRIVED_BYTES, MAX_LEAVING};
use super::*;
use crate::config::{Offload, TunnelConfig};
use crate::key::PrivateKey;
use crate::socket::{Batch, Sockets};
use crate::tunnel::{Engine, Tunnel, start};

fn here() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn arrive(door: &mut QuicDoor, datagrams: &[u8], stride: usize) {
    let meta = RecvMeta {
        addr: ([192, 0, 2, 1], 5000).into(),
        len: datagrams.len(),
        stride,
        ecn: Some(EcnCodepoint::Ce),
        dst_ip: Some([192, 0, 2, 9].into()),
    };
    let batch = Batch {
        socket: 0,
        datagrams,
        meta,
    };
    door.arrive(&batch, datagrams);
}

/// The batches that can be had without waiting.
fn received(side: &QuicSide) -> Vec<(RecvMeta, Vec<u8>)> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    loop {
        let mut room = vec![vec![0; 65_535]; 4];
        let mut buffers: Vec<_> = room.iter_mut().map(|it| IoSliceMut::new(it)).collect();
        let mut metas = [RecvMeta::default(); 4];
        let Poll::Ready(count) = side.poll_receive(&mut cx, &mut buffers, &mut metas) else {
            return all;
        };
        let count = count.unwrap();
        let each = metas.iter().zip(&room).take(count);
        all.extend(each.map(|(meta, buffer)| (*meta, buffer[..meta.len].to_vec())));
    }
}

fn to<'a>(destination: SocketAddr, contents: &'a [u8], segment: usize) -> quinn_udp::Transmit<'a> {
    quinn_udp::Transmit {
        destination,
        ecn: None,
        contents,
        segment_size: Some(segment),
        src_ip: None,
    }
}

#[test]
fn a_batch_comes_out_as_it_came_in() {
    let mut door = QuicDoor::new();
    let side = door.open(0, here()).unwrap();
    arrive(&mut door, &[0x40; 2500], 1000);
    let got = received(&side);
    let [(meta, datagrams)] = &got[..] else {
        panic!("{} batches", got.len());
    };
    assert_eq!((meta.stride, meta.len, datagrams.len()), (1000, 2500, 2500));
    assert_eq!(meta.ecn, Some(EcnCodepoint::Ce));
    assert_eq!(meta.dst_ip, Some([192, 0, 2, 9].into()));
    assert_eq!(door.counters().received, 3);
}

#[test]
fn what_nobody_takes_ends_somewhere_and_is_counted() {
    let mut door = QuicDoor::new();
    let side = door.open(0, here()).unwrap();
    for _ in 0..MAX_ARRIVED + 10 {
        arrive(&mut door, &[0x40; 100], 100);
    }
    assert_eq!(door.counters().dropped, 10);
    assert_eq!(received(&side).len(), MAX_ARRIVED);
    let batch = [0x40; 64_000];
    let fit = MAX_ARRIVED_BYTES / batch.len();
    for _ in 0..fit + 3 {
        arrive(&mut door, &batch, 1000);
    }
    assert_eq!(door.counters().dropped, 10 + 3 * 64);
    assert_eq!(received(&side).len(), fit);
    arrive(&mut door, &batch, 1000);
    assert_eq!(received(&side).len(), 1);
}

#[test]
fn a_side_is_given_out_once_at_a_time() {
    let mut door = QuicDoor::new();
    let side = door.open(1, here()).unwrap();
    assert!(door.open(1, here()).is_none());
    assert!(door.takes(1) && !door.takes(0));
    drop(side);
    assert!(door.open(1, here()).is_some());
}

#[tokio::test]
async fn a_sender_without_room_is_woken_when_there_is_some_and_when_the_tunnel_ends() {
    let mut door = QuicDoor::new();
    let side = door.open(0, here()).unwrap();
    for _ in 0..MAX_LEAVING {
        side.try_send(&to(here(), b"QUIC", 4)).unwrap();
    }
    let full = side.try_send(&to(here(), b"QUIC", 4)).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    let mut room = side.room();
    let waits = tokio::spawn(async move {
        poll_fn(|cx| room.poll_ready(cx)).await;
        room
    });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    let one = door.pop().unwrap();
    door.sent(one.transmit.count());
    let mut room = timeout(Duration::from_secs(5), waits)
        .await
        .unwrap()
        .unwrap();
    side.try_send(&to(here(), b"QUIC", 4)).unwrap();
    let waits = tokio::spawn(async move { poll_fn(|cx| room.poll_ready(cx)).await });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    drop(door);
    timeout(Duration::from_secs(5), waits)
        .await
        .unwrap()
        .unwrap();
    let ended = side.try_send(&to(here(), b"QUIC", 4)).unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::BrokenPipe);
}

/// A tunnel with two sockets, and a peerless world around it.
async fn tunnel() -> (std::sync::Arc<dyn Tunnel>, Vec<SocketAddr>) {
    let key = PrivateKey::from_bytes([1; 32]);
    let mut config = TunnelConfig::new(key, vec!["100.64.0.1/10".parse().unwrap()]);
    config.listen = vec![here(), here()];
    let tunnel = start(Engine::Netstack, config).unwrap();
    let addresses = tunnel.listen_addrs().await;
    (tunnel, addresses)
}

async fn next(side: &QuicSide) -> (RecvMeta, Vec<u8>) {
    let mut room = vec![0; 65_535];
    let arrived = poll_fn(|cx| {
        let mut metas = [RecvMeta::default()];
        let mut buffers = [IoSliceMut::new(&mut room)];
        let count = ready!(side.poll_receive(cx, &mut buffers, &mut metas)).unwrap();
        assert_eq!(count, 1);
        Poll::Ready(metas[0])
    });
    let meta = timeout(Duration::from_secs(5), arrived).await.unwrap();
    (meta, room[..meta.len].to_vec())
}

fn stranger() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_of_a_taken_socket_goes_both_ways_and_of_the_other_nowhere() {
    let (tunnel, addresses) = tunnel().await;
    let side = tunnel.take_quic(1).await.unwrap();
    assert_eq!(side.local_addr(), addresses[1]);
    let stranger = stranger();
    // The stranger's WireGuard is no business of ours, nor is what comes to the other socket.
    let mut initiation = [0; 148];
    initiation[0] = 1;
    stranger.send_to(&initiation, addresses[1]).unwrap();
    stranger.send_to(&[0x40; 30], addresses[0]).unwrap();
    stranger.send_to(&[0xc3; 1200], addresses[1]).unwrap();
    let (meta, datagram) = next(&side).await;
    assert_eq!(meta.addr, stranger.local_addr().unwrap());
    assert_eq!(meta.dst_ip, Some(addresses[1].ip()));
    assert_eq!(datagram, [0xc3; 1200]);

    let batch: Vec<u8> = (0..2500u32).map(|number| (number % 251) as u8).collect();
    let mut transmit = to(meta.addr, &batch, 1000);
    transmit.src_ip = meta.dst_ip;
    side.try_send(&transmit).unwrap();
    let mut room = [0; 2000];
    for expected in batch.chunks(1000) {
        let (bytes, from) = stranger.recv_from(&mut room).unwrap();
        assert_eq!((&room[..bytes], from), (expected, addresses[1]));
    }
    let stats = tunnel.stats().await;
    assert_eq!(stats.device.quic, 1);
    assert_eq!(stats.device.unknown_peer, 1);
    let underlay = stats.underlay;
    assert_eq!((underlay.quic_received, underlay.quic_sent), (1, 3));
    tunnel.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_outlives_a_rebind_and_not_the_tunnel() {
    let (tunnel, addresses) = tunnel().await;
    let fixed = TunnelConfig {
        listen: addresses.clone(),
        ..TunnelConfig::new(
            PrivateKey::from_bytes([2; 32]),
            vec!["100.64.0.2/10".parse().unwrap()],
        )
    };
    tunnel.shutdown().await;
    let tunnel = start(Engine::Netstack, fixed).unwrap();
    let side = tunnel.take_quic(0).await.unwrap();
    let stranger = stranger();
    let own = stranger.local_addr().unwrap();
    for _ in 0..3 {
        tunnel.rebind().await.unwrap();
        stranger.send_to(&[0x40; 40], addresses[0]).unwrap();
        assert_eq!(next(&side).await.0.addr, own);
        side.try_send(&to(own, &[0x41; 50], 50)).unwrap();
        let (bytes, from) = stranger.recv_from(&mut [0; 100]).unwrap();
        assert_eq!((bytes, from), (50, addresses[0]));
    }
    tunnel.shutdown().await;
    let mut cx = Context::from_waker(Waker::noop());
    let ended = side.poll_receive(
        &mut cx,
        &mut [IoSliceMut::new(&mut [0; 9])],
        &mut [RecvMeta::default()],
    );
    assert!(matches!(ended, Poll::Ready(Err(_))));
    assert!(side.try_send(&to(own, &[0x41; 50], 50)).is_err());
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named() {
    let (tunnel, addresses) = tunnel().await;
    let error = tunnel.take_quic(2).await.unwrap_err().to_string();
    assert_eq!(error, "the tunnel has no UDP socket number 2");
    let _side = tunnel.take_quic(0).await.unwrap();
    let error = tunnel.take_quic(0).await.unwrap_err().to_string();
    assert!(error.contains(&addresses[0].to_string()), "{error}");
    tunnel.shutdown().await;
}

/// What leaves as one batch goes to the kernel as one and comes from it as one, and else the same datagrams go one by one.
#[tokio::test]
async fn offloads_change_nothing_but_the_number_of_calls() {
    for on in [true, false] {
        let mut sockets = Sockets::none(&TunnelConfig {
            listen: vec![here()],
            offload: Offload::from(on),
            ..TunnelConfig::new(
                PrivateKey::from_bytes([2; 32]),
                vec!["100.64.0.2/10".parse().unwrap()],
            )
        });
        sockets.rebind().unwrap();
        let own = sockets.local_addrs()[0];
        let mut door = QuicDoor::new();
        let side = door.open(0, own).unwrap();
        side.try_send(&to(own, &[0x40; 2500], 1000)).unwrap();
        let mut leaving = door.pop().unwrap();
        poll_fn(|cx| sockets.poll_writable(cx)).await;
        sockets.send(&mut leaving.transmit, leaving.envelope);
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < 2500 {
            let readable = poll_fn(|cx| sockets.poll_readable(cx));
            timeout(Duration::from_secs(5), readable).await.unwrap();
            sockets.receive(|batch| door.arrive(batch, batch.datagrams));
            lengths.extend(received(&side).iter().map(|(_, batch)| batch.len()));
        }
        assert_eq!(door.counters().received, 3);
        let one_by_one = [1000, 1000, 500];
        assert_eq!(lengths, if on { &[2500][..] } else { &one_by_one });
    }
}
