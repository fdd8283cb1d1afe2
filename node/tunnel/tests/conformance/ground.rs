//! Where a story is played: the tunnel under test, and a place on the network for it and for its peers.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use malha_tunnel::{Allow, Engine, PeerConfig, PeerStatus, TunnelConfig, kernel_available};
use nix::sched::{CloneFlags, unshare};
use tokio::net::TcpListener;

use crate::nodes::namespace::missing;
use crate::nodes::{self, Node};

/// The tunnel under test has this number; its peers have others.
pub(crate) const SUBJECT: u8 = 1;

/// One engine, and this thread's place on the network.
#[derive(Clone, Copy)]
pub(crate) struct Ground {
    pub(crate) engine: Engine,
    pub(crate) shards: usize,
}

/// Plays a story on a thread of its own, in a network namespace of its own unless the engine needs no privilege.
pub(crate) fn play<F>(ground: Ground, story: F)
where
    F: AsyncFnOnce(Ground) + Send + 'static,
{
    if let Some(reason) = obstacle(ground.engine) {
        println!("{reason}");
        return;
    }
    let played = std::thread::spawn(move || {
        if ground.engine != Engine::Netstack {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(story(ground));
    });
    if let Err(panic) = played.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Why the engine can't be tried on this machine, if so.
fn obstacle(engine: Engine) -> Option<String> {
    let no_tun = || "skipped: this machine has no /dev/net/tun".to_owned();
    match engine {
        Engine::Netstack => None,
        Engine::Userspace => {
            missing(&[("ip", "iproute2")]).or_else(|| (!Path::new(TUN).exists()).then(no_tun))
        }
        Engine::Kernel => no_kernel(),
    }
}

/// Why the kernel can't be tried, if so. It is asked once: two who ask at the same time would be in each other's way.
pub(crate) fn no_kernel() -> Option<String> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let ask = || {
        missing(&[("ip", "iproute2"), ("nft", "nftables")]).or_else(|| {
            let why = kernel_available().err()?;
            Some(format!(
                "skipped: this kernel has no WireGuard ({why}); see the virtual machine"
            ))
        })
    };
    REASON.get_or_init(ask).clone()
}

impl Ground {
    pub(crate) fn new(engine: Engine, shards: usize) -> Self {
        Self { engine, shards }
    }

    /// The tunnel under test, on loopback of either family.
    pub(crate) async fn subject(&self) -> Node {
        let subject = Node::start(self.engine, self.config(), SUBJECT);
        let usable = async {
            // A kernel completes an IPv6 address a moment after it was added, and does not answer for it before.
            while self.engine != Engine::Netstack
                && TcpListener::bind(nodes::overlay6(SUBJECT, 0))
                    .await
                    .is_err()
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let waited = tokio::time::timeout(nodes::LIMIT, usable).await;
        waited.expect("the overlay address never became usable");
        subject
    }

    pub(crate) fn config(&self) -> TunnelConfig {
        let mut config = nodes::config(SUBJECT);
        config.listen.push("[::1]:0".parse().unwrap());
        config.shards = Some(self.shards);
        config
    }

    /// Another tunnel of ours, which needs no place of its own.
    pub(crate) fn partner(&self, number: u8) -> Node {
        Node::netstack(number)
    }

    /// Lets the tunnel under test know a peer, which it then calls. A kernel calls when there is something to send, so it is
    /// told to.
    pub(crate) async fn introduce(&self, subject: &Node, peer: PeerConfig) {
        subject.tunnel.set_peer(peer).await.unwrap();
        if self.engine == Engine::Kernel {
            subject.tunnel.refresh().await;
        }
    }

    /// Waits until the peers are as wanted: what is known of a kernel's is as old as the last look at it.
    pub(crate) async fn sees(&self, subject: &Node, wanted: impl Fn(&[PeerStatus]) -> bool) {
        let seen = async {
            while !wanted(&subject.tunnel.peers().await) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(nodes::LIMIT, seen).await.is_err() {
            panic!("still: {:?}", subject.tunnel.peers().await);
        }
    }

    /// `bytes`, or less where an emulated processor has to seal them.
    pub(crate) fn affordable(&self, bytes: usize) -> usize {
        match nodes::is_emulated() {
            true => bytes / 16,
            false => bytes,
        }
    }

    /// Makes loopback as narrow as some links are; false where it is not ours to change.
    pub(crate) fn narrow_link(&self, mtu_bytes: u16) -> bool {
        if self.engine == Engine::Netstack {
            return false;
        }
        ip(&format!("link set lo mtu {mtu_bytes}"));
        true
    }
}

/// A peer of this number that may open TCP connections and ask for echoes.
pub(crate) fn peer(number: u8, endpoints: Vec<SocketAddr>) -> PeerConfig {
    let mut peer = nodes::peer(number, endpoints);
    peer.ingress.push(Allow::icmp());
    peer
}

fn ip(words: &str) {
    nodes::namespace::run(
        &["ip"]
            .into_iter()
            .chain(words.split_whitespace())
            .collect::<Vec<_>>(),
    );
}

/// This very program again, as another process on the same network.
pub(crate) fn this_program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

const LOOK_AGAIN: Duration = Duration::from_millis(5);
const TUN: &str = "/dev/net/tun";
