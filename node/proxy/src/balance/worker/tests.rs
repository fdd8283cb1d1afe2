//! What is not seen from outside: how long connections spread over the workers of a balancer, and that these work alone.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{interval, timeout};

use super::super::{Backend, Balancer, KernelConnector, KernelListener, Mode, Spec};
use super::Places;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_connections_spread_over_the_workers_and_are_counted_until_they_end() {
    let (server, listener) = (local().await, local().await);
    let address = listener.local_addr().unwrap();
    let listeners = vec![Box::new(KernelListener::new(listener.into_std().unwrap()).unwrap()) as _];
    let spec = before(server.local_addr().unwrap());
    let balancer = Balancer::start(spec, listeners, Arc::new(KernelConnector)).unwrap();
    let mut streams = JoinSet::new();
    streams.spawn(async move {
        let mut talks = JoinSet::new();
        loop {
            let (mut tcp, _) = server.accept().await.unwrap();
            // Until it is gone.
            talks.spawn(async move { while tcp.write_all(&[7; 4096]).await.is_ok() {} });
        }
    });
    for _ in 0..4 {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let mut heard = vec![0; 1 << 20];
        tcp.read_exact(&mut heard).await.unwrap();
        assert!(heard.iter().all(|byte| *byte == 7));
        streams.spawn(async move { while tcp.read(&mut heard).await.is_ok_and(|it| it > 0) {} });
    }
    until_long(&balancer, [2, 2]).await;
    streams.shutdown().await;
    until_long(&balancer, [0, 0]).await;
    timeout(PATIENCE, balancer.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_does_not_wake_for_what_workers_accept() {
    let spec = before(greeter());
    let listener = local().await;
    let address = listener.local_addr().unwrap();
    let listener = KernelListener::new(listener.into_std().unwrap()).unwrap();
    let connector = Arc::new(KernelConnector);
    let balancer = Balancer::start(spec, vec![Box::new(listener)], connector).unwrap();
    let meet = move |_| {
        let mut tcp = std::net::TcpStream::connect(address).unwrap();
        tcp.read_exact(&mut [0]).unwrap();
    };
    // By then the way to the backend is known.
    spawn_blocking(move || meet(0)).await.unwrap();
    let runtime = Handle::current().metrics();
    let parks = || -> u64 { (0..2).map(|at| runtime.worker_park_count(at)).sum() };
    let before = parks();
    spawn_blocking(move || (0..MANY).for_each(meet))
        .await
        .unwrap();
    let parked = parks() - before;
    assert!(parked < MANY / 4, "{parked} for {MANY} connections");
    timeout(PATIENCE, balancer.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_that_finds_no_worker_left_works_without_and_later_ones_find_some_again() {
    let places: &'static Places = Box::leak(Box::new(Places::new(1)));
    let spec = before(greeter());
    let start = async || {
        let listener = local().await.into_std().unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Box::new(KernelListener::new(listener).unwrap());
        let (spec, connector) = (spec.clone(), Arc::new(KernelConnector));
        let balancer = Balancer::start_among(places, spec, vec![listener], connector).unwrap();
        let mut tcp = TcpStream::connect(address).await.unwrap();
        assert_eq!(tcp.read_u8().await.unwrap(), b'!');
        balancer
    };
    let first = start().await;
    assert_eq!(first.workers().map(|it| it.0.len()), Some(1));
    let second = start().await;
    assert!(second.workers().is_none());
    timeout(PATIENCE, first.stop()).await.unwrap();
    let freed = async {
        let mut looks = interval(Duration::from_millis(5));
        while start().await.workers().is_none() {
            looks.tick().await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
}

/// A balancer with one backend.
fn before(address: SocketAddr) -> Spec {
    Spec::new(vec![Backend {
        id: 1,
        address,
        mode: Mode::Serve,
    }])
}

/// A server that says one byte to whoever comes, on a thread beside the runtime.
fn greeter() -> SocketAddr {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        for mut tcp in server.incoming().flatten() {
            // A check asks nothing.
            let _ = tcp.write_all(b"!");
        }
    });
    address
}

async fn local() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Waits until each worker has so many.
async fn until_long(balancer: &Balancer, wanted: [usize; 2]) {
    let workers = balancer.workers().unwrap();
    let long = || [0, 1].map(|at| workers.0[at].long.load(Ordering::SeqCst));
    let looking = async {
        let mut looks = interval(Duration::from_millis(5));
        while long() != wanted {
            looks.tick().await;
        }
    };
    let seen = timeout(PATIENCE, looking).await;
    assert!(seen.is_ok(), "{:?} and not {wanted:?}", long());
}

const MANY: u64 = 400;
/// What anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
