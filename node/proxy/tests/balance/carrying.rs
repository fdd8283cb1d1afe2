//! Bytes, ends and resets on their way through, in the kernel's sockets and in others.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use malha_proxy::balance::{KernelListener, Mode, ProxyHeader};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::rig::{KnownWays, PATIENCE, Rig, Server, Silent, backend, spec, until};

/// Much more than is copied before the pipe.
const MUCH_BYTES: usize = 5_000_017;

/// All bytes go to the backend and back, and the backend answers after the client's end of data.
async fn goes_whole(rig: &Rig) {
    let sent: Vec<u8> = (0..MUCH_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    let (mut from, mut to) = rig.connect().await.into_split();
    let writing = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let reading = async { from.read_to_end(&mut heard).await.unwrap() };
    timeout(PATIENCE, async { tokio::join!(writing, reading) })
        .await
        .unwrap();
    let (name, rest) = heard.split_first().unwrap();
    let (echoed, count) = rest.split_at(rest.len() - 8);
    assert_eq!(*name, b'a');
    assert_eq!(count, (MUCH_BYTES as u64).to_be_bytes());
    assert!(Sha256::digest(echoed) == Sha256::digest(&sent));
}

#[tokio::test]
async fn much_and_half_an_end_go_through_kernel_sockets() {
    let server = Server::start(b'a').await;
    let rig = Rig::start(spec(&[&server])).await;
    goes_whole(&rig).await;
    let counters = rig.balancer.counters();
    assert_eq!(counters.bytes_in.value(), MUCH_BYTES as u64);
    let (moved, spliced) = (2 * MUCH_BYTES as u64, counters.spliced_bytes.value());
    assert!(spliced > moved * 9 / 10, "{spliced} of {moved} past us");
}

#[tokio::test]
async fn much_and_half_an_end_go_through_kernel_sockets_of_a_tunnel() {
    let server = Server::start(b'a').await;
    let rig = Rig::start_on_ways(spec(&[&server]), Arc::default()).await;
    goes_whole(&rig).await;
    assert!(rig.balancer.counters().spliced_bytes.value() > MUCH_BYTES as u64);
}

#[tokio::test]
async fn a_connection_whose_way_is_cut_is_reset() {
    let server = Server::start(b'a').await;
    let way = Arc::new(Notify::new());
    let rig = Rig::start_on_ways(spec(&[&server]), Arc::clone(&way)).await;
    let mut client = rig.connect().await;
    assert_eq!(client.read_u8().await.unwrap(), b'a');
    way.notify_waiters();
    let error = timeout(PATIENCE, client.read_u8())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    rig.until(|backends| backends[0].connections == 0).await;
    assert_eq!(rig.meet().await.unwrap(), b'a', "others come after it");
}

#[tokio::test]
async fn a_way_that_is_known_is_gone_by_the_balancer_itself_until_it_is_cut() {
    let server = Server::start(b'a').await;
    let ways = KnownWays::new();
    let rig = Rig::start_on_known_ways(spec(&[&server]), Arc::clone(&ways)).await;
    let made = || ways.made.load(Ordering::SeqCst);
    assert_eq!(rig.meet().await.unwrap(), b'a', "by asking for each");
    assert_eq!(made(), 0);

    ways.open.add_permits(1);
    rig.meets_until(|| made() > 0).await;
    let mut client = rig.connect().await;
    assert_eq!(client.read_u8().await.unwrap(), b'a');
    ways.cut.notify_waiters();
    let cut = timeout(PATIENCE, client.read_u8()).await.unwrap();
    assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    rig.until(|backends| backends[0].connections == 0).await;

    let before = made();
    assert_eq!(rig.meet().await.unwrap(), b'a', "by asking again");
    assert_eq!(made(), before);
    ways.open.add_permits(1);
    rig.meets_until(|| made() > before).await;
}

/// As in the moment between a way's end and the balancer's knowledge of it, as when an agent stops.
#[tokio::test]
async fn a_way_that_has_just_ended_costs_nobody_the_connection() {
    let server = Server::start(b'a').await;
    let ways = KnownWays::new();
    let rig = Rig::start_on_known_ways(spec(&[&server]), Arc::clone(&ways)).await;
    let made = || ways.made.load(Ordering::SeqCst);
    ways.open.add_permits(1);
    rig.meets_until(|| made() > 0).await;
    ways.are_broken.store(true, Ordering::SeqCst);
    let before = made();
    assert_eq!(rig.meet().await.unwrap(), b'a', "by asking for one");
    assert!(made() > before, "it went by the known way first");
    assert_eq!(rig.balancer.status().unserved_connections, 0);
}

/// As in the moment between a change of the spec and the way to a backend that came with it.
#[tokio::test]
async fn who_waits_for_a_backend_that_leaves_is_served_by_the_one_in_its_place() {
    let (silent, server) = (Silent::start(), Server::start(b'a').await);
    let mut before = spec(&[]);
    before.backends = vec![backend(1, silent.address)];
    let ways = KnownWays::new();
    let rig = Rig::start_on_known_ways(before, Arc::clone(&ways)).await;
    ways.open.add_permits(1);
    until(|| ways.open.available_permits() == 0).await;
    let mut client = rig.connect().await;
    until(|| ways.made.load(Ordering::SeqCst) == 1).await;

    let mut after = spec(&[]);
    after.backends = vec![backend(2, server.address)];
    rig.balancer.change(after).unwrap();
    let met = timeout(PATIENCE, client.read_u8()).await.unwrap();
    assert_eq!(met.unwrap(), b'a');
    assert_eq!(rig.balancer.status().unserved_connections, 0);
}

#[tokio::test]
async fn a_stopped_balancer_has_left_its_port() {
    let server = Server::start(b'a').await;
    let Rig { balancer, address } = Rig::start(spec(&[&server])).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'a');
    balancer.stop().await;
    let again = KernelListener::bind(address).unwrap();
    client.read_u8().await.unwrap_err();
    drop(again);
}

#[tokio::test]
async fn much_and_half_an_end_go_through_other_streams() {
    let server = Server::start(b'a').await;
    let rig = Rig::start_without_kernel(spec(&[&server])).await;
    goes_whole(&rig).await;
    assert_eq!(rig.balancer.counters().bytes_in.value(), MUCH_BYTES as u64);
}

#[tokio::test]
async fn a_reset_of_the_backend_is_a_reset_for_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plain = spec(&[]);
    plain.backends = vec![backend(1, listener.local_addr().unwrap())];
    let rig = Rig::start(plain).await;
    let mut client = rig.connect().await;
    client.write_all(b"x").await.unwrap();
    loop {
        let (mut tcp, _) = listener.accept().await.unwrap();
        // Checks connect too, and say nothing.
        if tcp.read(&mut [0]).await.is_ok_and(|read| read == 1) {
            socket2::SockRef::from(&tcp)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            break;
        }
    }
    let error = timeout(PATIENCE, client.read_u8())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_idle_connection_is_reset_on_both_sides() {
    let server = Server::start(b'a').await;
    let mut short = spec(&[&server]);
    short.limits.idle = Duration::from_secs(1);
    let rig = Rig::start(short).await;
    let mut client = rig.connect().await;
    assert_eq!(client.read_u8().await.unwrap(), b'a');
    let error = timeout(PATIENCE, client.read_u8())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    rig.until(|backends| backends[0].connections == 0).await;
}

/// A backend that never answers holds no client that has said all.
#[tokio::test]
async fn a_connection_of_which_one_half_has_ended_waits_less() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut short = spec(&[]);
    short.backends = vec![backend(1, silent.local_addr().unwrap())];
    short.limits.half_open = Duration::from_secs(1);
    let rig = Rig::start(short).await;
    let (mut whole, mut half) = (rig.connect().await, rig.connect().await);
    half.write_all(b"x").await.unwrap();
    half.shutdown().await.unwrap();
    let ended = timeout(PATIENCE, half.read_u8()).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let open = timeout(Duration::from_millis(10), whole.read_u8()).await;
    assert!(open.is_err(), "the other one is still open");
}

#[tokio::test]
async fn a_backend_that_asks_for_it_hears_who_the_client_is() {
    let server = Server::start(b'a').await;
    let mut told = spec(&[&server]);
    told.proxy_header = Some(ProxyHeader::V1);
    let rig = Rig::start(told).await;
    let mut client = rig.connect().await;
    let (source, destination) = (client.local_addr().unwrap(), rig.address);
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut heard))
        .await
        .unwrap()
        .unwrap();
    let line = ProxyHeader::V1.encode(source, destination);
    assert_eq!(heard[1..=line.len()], line);
}

/// As when its program is stopped: who waits for an answer gets it, who has none to wait for is let go in order.
#[tokio::test]
async fn a_balancer_that_finishes_waits_for_answers_and_refuses_newcomers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plain = spec(&[]);
    plain.backends = vec![backend(1, listener.local_addr().unwrap())];
    let Rig { balancer, address } = Rig::start(plain).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"q").await.unwrap();
    let mut server = loop {
        let (mut tcp, _) = listener.accept().await.unwrap();
        // Checks connect too, and say nothing.
        if tcp.read(&mut [0]).await.is_ok_and(|read| read == 1) {
            break tcp;
        }
    };
    let finishing = tokio::spawn(balancer.finish(PATIENCE));
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(PATIENCE, refused).await.unwrap();
    server.write_all(b"a").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'a');
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "an orderly end");
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "an orderly end");
    timeout(PATIENCE, finishing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_balancer_that_finishes_waits_for_no_answer_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plain = spec(&[]);
    plain.backends = vec![backend(1, silent.local_addr().unwrap())];
    let Rig { balancer, address } = Rig::start(plain).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"q").await.unwrap();
    while balancer.counters().bytes_in.value() == 0 {
        tokio::task::yield_now().await;
    }
    balancer.finish(Duration::from_millis(300)).await;
    let ended = client.read_u8().await.unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn drain_leaves_what_is_open_and_maintenance_resets_it_in_the_end() {
    let server = Server::start(b'a').await;
    let plain = spec(&[&server]);
    let rig = Rig::start(plain.clone()).await;
    let mut client = rig.connect().await;
    assert_eq!(client.read_u8().await.unwrap(), b'a');
    let mut other = plain.clone();
    other.backends[0].mode = Mode::Drain;
    rig.balancer.change(other.clone()).unwrap();
    client.write_all(b"z").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'z');
    assert!(rig.meet().await.is_err(), "no new one");
    other.backends[0].mode = Mode::Maintenance;
    rig.balancer.change(other).unwrap();
    client.write_all(b"y").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'y');
    // The clock jumps to the end of the grace as soon as nobody has anything to do.
    tokio::time::pause();
    client.read_u8().await.unwrap_err();
    tokio::time::resume();
    rig.balancer.change(plain).unwrap();
    assert_eq!(rig.meet().await.unwrap(), b'a');
}
