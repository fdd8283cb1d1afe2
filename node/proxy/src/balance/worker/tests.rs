//! What is not seen from outside: how long connections spread over the workers of a balancer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::super::{Backend, Balancer, KernelConnector, KernelListener, Mode, Spec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_connections_spread_over_the_workers_and_are_counted_until_they_end() {
    let (server, listener) = (local().await, local().await);
    let address = listener.local_addr().unwrap();
    let backend = Backend {
        id: 1,
        address: server.local_addr().unwrap(),
        mode: Mode::Serve,
    };
    let listeners = vec![Box::new(KernelListener::new(listener).unwrap()) as _];
    let spec = Spec::new(vec![backend]);
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

/// What anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
