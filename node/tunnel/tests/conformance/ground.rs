//! Where a story is played: the tunnel under test, and a place on the network for it and for its peers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use malha_tunnel::{Allow, Engine, PeerConfig, PeerStatus, TunnelConfig};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket,
};
use nix::sys::time::TimeVal;
use tokio::net::TcpListener;

use crate::nodes::namespace::{missing, no_kernel};
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

impl Ground {
    pub(crate) fn new(engine: Engine, shards: usize) -> Self {
        Self { engine, shards }
    }

    /// The tunnel under test, on loopback of either family.
    pub(crate) async fn subject(&self) -> Node {
        if self.engine == Engine::Netstack {
            return Node::start(self.engine, self.config(), SUBJECT);
        }
        let routes = Routes::listen();
        let subject = Node::start(self.engine, self.config(), SUBJECT);
        // A kernel takes packets to an IPv6 address a moment after it was added.
        let IpAddr::V6(address) = nodes::overlay6(SUBJECT, 0).ip() else {
            panic!("no IPv6 address");
        };
        let told = tokio::task::spawn_blocking(move || routes.lead_to(address));
        told.await.unwrap();
        // It can be listened on from the start.
        TcpListener::bind((address, 0)).await.unwrap();
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

    /// Waits until the peers are as wanted: what is known of a kernel's is as old as the last look at it, which tells what it found.
    pub(crate) async fn sees(&self, subject: &Node, wanted: impl Fn(&[PeerStatus]) -> bool) {
        let mut events = subject.tunnel.events();
        let seen = async {
            while !wanted(&subject.tunnel.peers().await) {
                events.recv().await.unwrap();
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

/// What the kernel tells of IPv6 routes in this thread's namespace.
struct Routes(OwnedFd);

impl Routes {
    fn listen() -> Self {
        let (flags, family) = (SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, family).unwrap();
        let group = NetlinkAddr::new(0, 1 << (RTNLGRP_IPV6_ROUTE - 1));
        bind(socket.as_raw_fd(), &group).unwrap();
        let limit = TimeVal::new(nodes::LIMIT.as_secs() as i64, 0);
        setsockopt(&socket, ReceiveTimeout, &limit).unwrap();
        Self(socket)
    }

    /// Waits for a route to this address alone; that of its prefix names another.
    fn lead_to(&self, address: Ipv6Addr) {
        let mut told = [0; 8192];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut told, MsgFlags::empty());
            let length = length.expect("no route to the overlay address");
            if told[..length].windows(16).any(|it| it == address.octets()) {
                return;
            }
        }
    }
}

/// A peer of this number that may open TCP connections and ask for echoes.
pub(crate) fn peer(number: u8, endpoints: Vec<SocketAddr>) -> PeerConfig {
    let mut peer = nodes::peer(number, endpoints);
    peer.ingress.push(Allow::icmp());
    peer
}

pub(crate) fn ip(words: &str) {
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

/// linux/rtnetlink.h
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const TUN: &str = "/dev/net/tun";
