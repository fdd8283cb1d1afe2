//! The engines against each other, with a kernel and a cable between them. Needs root and iproute2.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod nodes;

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use malha_tunnel::{Allow, Engine, Keeper, Offload};
use nodes::meeting::{INTERFACE, MIB, engines_meet, play, serve, start_node, underlay};
use nodes::namespace::{Namespace, interface_exists, missing};
use nodes::*;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::net::UdpSocket;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[test]
fn userspace_calls_netstack() {
    engines_meet(Engine::Netstack, Engine::Userspace);
}

#[test]
fn netstack_calls_userspace() {
    engines_meet(Engine::Userspace, Engine::Netstack);
}

#[test]
fn userspace_calls_userspace() {
    engines_meet(Engine::Userspace, Engine::Userspace);
}

#[test]
fn the_interface_is_gone_after_shutdown() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("alone");
    let work = namespace.run(async move || {
        let mut config = config(1);
        config.interface = INTERFACE.into();
        let node = Node::start(Engine::Userspace, config, 1);
        let while_running = interface_exists(INTERFACE);
        node.tunnel.shutdown().await;
        (while_running, interface_exists(INTERFACE))
    });
    assert_eq!(work.join().unwrap(), (true, false));
}

/// Every program that is being started has one, from its fork to its exec, though it is to be closed there.
#[test]
fn shutdown_waits_for_another_descriptor_of_the_interface() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("held");
    let work = namespace.run(async move || {
        let mut config = config(1);
        config.interface = "held0".into();
        config.keeper = Some(Arc::new(Forgetful));
        let node = Node::start(Engine::Userspace, config, 1);
        let another = descriptor_of("held0");
        let mut shutdown = pin!(node.tunnel.shutdown());
        let ended = async {
            while !node.tunnel.has_ended() {
                yield_now().await;
            }
            for _ in 0..TURNS_TO_RETURN {
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = &mut shutdown => panic!("it returned, and the interface is there"),
            () = ended => drop(another),
        }
        shutdown.await;
        assert!(!interface_exists("held0"));
    });
    work.join().unwrap();
}

/// As in a process that no service manager has started.
#[derive(Debug)]
struct Forgetful;

impl Keeper for Forgetful {
    fn take(&self, _: &str) -> Option<OwnedFd> {
        None
    }

    fn keep(&self, _: &str, _: BorrowedFd<'_>) {}

    fn forget(&self, _: &str) {}

    fn freed_at(&self) -> Instant {
        Instant::now()
    }

    fn leave(&self) {}

    fn names(&self) -> Vec<String> {
        vec![]
    }

    fn forget_unclaimed(&self) {}
}

/// One more descriptor of a TUN device of this process.
fn descriptor_of(interface: &str) -> OwnedFd {
    let is_its = |number: &RawFd| {
        let about = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let mut names = about.lines().filter_map(|line| line.strip_prefix("iff:"));
        names.any(|name| name.trim() == interface)
    };
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let mut numbers = open.map(|it| it.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let number = numbers.find(is_its).unwrap();
    pidfd_getfd(process, number, PidfdGetfdFlags::empty()).unwrap()
}

/// As after a restart: a connection that waits to be accepted has come from a peer who has not been heard since.
#[test]
fn a_client_may_stay_though_nobody_knows_yet_where_its_peer_is() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("heard");
    let played = namespace.run(async move || {
        let mut config = config(1);
        config.interface = INTERFACE.into();
        let node = Node::start(Engine::Userspace, config, 1);
        node.tunnel.set_peer(peer(2, vec![])).await.unwrap();
        let listener = node.listen(80).await;
        let sources = listener.kernel_doors().unwrap().sources;
        assert!(sources.cut(overlay(2, 0).ip()).await.is_ok());
        let strange = sources.cut(overlay(3, 0).ip()).await.err().unwrap();
        assert_eq!(strange.kind(), ErrorKind::NetworkUnreachable);
        let dialled = node.dial(overlay(2, 80)).await.err().unwrap();
        assert_eq!(dialled.kind(), ErrorKind::HostUnreachable);
        node.tunnel.shutdown().await;
    });
    played.join().unwrap();
}

/// Linux takes packets to any of its addresses on any of its interfaces, so a neighbour on the underlay may send plain packets
/// to the overlay address.
#[test]
fn a_neighbour_on_the_underlay_cannot_reach_an_overlay_port() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let (left, right) = Namespace::joined_pair();
    right.ip(&["route", "add", "100.64.0.1/32", "via", "192.168.77.1"]);
    play(
        (left, async move |ready, done| {
            serve(Engine::Userspace, 1, 2, ready, done).await
        }),
        (right, async move || {
            let plain = tokio::net::TcpStream::connect(overlay(1, 80));
            let reached = timeout(Duration::from_millis(500), plain).await;
            assert!(
                !matches!(reached, Ok(Ok(_))),
                "a plain connection reached the overlay port"
            );
        }),
    );
}

#[test]
fn ping_is_answered_if_it_is_permitted() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let (left, right) = Namespace::joined_pair();
    play(
        (left, async move |ready, done| {
            serve(Engine::Netstack, 1, 2, ready, done).await
        }),
        (right, async move || {
            let node = start_node(Engine::Userspace, 2);
            node.tunnel
                .set_peer(peer(1, vec![underlay(1)]))
                .await
                .unwrap();
            drop(node.dial(overlay(1, 80)).await.unwrap());
            let pinged = tokio::task::spawn_blocking(|| ping(overlay(1, 0)));
            assert!(pinged.await.unwrap().unwrap() > 0);
            node.tunnel.shutdown().await;
        }),
    );
}

/// What of the kernel's help is there, on which link, and how long the packets in the tunnel are.
struct Link {
    offload: Offload,
    cable_mtu_bytes: usize,
    mtu_bytes: usize,
    /// How long a stream is.
    stream_bytes: usize,
}

/// TCP both ways, and UDP datagrams of many lengths, between two kernels.
fn everything_passes(link: Link) {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let (left, right) = Namespace::joined_pair();
    for namespace in [&left, &right] {
        let mtu = link.cable_mtu_bytes.to_string();
        namespace.ip(&["link", "set", "cable", "mtu", &mtu]);
    }
    let start = move |number| {
        let mut config = config(number);
        config.listen = vec![underlay(number)];
        config.interface = INTERFACE.into();
        config.offload = link.offload;
        config.mtu_bytes = link.mtu_bytes;
        Node::start(Engine::Userspace, config, number)
    };
    play(
        (
            left,
            async move |ready: CancellationToken, done: CancellationToken| {
                let node = start(1);
                let mut caller = peer(2, Vec::new());
                caller.ingress.push(Allow::udp(7..=7));
                node.tunnel.set_peer(caller).await.unwrap();
                echo(node.listen(80).await);
                let socket = UdpSocket::bind(overlay(1, 7)).await.unwrap();
                ready.cancel();
                let mut datagram = vec![0; 65_535];
                loop {
                    tokio::select! {
                        came = socket.recv_from(&mut datagram) => {
                            let (bytes, from) = came.unwrap();
                            socket.send_to(&datagram[..bytes], from).await.unwrap();
                        }
                        () = done.cancelled() => break,
                    }
                }
                let drops = node.tunnel.peers().await[0].drops;
                assert_eq!(
                    (drops.unopened, drops.spoofed, drops.filtered.total()),
                    (0, 0, 0)
                );
                node.tunnel.shutdown().await;
            },
        ),
        (right, async move || {
            let node = start(2);
            let hub = peer(1, vec![underlay(1)]);
            node.tunnel.set_peer(hub).await.unwrap();
            for address in [overlay(1, 80), overlay6(1, 80)] {
                let stream = node.dial(address).await.unwrap();
                assert_echoes(stream, body(link.stream_bytes, 13)).await;
            }
            assert_datagrams_return(overlay(1, 7)).await;
            assert_eq!(node.tunnel.stats().await.device.malformed_packets, 0);
            node.tunnel.shutdown().await;
        }),
    );
}

/// In bursts of one length, which may be joined, and each length once, which must not. None is longer than a packet, since the
/// filter refuses fragments.
async fn assert_datagrams_return(remote: SocketAddr) {
    let socket = UdpSocket::bind(overlay(2, 0)).await.unwrap();
    socket.connect(remote).await.unwrap();
    let lengths = [64; 100].into_iter().chain(1..40).chain([1200; 60]);
    let mut came = vec![0; 65_535];
    let sent: Vec<_> = lengths.map(|bytes| body(bytes, bytes as u64)).collect();
    // No more at a time than the buffer of a socket holds.
    for burst in sent.chunks(20) {
        for datagram in burst {
            socket.send(datagram).await.unwrap();
        }
        for sent in burst {
            let received = timeout(LIMIT, socket.recv(&mut came)).await;
            assert_eq!(&came[..received.unwrap().unwrap()], sent);
        }
    }
}

#[test]
fn everything_passes_with_all_offloads() {
    everything_passes(Link {
        offload: Offload::ON,
        cable_mtu_bytes: 1500,
        mtu_bytes: 1420,
        stream_bytes: 4 * MIB,
    });
}

/// What an older kernel lacks, and what somebody turned off: every combination that there is, on a path of known size and on one
/// that may be narrow.
#[test]
fn everything_passes_with_every_combination_of_offloads() {
    for (tun_tcp, tun_udp) in [(false, false), (true, false), (true, true)] {
        for (udp_send, udp_receive) in [(false, false), (false, true), (true, false), (true, true)]
        {
            for mtu_bytes in [1280, 1420] {
                everything_passes(Link {
                    offload: Offload {
                        udp_send,
                        udp_receive,
                        tun_tcp,
                        tun_udp,
                    },
                    cable_mtu_bytes: 1500,
                    mtu_bytes,
                    stream_bytes: MIB / 4,
                });
            }
        }
    }
}

/// The sealed datagrams don't fit the cable, so each goes in fragments, and no batch goes at all.
#[test]
fn everything_passes_where_the_cable_is_too_narrow_for_a_sealed_packet() {
    everything_passes(Link {
        offload: Offload::ON,
        cable_mtu_bytes: 1280,
        mtu_bytes: 1280,
        stream_bytes: 4 * MIB,
    });
    everything_passes(Link {
        offload: Offload::ON,
        cable_mtu_bytes: 1280,
        mtu_bytes: 1420,
        stream_bytes: 4 * MIB,
    });
}

/// One echo request by the kernel; how many bytes the answer has.
fn ping(remote: SocketAddr) -> std::io::Result<usize> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect(&remote.into())?;
    // Type 8, code 0, checksum, identifier 0, sequence 0.
    socket.send(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0])?;
    let mut answer = Vec::with_capacity(128);
    socket.recv(answer.spare_capacity_mut())
}

/// More than a tunnel that waits for nothing takes to say that it has ended.
const TURNS_TO_RETURN: u32 = 300;
