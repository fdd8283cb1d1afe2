//! A node whose program is started again on descriptors that somebody kept: who had come to it before is served by the new run. It
//! needs root, and is skipped elsewhere.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

#[allow(dead_code, reason = "the battery of all engines uses the rest")]
#[path = "conformance/ground.rs"]
mod ground;
mod nodes;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ground::{Ground, SUBJECT, play};
use malha_tunnel::{Engine, Keeper, TunnelConfig};
use nodes::{LIMIT, Node, overlay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

#[test]
fn who_came_before_a_restart_is_served_once_his_peer_is_there_again() {
    for shards in [1, 2] {
        play(Ground::new(Engine::Userspace, shards), comes_before);
    }
}

async fn comes_before(ground: Ground) {
    let manager = Arc::<Manager>::default();
    let config = |listen| TunnelConfig {
        listen,
        keeper: Some(manager.clone()),
        ..ground.config()
    };
    let client = ground.partner(CLIENT);
    let subject = Node::start(ground.engine, config(ground.config().listen), SUBJECT);
    subject.expects(&client).await;
    client.knows(&subject).await;
    let door = subject.tunnel.listen(DOOR).await.unwrap();
    // Linux says so, whether anybody accepts it or not.
    let mut early = client.dial(DOOR).await.unwrap();
    early.write_all(b"early").await.unwrap();
    let at = subject.underlay().await;
    subject.tunnel.shutdown().await;
    drop((door, subject));

    let subject = Node::start(ground.engine, config(at), SUBJECT);
    subject.expects(&client).await;
    let mut door = subject.tunnel.listen(DOOR).await.unwrap();
    let sources = door.kernel_doors().unwrap().sources;
    let peer_comes = async {
        // Answered after what was asked before it: by then nobody knew where the peer is.
        subject.tunnel.peers().await;
        client.tunnel.refresh().await;
    };
    let (watched, arrived, ()) = tokio::join!(
        sources.cut(overlay(CLIENT, 0).ip()),
        timeout(LIMIT, door.accept()),
        peer_comes
    );
    assert!(watched.is_ok(), "{:?}", watched.err());
    let (mut stream, from) = arrived.unwrap().unwrap();
    let mut heard = [0; 5];
    let heard_all = timeout(LIMIT, stream.read_exact(&mut heard)).await;
    heard_all.unwrap().unwrap();
    assert_eq!((from.ip(), &heard), (overlay(CLIENT, 0).ip(), b"early"));
}

/// Keeps what it is given until it ends itself.
#[derive(Debug, Default)]
struct Manager(Mutex<BTreeMap<String, OwnedFd>>);

impl Keeper for Manager {
    fn take(&self, name: &str) -> Option<OwnedFd> {
        self.0.lock().unwrap().get(name)?.try_clone().ok()
    }

    fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) {
        let own = descriptor.try_clone_to_owned().unwrap();
        self.0.lock().unwrap().insert(name.to_owned(), own);
    }

    fn forget(&self, _: &str) {}

    fn freed_at(&self) -> Instant {
        Instant::now()
    }

    fn leave(&self) {}

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn forget_unclaimed(&self) {}
}

const CLIENT: u8 = 2;
const DOOR: std::net::SocketAddr = std::net::SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(100, 64, 0, SUBJECT)),
    5500,
);
