//! A node whose program is started again, on descriptors that somebody kept where the engine has any: who had come to it before is served
//! by the new run, and what it can't carry any more ends. It needs root, and is skipped elsewhere; the kernel engine's story is played
//! also where the kernel has no WireGuard.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

#[allow(dead_code, reason = "the battery of all engines uses the rest")]
#[path = "conformance/ground.rs"]
mod ground;
mod nodes;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ground::{Ground, SUBJECT, play};
use malha_tunnel::{Allow, Engine, Keeper, PeerConfig, TunnelConfig};
use nodes::namespace::no_kernel;
use nodes::virtual_machine::run_this_program;
use nodes::{LIMIT, Node, overlay, peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

#[test]
fn who_came_before_a_restart_is_served_once_his_peer_is_there_again() {
    for shards in [1, 2] {
        play(Ground::new(Engine::Userspace, shards), comes_before);
    }
}

#[test]
fn a_connection_that_the_machine_opened_before_a_restart_ends_and_one_that_a_peer_opened_goes_on() {
    for (engine, shards) in [
        (Engine::Userspace, 1),
        (Engine::Userspace, 2),
        (Engine::Kernel, 1),
    ] {
        play(Ground::new(engine, shards), goes_on_or_ends);
    }
}

#[test]
fn the_engine_kernel_is_proven_in_a_virtual_machine() {
    if no_kernel().is_none() {
        println!("skipped: this kernel has WireGuard, so its story has been played");
        return;
    }
    run_this_program("restart", &["a_connection_that_the_machine_opened"]);
}

async fn comes_before(ground: Ground) {
    let manager = Arc::<Manager>::default();
    let config = |listen| kept_by(&manager, listen, ground);
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

async fn goes_on_or_ends(ground: Ground) {
    let manager = Arc::<Manager>::default();
    let client = ground.partner(CLIENT);
    let subject = Node::start(
        ground.engine,
        kept_by(&manager, ground.config().listen, ground),
        SUBJECT,
    );
    let only_door = PeerConfig {
        ingress: vec![Allow::tcp(DOOR.port()..=DOOR.port())],
        ..peer(CLIENT, client.underlay().await)
    };
    subject.tunnel.set_peer(only_door.clone()).await.unwrap();
    client.knows(&subject).await;
    let mut server = client.listen(SERVER.port()).await;
    let (own, at_server) = tokio::join!(TcpStream::connect(SERVER), server.accept());
    let (mut own, (mut at_server, _)) = (own.unwrap(), at_server.unwrap());
    let program = TcpListener::bind(DOOR).await.unwrap();
    let (theirs, at_program) = tokio::join!(client.dial(DOOR), program.accept());
    let (mut theirs, (mut at_program, _)) = (theirs.unwrap(), at_program.unwrap());
    let at = subject.underlay().await;
    subject.tunnel.shutdown().await;
    drop(subject);

    let subject = Node::start(ground.engine, kept_by(&manager, at, ground), SUBJECT);
    // conntrack's zones follow the order of the peers, and so this one has another than before.
    subject.tunnel.set_peer(peer(OTHER, vec![])).await.unwrap();
    subject.tunnel.set_peer(only_door).await.unwrap();
    client.tunnel.refresh().await;
    theirs.write_all(b"still").await.unwrap();
    let mut heard = [0; 5];
    let heard_all = timeout(LIMIT, at_program.read_exact(&mut heard)).await;
    heard_all.unwrap().unwrap();
    assert_eq!(&heard, b"still");
    let ended = timeout(LIMIT, own.read_u8()).await;
    assert!(ended.expect("it stands still").is_err());
    let ended = timeout(LIMIT, at_server.read_u8()).await;
    assert!(ended.expect("the server was not told").is_err());
}

fn kept_by(manager: &Arc<Manager>, listen: Vec<SocketAddr>, ground: Ground) -> TunnelConfig {
    TunnelConfig {
        listen,
        keeper: Some(manager.clone()),
        ..ground.config()
    }
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
const OTHER: u8 = 3;
const DOOR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(100, 64, 0, SUBJECT)), 5500);
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(100, 64, 0, CLIENT)), 5600);
