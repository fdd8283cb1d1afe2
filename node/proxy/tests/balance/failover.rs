//! Backends that fail under load.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use malha_proxy::balance::{BackendStatus, Check, Condition, Probe, Spec};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::journal::Journal;
use crate::rig::{Lacking, Rig, Server, backend, spec, until};

#[tokio::test]
async fn a_backend_that_refuses_gives_way_to_the_next_unseen() {
    let (dead, alive) = (Server::start(b'd').await, Server::start(b'a').await);
    let mut plain = spec(&[&dead, &alive]);
    // Checks would find it out too; here the connection itself must.
    plain.check.interval = Duration::from_secs(60);
    let rig = Rig::start(plain).await;
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    dead.kill().await;
    for _ in 0..4 {
        assert_eq!(rig.meet().await.unwrap(), b'a');
    }
    assert_eq!(rig.balancer.counters().retried_connections.value(), 1);
    rig.until(|all| all[0].condition == Condition::Down).await;
}

/// It has no source port left for the one and no descriptor for the other.
#[tokio::test]
async fn a_lack_of_our_own_machine_says_nothing_of_the_servers_it_would_check() {
    let (one, other) = (Server::start(b'a').await, Server::start(b'b').await);
    let machine = Arc::new(Lacking::default());
    let rig = Rig::start_lacking(spec(&[&one, &other]), Arc::clone(&machine)).await;
    let are_up = |all: &[BackendStatus]| all.iter().all(|it| it.condition == Condition::Up);
    rig.until(are_up).await;
    *machine.lacks.lock().unwrap() = BTreeMap::from([
        (one.address, (Errno::ADDRINUSE, 0)),
        (other.address, (Errno::MFILE, 0)),
    ]);
    // The third begins when two have been heard of, which are enough to call a server down.
    until(|| machine.lacks.lock().unwrap().values().all(|it| it.1 >= 3)).await;
    assert!(are_up(&rig.balancer.status().backends));
}

/// A machine that lacks descriptors lacks them for a while, and must not fill its journal meanwhile.
#[tokio::test]
async fn servers_that_can_not_be_checked_are_told_of_once_until_they_can() {
    let (one, other) = (Server::start(b'a').await, Server::start(b'b').await);
    let journal = Journal::default();
    let _guard = journal.collects();
    let machine = Arc::new(Lacking::default());
    let rig = Rig::start_lacking(spec(&[&one, &other]), Arc::clone(&machine)).await;
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    for times in 1..=2 {
        *machine.lacks.lock().unwrap() = BTreeMap::from([
            (one.address, (Errno::MFILE, 0)),
            (other.address, (Errno::MFILE, 0)),
        ]);
        until(|| machine.lacks.lock().unwrap().values().all(|it| it.1 >= 4)).await;
        assert_eq!(journal.count("can't check a backend"), times);
        machine.lacks.lock().unwrap().clear();
        until(|| journal.count("backends are checked again") == times).await;
    }
}

/// Its machine has lost its power: what one sends to it is lost.
#[tokio::test]
async fn a_backend_that_never_answers_gives_way_when_its_time_is_over() {
    let full = Full::listen();
    let alive = Server::start(b'a').await;
    let mut plain = spec(&[&alive]);
    plain.backends.insert(0, backend(9, full.address));
    plain.limits.connect = Duration::from_millis(200);
    // The checks hear nothing of either: a connection must find it out.
    plain.check = Check::new(Probe::Http {
        port: full.address.port(),
        path: "/".into(),
    });
    plain.check.timeout = Duration::from_secs(60);
    let rig = Rig::start(plain).await;
    let mut met = JoinSet::new();
    for _ in 0..4 {
        let connecting = TcpStream::connect(rig.address);
        met.spawn(async move { connecting.await.unwrap().read_u8().await.unwrap() });
    }
    while let Some(met) = met.join_next().await {
        assert_eq!(met.unwrap(), b'a');
    }
    assert!(rig.balancer.counters().retried_connections.value() > 0);
}

#[tokio::test]
async fn a_backend_without_a_substitute_is_tried_again() {
    meets_a_lost_packet(Rig::start).await;
    meets_a_lost_packet(Rig::start_without_kernel).await;
}

/// The first packet of a connection to the only backend is lost.
async fn meets_a_lost_packet(start: impl AsyncFnOnce(Spec) -> Rig) {
    let listener = without_queue();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener.into()).unwrap();
    let mut only = spec(&[]);
    let address = listener.local_addr().unwrap();
    only.backends.push(backend(1, address));
    only.limits.connect = Duration::from_millis(400);
    // After the first, which fills the queue, they find out nothing.
    only.check.timeout = Duration::from_secs(60);
    let rig = start(only).await;
    rig.until(|all| all[0].condition == Condition::Up).await;
    let mut client = rig.connect().await;
    rig.until(|all| all[0].failed == 1).await;
    let mut served = JoinSet::new();
    let met = loop {
        tokio::select! {
            Ok((mut tcp, _)) = listener.accept() => {
                served.spawn(async move { tcp.write_u8(b'a').await });
            }
            met = client.read_u8() => break met,
        }
    };
    assert_eq!(met.unwrap(), b'a');
    assert_eq!(rig.balancer.counters().retried_connections.value(), 1);
}

/// A port whose queue is full, so that the kernel answers nobody who connects to it.
struct Full {
    address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<Socket>,
}

impl Full {
    fn listen() -> Self {
        let listener = without_queue();
        let address = listener.local_addr().unwrap();
        let waiting = (0..4).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
            // It is under way.
            let _ = socket.connect(&address);
            socket
        });
        Self {
            address: address.as_socket().unwrap(),
            _waiting: waiting.collect(),
            _listener: listener,
        }
    }
}

/// A listener for whom at most one connection waits; the kernel drops the packets of further ones.
fn without_queue() -> Socket {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    listener
}

/// As an agent does for a service whose program has died: the connection is taken, and then reset.
#[tokio::test]
async fn a_backend_that_takes_connections_and_throws_them_out_gives_way_at_once() {
    let (dead, alive) = (Server::start(b'd').await, Server::start(b'a').await);
    let rig = Rig::start(spec(&[&dead, &alive])).await;
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    let address = dead.address;
    dead.kill().await;
    let _takes_and_resets = Server::throwing_out(address).await;
    let mut lost = 0;
    for _ in 0..200 {
        match rig.meet().await {
            Ok(met) => assert_eq!(met, b'a'),
            Err(_) => lost += 1,
        }
    }
    assert!(lost <= 1, "{lost} connections met a server that is gone");
    rig.until(|all| all[0].condition == Condition::Down).await;
}

/// A connection that the dead server had accepted may fail; one made after its end may not.
#[tokio::test]
async fn no_new_connection_fails_when_one_of_two_servers_dies_under_load() {
    let (dying, alive) = (Server::start(b'd').await, Server::start(b'a').await);
    let rig = Arc::new(Rig::start(spec(&[&dying, &alive])).await);
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    let (dead, enough) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (rig, dead, enough) = (Arc::clone(&rig), Arc::clone(&dead), Arc::clone(&enough));
        clients.spawn(async move {
            while enough.load(Ordering::SeqCst) < 400 {
                let is_dead = dead.load(Ordering::SeqCst);
                let met = rig.meet().await;
                if is_dead {
                    assert_eq!(met.unwrap(), b'a');
                    enough.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    while rig.balancer.status().backends[0].total < 40 {
        tokio::task::yield_now().await;
    }
    dying.kill().await;
    dead.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn no_new_connection_waits_two_seconds_for_a_machine_that_lost_its_power() {
    let (dying, alive) = (Server::start(b'd').await, Server::start(b'a').await);
    let silent = Arc::new(Mutex::new(None));
    let rig = Rig::start_with_silent(spec(&[&dying, &alive]), Arc::clone(&silent)).await;
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    *silent.lock().unwrap() = Some(dying.address);
    let lost_at = Instant::now();
    let mut longest = Duration::ZERO;
    while lost_at.elapsed() < Duration::from_secs(3) {
        let began = Instant::now();
        assert_eq!(rig.meet().await.unwrap(), b'a');
        longest = longest.max(began.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    rig.until(|all| all[0].condition == Condition::Down).await;
}
