//! An interface that somebody changes while its tunnel runs. It needs root, and is skipped
//! elsewhere; the kernel engine's stories also where the kernel has no WireGuard.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

#[allow(dead_code, reason = "the battery of all engines uses the rest")]
#[path = "conformance/ground.rs"]
mod ground;
mod nodes;

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use ground::{Ground, ip, play};
use malha_tunnel::{Engine, InterfaceState};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket,
};
use nix::sys::time::TimeVal;
use nodes::LIMIT;
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

/// What the kernel tells of links and addresses in this thread's namespace.
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

const WITH_INTERFACE: [Engine; 2] = [Engine::Userspace, Engine::Kernel];
/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
