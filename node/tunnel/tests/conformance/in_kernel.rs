//! The kernel engine against the others, and what only it does. Needs root and a kernel with WireGuard; where that is missing, the
//! last test boots a virtual machine that has one and runs this very program in it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use malha_tunnel::{Engine, PresharedKey, TunnelError, TunnelEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::nodes::meeting::{INTERFACE, engines_meet, play, serve, start_node, underlay};
use crate::nodes::namespace::{Namespace, interface_exists, no_kernel};
use crate::nodes::*;

macro_rules! need_kernel {
    () => {
        if let Some(reason) = no_kernel() {
            println!("{reason}");
            return;
        }
    };
}

#[test]
fn kernel_calls_userspace() {
    need_kernel!();
    engines_meet(Engine::Userspace, Engine::Kernel);
}

#[test]
fn userspace_calls_kernel() {
    need_kernel!();
    engines_meet(Engine::Kernel, Engine::Userspace);
}

#[test]
fn kernel_calls_kernel() {
    need_kernel!();
    engines_meet(Engine::Kernel, Engine::Kernel);
}

/// A kernel does not count what it could not send, so it looks as if there had been nothing to say.
#[test]
fn a_place_without_a_route_keeps_a_kernel_from_no_other() {
    need_kernel!();
    let (left, right) = Namespace::joined_pair();
    play(
        (left, async move |ready, done| {
            serve(Engine::Userspace, 1, 2, ready, done).await;
        }),
        (right, async move || {
            let node = start_node(Engine::Kernel, 2);
            let nowhere = "[2001:db8::1]:51820".parse().unwrap();
            let server = peer(1, vec![nowhere, underlay(1)]);
            node.tunnel.set_peer(server).await.unwrap();
            let stream = node.dial(overlay(1, 80)).await.unwrap();
            assert_echoes(stream, body(1000, 3)).await;
            node.tunnel.shutdown().await;
        }),
    );
}

#[test]
fn interface_and_rules_are_gone_after_shutdown() {
    need_kernel!();
    let work = Namespace::new("alone").run(async move || {
        let node = start_node(Engine::Kernel, 1);
        let while_running = (interface_exists(INTERFACE), has_table());
        node.tunnel.shutdown().await;
        (while_running, (interface_exists(INTERFACE), has_table()))
    });
    assert_eq!(work.join().unwrap(), ((true, true), (false, false)));
}

#[test]
fn an_interface_that_a_killed_run_left_is_replaced_and_a_strangers_is_not() {
    need_kernel!();
    let namespace = Namespace::new("alone");
    namespace.ip(&["link", "add", INTERFACE, "type", "wireguard"]);
    let work = namespace.run(async move || {
        let mut config = config(1);
        config.interface = INTERFACE.into();
        let stranger = malha_tunnel::start(Engine::Kernel, config.clone()).err();
        let alias = ["link", "set", INTERFACE, "alias", "made by malha"];
        assert!(Command::new("ip").args(alias).status().unwrap().success());
        (
            stranger.map(|error| error.to_string()),
            malha_tunnel::start(Engine::Kernel, config).is_ok(),
        )
    });
    let (stranger, replaced) = work.join().unwrap();
    assert!(
        stranger
            .unwrap()
            .contains("creating the WireGuard interface")
    );
    assert!(replaced);
}

/// The first tunnel does not run in between, as if it was killed.
#[test]
fn what_a_killed_run_left_goes_with_the_next_engine_of_the_same_key() {
    need_kernel!();
    let work = Namespace::new("alone").run(async move || {
        let of = |number| {
            let mut config = config(number);
            config.interface = INTERFACE.into();
            config
        };
        let _killed = malha_tunnel::start(Engine::Kernel, of(1)).unwrap();
        let _beside = malha_tunnel::start(Engine::Netstack, of(2)).unwrap();
        let beside = (interface_exists(INTERFACE), has_table());
        let _next = malha_tunnel::start(Engine::Netstack, of(1)).unwrap();
        (beside, (interface_exists(INTERFACE), has_table()))
    });
    assert_eq!(work.join().unwrap(), ((true, true), (false, false)));
}

#[test]
fn a_port_that_somebody_has_is_said_to_be_taken_and_leaves_nothing_behind() {
    need_kernel!();
    let work = Namespace::new("alone").run(async move || {
        let taken = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let mut config = config(1);
        config.interface = INTERFACE.into();
        config.listen = vec![taken.local_addr().unwrap()];
        let refused = malha_tunnel::start(Engine::Kernel, config).err();
        (refused, interface_exists(INTERFACE), has_table())
    });
    let (refused, has_interface, has_table) = work.join().unwrap();
    assert!(
        matches!(refused, Some(TunnelError::Bind { .. })),
        "{refused:?}"
    );
    assert_eq!((has_interface, has_table), (false, false));
}

#[test]
fn a_wished_port_that_somebody_has_is_replaced_by_a_free_one() {
    need_kernel!();
    let work = Namespace::new("alone").run(async move || {
        let taken = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let wished = taken.local_addr().unwrap().port();
        let mut config = config(1);
        config.interface = INTERFACE.into();
        config.listen.clear();
        config.wished_ports.ipv4 = wished;
        let tunnel = malha_tunnel::start(Engine::Kernel, config).unwrap();
        let ports = tunnel.listen_addrs().await;
        let ports: Vec<_> = ports.iter().map(SocketAddr::port).collect();
        ports.iter().all(|port| ![0, wished].contains(port))
    });
    assert!(work.join().unwrap());
}

#[test]
fn what_no_rule_permits_is_refused_even_after_the_rules_were_flushed() {
    need_kernel!();
    let (left, right) = Namespace::joined_pair();
    play(
        (left, async move |ready, done| {
            let node = start_node(Engine::Kernel, 1);
            let mut caller = peer(2, Vec::new());
            caller.ingress = vec![malha_tunnel::Allow::tcp(80..=80)];
            node.tunnel.set_peer(caller).await.unwrap();
            echo(node.listen(80).await);
            echo(node.listen(81).await);
            assert!(
                Command::new("nft")
                    .args(["flush", "ruleset"])
                    .status()
                    .unwrap()
                    .success()
            );
            let restored = async {
                while !has_table() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(LIMIT, restored).await.unwrap();
            ready.cancel();
            done.cancelled().await;
            let refused = node.tunnel.stats().await.filter.refused.no_rule;
            assert!(refused > 0, "nothing was counted");
            node.tunnel.shutdown().await;
        }),
        (right, async move || {
            let node = start_node(Engine::Userspace, 2);
            let server = peer(1, vec![underlay(1)]);
            node.tunnel.set_peer(server).await.unwrap();
            assert_echoes(node.dial(overlay(1, 80)).await.unwrap(), body(1000, 3)).await;
            let deadline = Instant::now() + Duration::from_secs(3);
            let refused = node
                .tunnel
                .dial(overlay(1, 81), deadline)
                .await
                .err()
                .unwrap();
            assert_eq!(refused.kind(), ErrorKind::TimedOut);
            node.tunnel.shutdown().await;
        }),
    );
}

/// A preshared key that both sides change while a connection runs: it goes on, and the next handshake uses the key.
#[test]
fn a_key_is_rotated_under_a_connection() {
    need_kernel!();
    rotate(First::Kernel);
}

/// The kernel refuses some initiations with the new key before it has it; it takes a later one.
#[test]
fn a_key_that_the_caller_has_first_is_used_soon_after() {
    need_kernel!();
    rotate(First::Caller);
}

#[test]
fn a_kernel_that_never_hears_of_a_key_is_reached_with_the_former_one() {
    need_kernel!();
    rotate(First::CallerAlone);
}

/// Who hears of the new key first.
#[derive(Clone, Copy, PartialEq)]
enum First {
    Kernel,
    Caller,
    CallerAlone,
}

fn rotate(first: First) {
    let (left, right) = Namespace::joined_pair();
    let key = || Some(PresharedKey::from_bytes([9; 32]));
    play(
        (left, async move |ready, done| {
            let node = start_node(Engine::Kernel, 1);
            let mut caller = peer(2, Vec::new());
            node.tunnel.set_peer(caller.clone()).await.unwrap();
            echo(node.listen(80).await);
            let mut turns = node.listen(90).await;
            ready.cancel();
            // The caller knocks here when it wants the new key to be set, and is let go when it is.
            let (mut knock, _) = turns.accept().await.unwrap();
            knock.read_exact(&mut [0; 3]).await.unwrap();
            if first != First::CallerAlone {
                caller.preshared_key = key();
                node.tunnel.set_peer(caller).await.unwrap();
            }
            drop(knock);
            done.cancelled().await;
            node.tunnel.shutdown().await;
        }),
        (right, async move || {
            let node = start_node(Engine::Userspace, 2);
            let mut server = peer(1, vec![underlay(1)]);
            node.tunnel.set_peer(server.clone()).await.unwrap();
            let mut stream = node.dial(overlay(1, 80)).await.unwrap();
            let mut knock = node.dial(overlay(1, 90)).await.unwrap();
            let mut events = node.tunnel.events();
            server.preshared_key = key();
            if first != First::Kernel {
                node.tunnel.set_peer(server.clone()).await.unwrap();
                node.tunnel.refresh().await;
                node.tunnel.refresh().await;
            }
            knock.write_all(b"now").await.unwrap();
            // Its end says that the server has it.
            let _ = timeout(LIMIT, knock.read_u8()).await.unwrap();
            if first == First::Kernel {
                node.tunnel.set_peer(server).await.unwrap();
                node.tunnel.refresh().await;
            }
            stream.write_all(b"x").await.unwrap();
            assert_eq!(
                timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap(),
                b'x'
            );
            let completed = TunnelEvent::HandshakeCompleted { peer: key_of(1) };
            wait_for(&mut events, completed).await;
            stream.write_all(b"y").await.unwrap();
            assert_eq!(
                timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap(),
                b'y'
            );
            node.tunnel.shutdown().await;
        }),
    );
}

#[test]
fn the_engine_is_proven_in_a_virtual_machine() {
    if no_kernel().is_none() {
        println!("skipped: this kernel has WireGuard, so its tests and stories have run");
        return;
    }
    virtual_machine::run_this_program("conformance", &RUNS);
}

fn key_of(number: u8) -> malha_tunnel::PublicKey {
    key(number).public_key()
}

fn has_table() -> bool {
    let list = ["list", "table", "inet", &format!("malha_{INTERFACE}")];
    let listed = Command::new("nft").args(list).output().unwrap();
    listed.status.success()
}

/// The kernel knows one load for all its tunnels: while one is flooded, the callers of all are asked for cookies. So that story
/// is played alone. Then the stories of `userspace`: Debian 12's kernel is older than Linux 6.2, with which UDP segmentation came to TUN.
/// But for that of the load, which has nothing of a kernel: our engines are under load from 400 handshakes a second on, and an emulated
/// processor with something else to do never judges as many.
const RUNS: [&str; 5] = [
    "kernel:: --skip under_load --test-threads=4",
    "kernel::under_load",
    "userspace:: --skip clock --skip under_load --test-threads=4",
    "ipsec::",
    "beside_relay::",
];
