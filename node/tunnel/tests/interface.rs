//! An interface that somebody changes while its tunnel runs, or on which the machine wants no IPv6. It needs root, and is skipped
//! elsewhere; the kernel engine's stories also where the kernel has no WireGuard.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

#[allow(dead_code, reason = "the battery of all engines uses the rest")]
#[path = "conformance/ground.rs"]
mod ground;
mod nodes;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use ground::{Ground, SUBJECT, ip, play};
use malha_tunnel::{Engine, InterfaceState, TunnelConfig};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket,
};
use nix::sys::time::TimeVal;
use nodes::namespace::{ipv6_setting, make_settings_read_only, no_kernel, switch_ipv6_off};
use nodes::virtual_machine::run_this_program;
use nodes::{LIMIT, Node, overlay, overlay6};
use tokio::net::TcpListener;
use tokio::time::timeout;

#[test]
fn an_interface_that_somebody_set_down_comes_up_again() {
    for engine in WITH_INTERFACE {
        play(Ground::new(engine, 1), async |ground| {
            comes_back_after(ground, &["link set malha0 down"]).await;
        });
    }
}

#[test]
fn addresses_that_somebody_took_away_come_back() {
    for engine in WITH_INTERFACE {
        play(Ground::new(engine, 1), async |ground| {
            comes_back_after(ground, &["address flush dev malha0"]).await;
        });
    }
}

#[test]
fn routes_that_somebody_took_away_come_back() {
    for engine in WITH_INTERFACE {
        play(Ground::new(engine, 1), async |ground| {
            let steps = &["route del 100.64.0.0/10", "route del fd00::/48"];
            comes_back_after(ground, steps).await;
        });
    }
}

#[test]
fn an_interface_that_went_down_and_up_has_its_ipv6_again() {
    for engine in WITH_INTERFACE {
        play(Ground::new(engine, 1), async |ground| {
            comes_back_after(ground, &["link set malha0 down", "link set malha0 up"]).await;
        });
    }
}

#[test]
fn a_tunnel_of_several_shards_mends_its_interface_too() {
    play(Ground::new(Engine::Userspace, 2), async |ground| {
        comes_back_after(ground, &["address flush dev malha0"]).await;
    });
}

#[test]
fn ipv6_that_somebody_switches_off_meanwhile_comes_back_to_the_interface() {
    for engine in WITH_INTERFACE {
        play(Ground::new(engine, 1), async |ground| {
            let subject = Node::start(ground.engine, on_ipv4(ground), SUBJECT);
            let back = tokio::task::spawn_blocking(|| {
                let changes = Changes::listen();
                switch_ipv6_off();
                changes.bring_all_back();
            });
            back.await.unwrap();
            subject.tunnel.shutdown().await;
        });
    }
}

#[test]
fn what_cannot_be_set_again_is_said_until_it_can() {
    for engine in WITH_INTERFACE {
        play(Ground::new(engine, 1), async |ground| {
            let subject = ground.subject().await;
            let sees = async |wanted: fn(&InterfaceState) -> bool| {
                let seen = async {
                    while !wanted(&subject.tunnel.interface()) {
                        tokio::task::yield_now().await;
                    }
                };
                timeout(LIMIT, seen).await.expect("it is not said");
            };
            // Too short for IPv6, so its address goes.
            ip("link set malha0 mtu 1000");
            sees(|state| state.trouble.is_some()).await;
            ip("link set malha0 mtu 1420");
            sees(|state| state.trouble.is_none() && state.mended > 0).await;
            assert_eq!(missing(), None);
            subject.tunnel.shutdown().await;
        });
    }
}

#[test]
fn a_tunnel_whose_interface_was_removed_or_renamed_has_ended() {
    let renamed: &[_] = &["link set malha0 down", "link set malha0 name other0"];
    for steps in [&["link del malha0"], renamed] {
        for engine in WITH_INTERFACE {
            play(Ground::new(engine, 1), async move |ground| {
                let subject = ground.subject().await;
                steps.iter().for_each(|step| ip(step));
                let ended = async {
                    while !subject.tunnel.has_ended() {
                        tokio::task::yield_now().await;
                    }
                };
                timeout(LIMIT, ended).await.expect("it goes on");
            });
        }
    }
}

#[test]
fn a_tunnel_has_ipv6_where_the_machine_has_switched_it_off() {
    for engine in WITH_INTERFACE {
        play(Ground::new(engine, 1), async |ground| {
            switch_ipv6_off();
            let subject = Node::start(ground.engine, on_ipv4(ground), SUBJECT);
            assert_eq!(missing(), None);
            TcpListener::bind(overlay6(SUBJECT, 0)).await.unwrap();
            // The operator's wish holds for all others.
            assert_eq!(fs::read_to_string(ipv6_setting("lo")).unwrap().trim(), "1");
            subject.tunnel.shutdown().await;
        });
    }
}

#[test]
fn a_tunnel_that_may_not_have_ipv6_carries_ipv4() {
    for engine in WITH_INTERFACE {
        play(Ground::new(engine, 1), async |ground| {
            switch_ipv6_off();
            make_settings_read_only();
            let subject = Node::start(ground.engine, on_ipv4(ground), SUBJECT);
            TcpListener::bind(overlay(SUBJECT, 0)).await.unwrap();
            let everywhere = subject.listen(0).await;
            assert_eq!(everywhere.local_addrs().len(), 1);
            assert!(subject.tunnel.interface().ipv4_only.is_some());
            let v6 = subject.tunnel.listen(overlay6(SUBJECT, 80)).await;
            assert_eq!(v6.err().unwrap().kind(), ErrorKind::AddrNotAvailable);
            subject.tunnel.shutdown().await;
        });
    }
}

#[test]
fn the_engine_kernel_is_proven_in_a_virtual_machine() {
    if no_kernel().is_none() {
        println!("skipped: this kernel has WireGuard, so its stories have been played");
        return;
    }
    run_this_program("interface", &["--test-threads=1"]);
}

/// Waits until the interface is as it was made, after somebody has changed it.
async fn comes_back_after(ground: Ground, steps: &'static [&'static str]) {
    let subject = ground.subject().await;
    assert_eq!(missing(), None);
    let back = tokio::task::spawn_blocking(move || {
        let changes = Changes::listen();
        steps.iter().for_each(|step| ip(step));
        changes.bring_all_back();
    });
    back.await.unwrap();
    assert!(!subject.tunnel.has_ended());
    subject.tunnel.shutdown().await;
}

/// What the interface has not of what it is to have.
fn missing() -> Option<String> {
    let wanted = [
        ("link show malha0", "UP"),
        ("address show dev malha0", "100.64.0.1/10"),
        ("address show dev malha0", "fd00::1/48"),
        ("route get 100.64.0.9", "dev malha0"),
        ("route get fd00::9", "dev malha0"),
    ];
    let is_missing = |(question, answer): &(&str, &str)| {
        let said = Command::new("ip").args(question.split(' ')).output();
        let said = String::from_utf8(said.unwrap().stdout).unwrap();
        let mut words = said.split(|sign: char| " <>,\n".contains(sign));
        !said.contains(answer) || *answer == "UP" && !words.any(|word| word == *answer)
    };
    let lost = wanted.into_iter().find(is_missing);
    lost.map(|(question, answer)| format!("{answer} in ip {question}"))
}

/// What the kernel tells of links, addresses and routes in this thread's namespace.
struct Changes(OwnedFd);

impl Changes {
    fn listen() -> Self {
        let (flags, family) = (SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, family).unwrap();
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).unwrap();
        let limit = TimeVal::new(LIMIT.as_secs() as i64, 0);
        setsockopt(&socket, ReceiveTimeout, &limit).unwrap();
        Self(socket)
    }

    fn bring_all_back(&self) {
        while let Some(missing) = missing() {
            let next = recv(self.0.as_raw_fd(), &mut [0; 8192], MsgFlags::empty());
            assert!(next.is_ok(), "still missing: {missing}");
        }
    }
}

fn on_ipv4(ground: Ground) -> TunnelConfig {
    let mut config = ground.config();
    config.listen.retain(|address| address.is_ipv4());
    config
}

const WITH_INTERFACE: [Engine; 2] = [Engine::Userspace, Engine::Kernel];
/// RTMGRP_LINK, and RTMGRP_IPV4_ and RTMGRP_IPV6_ with IFADDR and ROUTE, of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x100 | 0x40 | 0x400;
