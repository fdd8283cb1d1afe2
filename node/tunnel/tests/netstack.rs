//! Two nodes without privilege, over real UDP on loopback.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod nodes;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use malha_tunnel::{TunnelError, TunnelEvent, forward};
use nodes::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_mebibytes_pass_unchanged_both_ways_at_once() {
    let (left, right) = pair().await;
    let listener = right.listen(80).await;
    echo(listener);
    let start = std::time::Instant::now();
    let stream = left.dial(overlay(2, 80)).await.unwrap();
    assert_echoes(stream, body(10 * MIB, 1)).await;
    let mbit_per_s = 2.0 * 80.0 * 1.048_576 / start.elapsed().as_secs_f64();
    println!("10 MiB echoed at {mbit_per_s:.0} Mbit/s, both directions summed");
}

#[tokio::test]
async fn a_listener_is_told_who_calls_in_both_families() {
    let (left, right) = pair().await;
    let mut listener = right.listen(80).await;
    assert_eq!(listener.local_addrs(), [overlay(2, 80), overlay6(2, 80)]);
    for (to, from) in [
        (overlay(2, 80), overlay(1, 0)),
        (overlay6(2, 80), overlay6(1, 0)),
    ] {
        let (near, far) = tokio::join!(left.dial(to), listener.accept());
        let (mut far, peer) = far.unwrap();
        assert_eq!(peer.ip(), from.ip());
        let mut near = near.unwrap();
        near.write_all(b"hello").await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(read_all(&mut far).await, b"hello");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_connections_run_at_once() {
    let (left, right) = pair().await;
    echo(right.listen(80).await);
    let dials = (0..200).map(|_| left.dial(overlay(2, 80)));
    let mut streams = Vec::new();
    for dial in dials.map(Box::pin).collect::<Vec<_>>() {
        streams.push(dial.await.unwrap());
    }
    assert_eq!(left.tunnel.stats().await.stack.connections, 200);
    let mut tasks = tokio::task::JoinSet::new();
    for (n, stream) in streams.into_iter().enumerate() {
        tasks.spawn(assert_echoes(stream, body(40_000 + n, n as u64)));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_burst_of_callers_is_taken_in_one_go() {
    let (left, right) = pair().await;
    let mut listener = right.listen(80).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let tunnel = left.tunnel.clone();
        calls.spawn(async move { tunnel.dial(overlay(2, 80), Instant::now() + LIMIT).await });
    }
    let mut accepted = Vec::new();
    for _ in 0..300 {
        accepted.push(timeout(LIMIT, listener.accept()).await.unwrap().unwrap());
    }
    while let Some(called) = calls.join_next().await {
        called.unwrap().unwrap();
    }
}

#[tokio::test]
async fn one_side_may_finish_while_the_other_goes_on() {
    let (left, right) = pair().await;
    let (mut near, mut far) = stream_pair(&left, &right).await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(read_all(&mut far).await, b"question");
    far.write_all(b"a long answer").await.unwrap();
    far.shutdown().await.unwrap();
    assert_eq!(read_all(&mut near).await, b"a long answer");
    assert_eq!(
        near.write(b"more").await.unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
}

#[tokio::test]
async fn the_rest_arrives_after_the_sender_has_let_go() {
    let (left, right) = pair().await;
    let (mut near, mut far) = stream_pair(&left, &right).await;
    let sent = body(200_000, 3);
    near.write_all(&sent).await.unwrap();
    drop(near);
    assert_eq!(hash(&read_all(&mut far).await), hash(&sent));
}

/// smoltcp alone would repeat the lost SYN only after a second.
#[tokio::test]
async fn a_call_that_overtakes_its_permission_is_repeated_soon() {
    let (left, right) = pair().await;
    let _listener = right.listen(80).await;
    let mut unwelcome = peer(left.number, Vec::new());
    let welcome = unwelcome.clone();
    unwelcome.ingress.clear();
    right.tunnel.set_peer(unwelcome).await.unwrap();
    let call = left
        .tunnel
        .dial(overlay(2, 80), Instant::now() + Duration::from_millis(900));
    let permit = async {
        while right.tunnel.stats().await.filter.refused.no_rule == 0 {
            tokio::task::yield_now().await;
        }
        right.tunnel.set_peer(welcome).await.unwrap();
    };
    let (called, ()) = tokio::join!(call, permit);
    called.unwrap();
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let (left, _right) = pair().await;
    let error = left.dial(overlay(2, 81)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_dropped_listener_refuses() {
    let (left, right) = pair().await;
    drop(right.listen(80).await);
    let error = left.dial(overlay(2, 80)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    drop(right.listen(80).await);
}

#[tokio::test]
async fn an_abort_is_seen_as_a_reset() {
    let (left, right) = pair().await;
    let (mut near, mut far) = stream_pair(&left, &right).await;
    far.abort();
    let error = near.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = near.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(far.read_u8().await.is_err());
}

#[tokio::test]
async fn dropping_a_stream_with_unread_data_resets_it() {
    let (left, right) = pair().await;
    let (mut near, mut far) = stream_pair(&left, &right).await;
    near.write_all(b"ab").await.unwrap();
    far.read_u8().await.unwrap();
    drop(far);
    let error = near.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_slow_reader_stops_the_writer_at_the_size_of_the_buffers() {
    let (left, right) = pair().await;
    let (mut near, mut far) = stream_pair(&left, &right).await;
    let limit_bytes = 2 * config(1).connection_buffer_bytes;
    let block = body(64 * 1024, 5);
    let mut written = Vec::new();
    while let Ok(bytes) = timeout(Duration::from_millis(500), near.write(&block)).await {
        written.extend_from_slice(&block[..bytes.unwrap()]);
        assert!(
            written.len() <= limit_bytes,
            "{} bytes went nowhere",
            written.len()
        );
    }
    assert!(written.len() > limit_bytes / 2);
    let reader = tokio::spawn(async move { read_all(&mut far).await });
    near.write_all(b"the end").await.unwrap();
    near.shutdown().await.unwrap();
    written.extend_from_slice(b"the end");
    assert_eq!(hash(&reader.await.unwrap()), hash(&written));
}

#[tokio::test]
async fn what_a_peer_may_not_open_times_out() {
    let (left, right) = pair().await;
    let _listener = right.listen(80).await;
    let mut closed = peer(1, Vec::new());
    closed.ingress = Vec::new();
    right.tunnel.set_peer(closed).await.unwrap();
    let error = left
        .tunnel
        .dial(overlay(2, 80), Instant::now() + Duration::from_millis(300))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(right.tunnel.stats().await.filter.refused.no_rule >= 1);
}

#[tokio::test]
async fn an_address_of_nobody_is_unreachable_at_once() {
    let (left, right) = pair().await;
    let error = left.dial(overlay(77, 80)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    right.tunnel.set_peer(peer(3, Vec::new())).await.unwrap();
    let error = right.dial(overlay(3, 80)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::HostUnreachable);
}

#[tokio::test]
async fn removing_a_peer_ends_its_connections_on_our_side_at_once() {
    let (left, right) = pair().await;
    let (mut near, mut far) = stream_pair(&left, &right).await;
    let reading = tokio::spawn(async move { far.read_u8().await.unwrap_err().kind() });
    assert!(right.tunnel.remove_peer(key(1).public_key()).await.unwrap());
    let ended = timeout(LIMIT, reading).await.unwrap().unwrap();
    assert_eq!(ended, ErrorKind::ConnectionReset);
    near.write_all(b"into the void").await.unwrap();
    assert!(right.tunnel.peers().await.is_empty());
    assert!(!right.tunnel.remove_peer(key(1).public_key()).await.unwrap());
}

#[tokio::test]
async fn a_node_reaches_its_own_services() {
    let node = Node::netstack(1);
    echo(node.listen(80).await);
    let stream = node.dial(overlay(1, 80)).await.unwrap();
    assert_echoes(stream, body(100_000, 7)).await;
}

#[tokio::test]
async fn a_port_is_listened_on_once() {
    let node = Node::netstack(1);
    let _first = node.listen(80).await;
    let taken = node.tunnel.listen(overlay(1, 80)).await.err().unwrap();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    let foreign = node.tunnel.listen(overlay(2, 80)).await.err().unwrap();
    assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
}

#[tokio::test]
async fn the_connection_limit_is_named() {
    let mut small = config(1);
    small.max_connections = 2;
    let left = Node::start(malha_tunnel::Engine::Netstack, small, 1);
    let right = Node::netstack(2);
    connect(&left, &right).await;
    let _listener = right.listen(80).await;
    let _first = left.dial(overlay(2, 80)).await.unwrap();
    let _second = left.dial(overlay(2, 80)).await.unwrap();
    let error = left.dial(overlay(2, 80)).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "all 2 connections of this tunnel are in use"
    );
}

#[tokio::test]
async fn connections_survive_a_rebind() {
    let (left, right) = pair().await;
    echo(right.listen(80).await);
    let mut stream = left.dial(overlay(2, 80)).await.unwrap();
    let mut events = right.tunnel.events();
    let before = left.underlay().await;
    left.tunnel.rebind().await.unwrap();
    let after = left.underlay().await;
    assert_ne!(before, after);
    let moved = TunnelEvent::EndpointChanged {
        peer: key(1).public_key(),
        endpoint: after[0],
    };
    wait_for(&mut events, moved).await;
    stream.write_all(b"x").await.unwrap();
    assert_eq!(
        timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap(),
        b'x'
    );
}

#[tokio::test]
async fn a_dead_agent_on_a_live_host_is_told_from_a_dead_link() {
    let (left, right) = pair().await;
    let endpoint = right.underlay().await[0];
    let mut events = left.tunnel.events();
    right.tunnel.shutdown().await;
    let _ = left
        .tunnel
        .dial(overlay(2, 80), Instant::now() + Duration::from_millis(50))
        .await;
    let unreachable = TunnelEvent::PortUnreachable {
        peer: key(2).public_key(),
        endpoint,
    };
    wait_for(&mut events, unreachable).await;
}

#[tokio::test]
async fn shutdown_ends_everything_and_frees_the_port() {
    let (left, right) = pair().await;
    let mut listener = right.listen(80).await;
    let (mut near, _far) = stream_pair(&left, &right).await;
    let underlay = right.underlay().await[0];
    right.tunnel.shutdown().await;
    let error = timeout(LIMIT, near.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(
        listener.accept().await.err().unwrap().kind(),
        ErrorKind::BrokenPipe
    );
    assert!(matches!(
        right.tunnel.rebind().await,
        Err(TunnelError::Stopped)
    ));
    std::net::UdpSocket::bind(underlay).unwrap();
}

#[tokio::test]
async fn a_forward_reaches_a_local_target_and_resets_when_there_is_none() {
    let (left, right) = pair().await;
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let stop = CancellationToken::new();
    let forwarding = tokio::spawn(forward(
        right.listen(80).await,
        address,
        10,
        Arc::default(),
        stop.clone(),
    ));
    let mut near = left.dial(overlay(2, 80)).await.unwrap();
    near.write_all(b"to the target").await.unwrap();
    near.shutdown().await.unwrap();
    let (mut local, _) = target.accept().await.unwrap();
    let mut came = String::new();
    local.read_to_string(&mut came).await.unwrap();
    assert_eq!(came, "to the target");
    local.write_all(b"back").await.unwrap();
    drop(local);
    assert_eq!(read_all(&mut near).await, b"back");
    drop(target);
    let mut near = left.dial(overlay(2, 80)).await.unwrap();
    let error = timeout(LIMIT, near.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    stop.cancel();
    timeout(LIMIT, forwarding).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_forward_resets_what_is_over_its_limit_and_counts_it_until_a_place_is_free() {
    let (left, right) = pair().await;
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let (over_limit, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let listener = right.listen(80).await;
    let forwarding = forward(listener, address, 1, over_limit.clone(), stop.clone());
    let forwarding = tokio::spawn(forwarding);
    let only = left.dial(overlay(2, 80)).await.unwrap();
    let (served, _) = target.accept().await.unwrap();
    let reset = async || match left.dial(overlay(2, 80)).await {
        Ok(mut near) => near.read_u8().await.unwrap_err().kind(),
        Err(error) => error.kind(),
    };
    let kind = timeout(LIMIT, reset()).await.expect("nobody waits there");
    assert_eq!(kind, ErrorKind::ConnectionReset);
    assert_eq!(over_limit.load(Ordering::Relaxed), 1);
    drop((only, served));
    let served_again = async {
        tokio::select! {
            served = target.accept() => served.unwrap(),
            // Each is refused until the first one's end has been seen.
            () = async { loop { reset().await; } } => unreachable!(),
        }
    };
    timeout(LIMIT, served_again).await.unwrap();
    stop.cancel();
    timeout(LIMIT, forwarding).await.unwrap().unwrap();
}

/// A file that ends like this is known not to be whole.
#[tokio::test]
async fn a_forward_that_breaks_is_no_end_of_data_for_the_local_target() {
    let (left, right) = pair().await;
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    for stopped in [false, true] {
        let stop = CancellationToken::new();
        let listener = right.listen(80).await;
        let forwarding = tokio::spawn(forward(listener, address, 10, Arc::default(), stop.clone()));
        let mut near = left.dial(overlay(2, 80)).await.unwrap();
        near.write_all(b"half").await.unwrap();
        let (mut local, _) = target.accept().await.unwrap();
        let mut came = [0; 4];
        local.read_exact(&mut came).await.unwrap();
        match stopped {
            true => stop.cancel(),
            false => near.abort(),
        }
        let error = timeout(LIMIT, local.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{stopped}");
        stop.cancel();
        timeout(LIMIT, forwarding).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_idle_tunnel_uses_hardly_any_processor_time() {
    let (left, right) = pair().await;
    let (_near, _far) = stream_pair(&left, &right).await;
    let datagrams = left.tunnel.stats().await.underlay;
    let before = cpu_ms();
    // Measuring idleness takes time; there is no event to wait for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used_ms = cpu_ms() - before;
    assert_eq!(left.tunnel.stats().await.underlay, datagrams);
    assert!(
        used_ms < 100,
        "{used_ms} ms of processor time in one idle second"
    );
}

/// Processor time of this thread, which runs the whole test.
fn cpu_ms() -> i64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000
}
