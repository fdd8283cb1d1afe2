//! Backends of which it is not known yet where they are, as behind a tunnel that has just been started.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use malha_proxy::balance::{Condition, Connector, KernelConnector, Link, News};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, Server, spec, until};

#[tokio::test]
async fn nobody_waits_for_a_server_that_is_not_known_yet_beside_one_that_is() {
    let (early, known) = (Server::start(b'e').await, Server::start(b'k').await);
    let tunnel = Settling::without(&early);
    let rig = Rig::start_settling(spec(&[&early, &known]), tunnel.clone()).await;
    for _ in 0..4 {
        assert_eq!(rig.meet().await.unwrap(), b'k');
    }
    let status = rig.balancer.status();
    assert_eq!(
        (status.unserved_connections, status.retried_connections),
        (0, 0)
    );
}

#[tokio::test]
async fn who_comes_before_any_server_is_known_waits_for_it_and_blames_nobody() {
    let server = Server::start(b'a').await;
    let tunnel = Settling::without(&server);
    let rig = Rig::start_settling(spec(&[&server]), tunnel.clone()).await;
    let mut client = rig.connect().await;
    // A check and the client.
    until(|| tunnel.waiting.load(Ordering::SeqCst) >= 2).await;
    assert_eq!(
        rig.balancer.status().backends[0].condition,
        Condition::Unproven
    );

    tunnel.unknown.lock().unwrap().clear();
    tunnel.heard.notify_waiters();
    let met = timeout(PATIENCE, client.read_u8()).await.unwrap();
    assert_eq!(met.unwrap(), b'a');
    rig.until(|all| all[0].condition == Condition::Up).await;
    assert_eq!(rig.balancer.status().backends[0].failed, 0);
}

#[tokio::test]
async fn a_balancer_that_stops_ends_the_wait_for_a_server() {
    let server = Server::start(b'a').await;
    let tunnel = Settling::without(&server);
    let rig = Rig::start_settling(spec(&[&server]), tunnel.clone()).await;
    let Rig { balancer, address } = rig;
    let mut client = TcpStream::connect(address).await.unwrap();
    until(|| tunnel.waiting.load(Ordering::SeqCst) >= 2).await;
    timeout(PATIENCE, balancer.stop()).await.unwrap();
    let ended = client.read_u8().await.unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
}

/// Reaches what is not `unknown`, and never stops hoping for the rest.
#[derive(Clone)]
pub(crate) struct Settling {
    unknown: Arc<Mutex<BTreeSet<SocketAddr>>>,
    heard: Arc<Notify>,
    /// How often news was waited for.
    waiting: Arc<AtomicUsize>,
}

impl Settling {
    fn without(server: &Server) -> Self {
        Self {
            unknown: Arc::new(Mutex::new(BTreeSet::from([server.address]))),
            heard: Arc::default(),
            waiting: Arc::default(),
        }
    }
}

#[async_trait]
impl Connector for Settling {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        let is_unknown = self.unknown.lock().unwrap().contains(&address);
        match is_unknown {
            true => Err(io::ErrorKind::HostUnreachable.into()),
            false => KernelConnector.connect(address, limit).await,
        }
    }

    fn news(&self) -> Option<News> {
        let heard = Arc::clone(&self.heard).notified_owned();
        let waiting = Arc::clone(&self.waiting);
        Some(Box::pin(async move {
            waiting.fetch_add(1, Ordering::SeqCst);
            heard.await;
            true
        }))
    }
}
