//! A path on which the kernel cuts no batches, and says so only when it is given one (EIO): what a host wraps in IPsec goes out datagram by
//! datagram. Needs root and a kernel with ESP; where that is missing, the virtual machine has one.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Command;

use malha_tunnel::Engine;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

use crate::nodes::meeting::{play, serve, start_node, underlay};
use crate::nodes::namespace::{Namespace, missing};
use crate::nodes::*;

#[test]
fn a_tunnel_goes_on_where_batches_are_refused_when_they_are_sent() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let (left, right) = Namespace::joined_pair();
    if let Err(why) = wrap(&left).and_then(|()| wrap(&right)) {
        println!("skipped: this kernel has no IPsec ({why}); see the virtual machine");
        return;
    }
    play(
        (left, async move |ready, done| {
            serve(Engine::Userspace, 1, 2, ready, done).await
        }),
        (right, async move || {
            assert_eq!(batch_by_the_kernel(), Err(Errno::EIO));
            let node = start_node(Engine::Userspace, 2);
            let server = peer(1, vec![underlay(1)]);
            node.tunnel.set_peer(server).await.unwrap();
            let bytes = if is_emulated() { 256 * 1024 } else { 8 << 20 };
            for address in [overlay(1, 80), overlay6(1, 80)] {
                let stream = node.dial(address).await.unwrap();
                assert_echoes(stream, body(bytes, 19)).await;
            }
            let underlay = node.tunnel.stats().await.underlay;
            assert_eq!(underlay.send_errors, 0);
            let mtu_bytes = config(2).mtu_bytes;
            assert!(underlay.datagrams_sent as usize > 2 * bytes / mtu_bytes);
            node.tunnel.shutdown().await;
        }),
    );
}

/// Wraps UDP of one end of the cable in ESP, which neither hides nor protects anything here.
fn wrap(namespace: &Namespace) -> Result<(), String> {
    for (from, to) in [(1, 2), (2, 1)] {
        let own = if namespace.name.ends_with('a') { 1 } else { 2 };
        let direction = if from == own { "out" } else { "in" };
        let ends = format!("src 192.168.77.{from} dst 192.168.77.{to}");
        xfrm(
            namespace,
            &format!("state add {ends} proto esp spi 0x{from}00 mode transport"),
            &["enc", "cipher_null", "", "auth", "digest_null", ""],
        )?;
        xfrm(
            namespace,
            &format!("policy add {ends} proto 17 dir {direction} tmpl proto esp mode transport"),
            &[],
        )?;
    }
    Ok(())
}

fn xfrm(namespace: &Namespace, words: &str, more: &[&str]) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(["-n", &namespace.name, "xfrm"]);
    let output = command.args(words.split(' ')).args(more).output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// What the kernel says when a batch of two datagrams is to go the wrapped way.
fn batch_by_the_kernel() -> Result<usize, Errno> {
    let underlay_of = |number| match underlay(number) {
        std::net::SocketAddr::V4(address) => address,
        std::net::SocketAddr::V6(address) => panic!("{address} is no IPv4 address"),
    };
    let socket = UdpSocket::bind((*underlay_of(2).ip(), 0)).unwrap();
    sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(&[7; 1000])],
        &[ControlMessage::UdpGsoSegments(&500)],
        MsgFlags::empty(),
        Some(&SockaddrIn::from(underlay_of(1))),
    )
}
