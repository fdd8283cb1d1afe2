//! A machine behind the node, as a container is: the node publishes its ports under the overlay's address and masquerades what
//! it opens. Its TCP and UDP are the kernel's; the test plays the peer.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Protocol, Socket, Type};

use super::kernel_judge::{KernelJudge, ip};
use super::packets::{Kind, Oddity, Step, WHOLE};
use super::{own, peers};
use crate::nftables;
use crate::packet::{Headers, Transport};

/// The node with what its machine does for the one behind it.
struct Node {
    judge: KernelJudge,
    behind: File,
    here: File,
}

impl Node {
    fn start() -> Option<Self> {
        let judge = KernelJudge::start(&own(), &peers())?;
        let here = namespace();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let behind = namespace();
        setns(&here, CloneFlags::CLONE_NEWNET).unwrap();
        let place = format!("/proc/{}/fd/{}", std::process::id(), behind.as_raw_fd());
        ip(&format!(
            "link add v0 address 02:00:00:00:00:01 type veth peer name c0 address 02:00:00:00:00:02 netns {place}"
        ));
        ip("address add 172.17.0.1/24 dev v0");
        ip("address add fd17::1/64 dev v0 nodad");
        ip("link set v0 up");
        // To ask for a neighbour takes an address that has been tried for a second.
        ip("neighbour add fd17::2 lladdr 02:00:00:00:00:02 dev v0");
        set("ipv4/ip_forward", 1);
        set("ipv6/conf/all/forwarding", 1);
        judge.apply(NAT);
        let node = Self {
            judge,
            behind,
            here,
        };
        node.behind(|| {
            ip("address add 172.17.0.2/24 dev c0");
            ip("address add fd17::2/64 dev c0 nodad");
            ip("link set c0 up");
            ip("neighbour add fd17::1 lladdr 02:00:00:00:00:01 dev c0");
            ip("route add default via 172.17.0.1");
            ip("-6 route add default via fd17::1");
        });
        // Neither is there when the command that leads to it has ended.
        let is_up = |interface| ip(&format!("link show {interface}")).contains("state UP");
        let is_ready = || is_up("c0") && ip("-6 route show table local").contains("local fd17::2 ");
        while !is_up("v0") || !node.behind(is_ready) {
            thread::yield_now();
        }
        Some(node)
    }

    /// Sockets stay where they were made.
    fn behind<T>(&self, work: impl FnOnce() -> T) -> T {
        setns(&self.behind, CloneFlags::CLONE_NEWNET).unwrap();
        let done = work();
        setns(&self.here, CloneFlags::CLONE_NEWNET).unwrap();
        done
    }

    /// The next packet that leaves to this address.
    fn left(&self, to: IpAddr) -> Option<(Headers, Vec<u8>)> {
        let until = Instant::now() + PATIENCE;
        while let Some(packet) = self.judge.left(until) {
            if let Ok(headers) = Headers::parse(&packet)
                && headers.destination == to
            {
                return Some((headers, packet));
            }
        }
        None
    }
}

#[test]
fn a_peer_is_answered_by_who_is_behind_a_published_port_as_long_as_it_may_ask() {
    let Some(mut node) = Node::start() else {
        return;
    };
    for (remote, behind) in [("100.64.0.2", BEHIND_4), ("fd00::2", BEHIND_6)] {
        let remote: IpAddr = remote.parse().unwrap();
        let server = node.behind(|| UdpSocket::bind((behind, 5353)).unwrap());
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let question = step(remote, 53, 5000, Kind::Udp);
        node.judge.arrive(&question);
        let mut buffer = [0; 64];
        let (_, asker) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(asker, SocketAddr::new(remote, 5000));
        server.send_to(b"answer", asker).unwrap();
        let (answer, _) = node.left(remote).expect("nothing answers over UDP");
        let Transport::Udp(ports) = answer.transport else {
            panic!("{answer:?}");
        };
        let us = if remote.is_ipv4() {
            "100.64.0.1"
        } else {
            "fd00::1"
        };
        let source = SocketAddr::new(answer.source, ports.source);
        assert_eq!(source, SocketAddr::new(us.parse().unwrap(), 53));

        let _server = node.behind(|| TcpListener::bind((behind, 8080)).unwrap());
        node.judge
            .arrive(&step(remote, 80, 5001, tcp(SYN, 1000, 0)));
        let (answer, _) = node.left(remote).expect("nothing answers over TCP");
        let Transport::Tcp { ports, flags } = answer.transport else {
            panic!("{answer:?}");
        };
        assert!(flags.syn && flags.ack && ports.source == 80);
    }
    let mut asker = peers().remove(0);
    asker.ingress.clear();
    node.judge.set_peers(&[asker]);
    for remote in ["100.64.0.2", "fd00::2"] {
        let before = node.judge.counted_as("d1");
        let question = step(remote.parse().unwrap(), 53, 5000, Kind::Udp);
        node.judge.arrive(&question);
        assert_eq!(node.judge.counted_as("d1"), before + 1, "{remote}");
    }
}

#[test]
fn what_a_machine_behind_asks_a_peer_is_answered() {
    let Some(node) = Node::start() else {
        return;
    };
    for (remote, behind) in [("100.64.0.3", BEHIND_4), ("fd00::3", BEHIND_6)] {
        let remote: IpAddr = remote.parse().unwrap();
        let asker = node.behind(|| UdpSocket::bind((behind, 0)).unwrap());
        asker.set_read_timeout(Some(PATIENCE)).unwrap();
        asker.connect((remote, 53)).unwrap();
        asker.send(b"question").unwrap();
        let (question, _) = node.left(remote).expect("the question does not leave");
        let Transport::Udp(ports) = question.transport else {
            panic!("{question:?}");
        };
        node.judge
            .arrive(&step(remote, ports.source, 53, Kind::Udp));
        let mut buffer = [0; 64];
        assert_eq!(asker.recv(&mut buffer).unwrap(), 4, "{remote}");
        let refusal = Kind::Error {
            about: Box::new(Kind::Udp),
            from_us: true,
            number: if remote.is_ipv4() { 3 } else { 1 },
            quoted_as: Oddity::None,
            quoted_bytes: WHOLE,
        };
        let before = node.judge.counted_as("answer");
        node.judge.arrive(&step(remote, ports.source, 53, refusal));
        assert_eq!(node.judge.counted_as("answer"), before + 1, "{remote}");

        let client = node.behind(|| {
            Socket::new(Domain::for_address((remote, 0).into()), Type::STREAM, None).unwrap()
        });
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&SocketAddr::new(remote, 443).into());
        let (syn, packet) = node.left(remote).expect("the SYN does not leave");
        let Transport::Tcp { ports, .. } = syn.transport else {
            panic!("{syn:?}");
        };
        let at = if remote.is_ipv4() { 24 } else { 44 };
        let number = u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        let taken = tcp(SYN | ACK, 7000, number.wrapping_add(1));
        node.judge.arrive(&step(remote, ports.source, 443, taken));
        let (ack, _) = node.left(remote).expect("the connection does not stand");
        let Transport::Tcp { flags, .. } = ack.transport else {
            panic!("{ack:?}");
        };
        assert!(flags.ack && !flags.syn && !flags.rst, "{ack:?}");
    }
}

/// It may send anything under the node's address before routing refuses that; conntrack has seen it by then.
#[test]
fn nobody_outside_takes_part_in_the_nodes_own_connections() {
    let Some(mut node) = Node::start() else {
        return;
    };
    node.judge.apply(
        "table inet watch {
            counter part { }
            chain seen {
                type filter hook prerouting priority 0;
                iifname v0 tcp flags rst ct state established counter name part
            }
        }",
    );
    for remote in ["100.64.0.3", "fd00::3"] {
        let remote = remote.parse().unwrap();
        let leaving = |flags, sequence, acknowledged| Step {
            leaving: true,
            ..step(remote, 40_000, 443, tcp(flags, sequence, acknowledged))
        };
        let mut admits = |step: Step| node.judge.admits(&step, &step.bytes());
        assert!(admits(leaving(SYN, 1000, 0)));
        let taken = tcp(SYN | ACK, 5000, 1001);
        assert!(admits(step(remote, 40_000, 443, taken)));
        assert!(admits(leaving(ACK, 1001, 5001)));
        let (forger, marker) = node.behind(|| {
            let domain = Domain::for_address((remote, 0).into());
            let forger = Socket::new(domain, Type::RAW, Some(Protocol::from(255)));
            let behind = if remote.is_ipv4() { BEHIND_4 } else { BEHIND_6 };
            (forger.unwrap(), UdpSocket::bind((behind, 0)).unwrap())
        });
        let to = SocketAddr::new(remote, 0).into();
        forger
            .send_to(&leaving(RST, 1001, 5001).bytes(), &to)
            .unwrap();
        // The cable keeps the order: once this has passed, that was seen.
        let other = if remote.is_ipv4() {
            "100.64.0.2"
        } else {
            "fd00::2"
        };
        let other = other.parse().unwrap();
        marker.send_to(b"", SocketAddr::new(other, 9)).unwrap();
        node.left(other).expect("nothing leaves");
    }
    assert_eq!(nftables::counters("watch").unwrap(), [("part".into(), 0)]);
}

fn step(remote: IpAddr, ours: u16, theirs: u16, kind: Kind) -> Step {
    Step {
        leaving: false,
        remote,
        ours,
        theirs,
        kind,
        oddity: Oddity::None,
    }
}

fn tcp(flags: u8, sequence: u32, acknowledged: u32) -> Kind {
    Kind::Tcp {
        flags,
        sequence,
        acknowledged,
    }
}

fn namespace() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

fn set(switch: &str, value: u8) {
    fs::write(format!("/proc/sys/net/{switch}"), value.to_string()).unwrap();
}

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(5);
const BEHIND_4: &str = "172.17.0.2";
const BEHIND_6: &str = "fd17::2";
const NAT: &str = r#"table inet nat {
	chain published {
		type nat hook prerouting priority dstnat;
		iifname "m0" meta nfproto ipv4 tcp dport 80 dnat ip to 172.17.0.2:8080
		iifname "m0" meta nfproto ipv4 udp dport 53 dnat ip to 172.17.0.2:5353
		iifname "m0" meta nfproto ipv6 tcp dport 80 dnat ip6 to [fd17::2]:8080
		iifname "m0" meta nfproto ipv6 udp dport 53 dnat ip6 to [fd17::2]:5353
	}
	chain masqueraded {
		type nat hook postrouting priority srcnat;
		oifname "m0" ip saddr 172.17.0.0/24 masquerade
		oifname "m0" ip6 saddr fd17::/64 masquerade
	}
}"#;
