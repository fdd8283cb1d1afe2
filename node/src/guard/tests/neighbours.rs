//! What a closed UDP port hears of a neighbour in a namespace of its own, at the other end of a cable.

use std::fs::File;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::sched::setns;
use socket2::{Domain, Socket, Type};

use super::*;

/// A program that listens on all addresses gets what is sent to everybody, too. Busy machines have conntrack leave UDP alone.
#[test]
fn a_closed_udp_port_hears_no_broadcast_and_no_multicast_tracked_or_not() {
    alone(async || {
        let cable = Cable::new();
        let map = Arc::new(map_that_closes_udp(161));
        guard(GuardChoice::Auto).close(&map).await;
        for is_tracked in [true, false] {
            if !is_tracked {
                nftables::apply(NO_TRACK).unwrap();
            }
            for (everybody, one) in [
                ("192.168.77.1", "192.168.77.1"),
                ("192.168.77.255", "192.168.77.1"),
                ("255.255.255.255", "192.168.77.1"),
                ("224.0.0.1", "192.168.77.1"),
                ("fd77::1", "fd77::1"),
                ("ff02::1", "fd77::1"),
            ] {
                let story = format!("{everybody}, tracked: {is_tracked}");
                assert_eq!(cable.heard(everybody, 162, one), [162, 170], "{story}");
                assert_eq!(cable.heard(everybody, 161, one), [170], "{story}");
            }
        }
    });
}

const NO_TRACK: &str = "\
    add table ip raw\n\
    add chain ip raw before { type filter hook prerouting priority -300; }\n\
    add rule ip raw before udp dport 0-65535 notrack\n\
    add table ip6 raw\n\
    add chain ip6 raw before { type filter hook prerouting priority -300; }\n\
    add rule ip6 raw before udp dport 0-65535 notrack\n";

#[test]
fn an_answer_comes_to_a_closed_udp_port() {
    alone(async || {
        let cable = Cable::new();
        let map = Arc::new(map_that_closes_udp(161));
        guard(GuardChoice::Auto).close(&map).await;
        for (family, other) in ["192.168.77.2", "fd77::2"].into_iter().enumerate() {
            let (neighbour, (_, asks)) = (&cable.neighbour[family], &cable.listening[family][0]);
            let port = neighbour.local_addr().unwrap().port();
            let other = SocketAddr::new(other.parse().unwrap(), port);
            asks.send_to(&[1], other).unwrap();
            neighbour
                .set_read_timeout(Some(testbed::TEST_LIMIT))
                .unwrap();
            let (_, asker) = neighbour.recv_from(&mut [0]).unwrap();
            neighbour.send_to(&[1], asker).unwrap();
            asks.set_nonblocking(false).unwrap();
            asks.set_read_timeout(Some(testbed::TEST_LIMIT)).unwrap();
            asks.recv(&mut [0]).unwrap();
        }
    });
}

#[test]
fn what_is_forwarded_to_another_machine_is_none_of_the_guards_business() {
    alone(async || {
        let cable = Cable::new();
        let map = Arc::new(map_that_closes_udp(161));
        guard(GuardChoice::Auto).close(&map).await;
        for (other, one) in [("198.51.100.1", "192.168.77.1"), ("fd99::1", "fd77::1")] {
            cable.heard(other, 161, one);
        }
        let table = ["list", "table", "inet", "malha_guard_m0"];
        let listed = Command::new("nft").args(table).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let dropped = listed.lines().filter(|line| line.ends_with("drop"));
        let mut dropped = dropped.map(|line| line.contains("counter packets 0 "));
        assert!(dropped.all(|is_none| is_none), "{listed}");
    });
}

fn map_that_closes_udp(port: u16) -> Netmap {
    let mut map = testbed::netmap(1);
    map.closed = Some([closed(Protocol::Udp, port)].into());
    map
}

/// A neighbour in a namespace of its own, at the other end of a cable. The thread stays at this end.
struct Cable {
    /// At all addresses of this end, IPv4 and IPv6.
    listening: [[(u16, UdpSocket); 3]; 2],
    neighbour: [UdpSocket; 2],
    end: u32,
}

impl Cable {
    fn new() -> Self {
        let here = File::open("/proc/thread-self/ns/net").unwrap();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let descriptor = format!("/proc/{}/fd/{}", std::process::id(), here.as_raw_fd());
        ip("link add end type veth peer name lan");
        ip(&format!("link set lan netns {descriptor}"));
        connect("end", ["192.168.77.2/24", "fd77::2/64"]);
        ip("route add default via 192.168.77.1");
        ip("route add default via fd77::1");
        let neighbour = ["0.0.0.0:0", "[::]:0"].map(|any| sender(any.parse().unwrap()));
        let end = nix::net::if_::if_nametoindex("end").unwrap();
        setns(here, CloneFlags::CLONE_NEWNET).unwrap();
        connect("lan", ["192.168.77.1/24", "fd77::1/64"]);
        let listening = ["0.0.0.0", "::"].map(|any| {
            let any = any.parse().unwrap();
            [161, 162, 170].map(|port| (port, listener(SocketAddr::new(any, port))))
        });
        Self {
            listening,
            neighbour,
            end,
        }
    }

    /// The ports at which the machine hears of a datagram to this address and port, and of one that follows it to an open
    /// port at `one`. When that has come, the other has, too, or never will.
    fn heard(&self, address: &str, port: u16, one: &str) -> Vec<u16> {
        let address: IpAddr = address.parse().unwrap();
        let family = usize::from(address.is_ipv6());
        let (sender, listening) = (&self.neighbour[family], &self.listening[family]);
        let address = match address {
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.end).into(),
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
        };
        sender.send_to(&[1], address).unwrap();
        sender
            .send_to(&[1], (one.parse::<IpAddr>().unwrap(), 170))
            .unwrap();
        let last = &listening[2].1;
        last.set_nonblocking(false).unwrap();
        last.set_read_timeout(Some(testbed::TEST_LIMIT)).unwrap();
        last.recv(&mut [0]).unwrap();
        let others = listening[..2].iter();
        let others = others.filter(|(_, socket)| socket.recv(&mut [0]).is_ok());
        others.map(|(port, _)| *port).chain([170]).collect()
    }
}

fn connect(interface: &str, addresses: [&str; 2]) {
    // Duplicates can't be, and until that is known an address is of no use.
    fs::write(
        format!("/proc/sys/net/ipv6/conf/{interface}/accept_dad"),
        "0",
    )
    .unwrap();
    for address in addresses {
        ip(&format!("address add {address} dev {interface}"));
    }
    ip(&format!("link set {interface} up"));
}

fn sender(any: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_broadcast(true).unwrap();
    socket
}

/// One of IPv6 hears nothing of IPv4.
fn listener(any: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::for_address(any), Type::DGRAM, None).unwrap();
    if any.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_nonblocking(true).unwrap();
    socket.bind(&any.into()).unwrap();
    socket.into()
}
