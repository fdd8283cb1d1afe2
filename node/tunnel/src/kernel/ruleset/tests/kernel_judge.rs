//! A network namespace with a TUN device and the real table. A packet written to the device is judged before the write
//! returns, so a raw socket that then has nothing says that it was refused.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Instant;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Protocol, Socket, Type};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::conntrack::Conntrack;
use super::packets::{Kind, Step};
use crate::config::PeerConfig;
use crate::flow::ICMP_IDLE;
use crate::kernel::ruleset::{Change, Ruleset};
use crate::nftables;

pub(super) struct KernelJudge {
    rules: Ruleset,
    tun: SyncDevice,
    /// IPv4, IPv6.
    leaving: [Socket; 2],
    arriving: Vec<(u8, bool, Socket)>,
    conntrack: Conntrack,
    /// The namespace in which this thread was before.
    home: File,
}

impl KernelJudge {
    /// None, with the reason printed, where this can't be done.
    pub(super) fn start(own: &BTreeSet<IpAddr>, peers: &[PeerConfig]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return None;
        }
        if Command::new("nft").arg("-v").output().is_err() {
            println!("skipped: nft is missing; install the package nftables");
            return None;
        }
        let home = File::open("/proc/thread-self/ns/net").unwrap();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let tun = DeviceBuilder::new()
            .name("m0")
            .mtu(1500)
            .ipv4(Ipv4Addr::new(100, 64, 0, 1), 10, None)
            .build_sync()
            .unwrap();
        // Otherwise it can be sent from a moment later.
        ip("address add fd00::1/16 dev m0 nodad");
        let arriving = ARRIVING.map(|(protocol, ipv6)| (protocol, ipv6, raw(protocol, ipv6)));
        let judge = Self {
            rules: Ruleset::new("m0", own.clone()),
            tun,
            leaving: [raw(255, false), raw(255, true)],
            arriving: arriving.into(),
            conntrack: Conntrack::open(),
            home,
        };
        Some(judge.prepare(peers))
    }

    fn prepare(mut self, peers: &[PeerConfig]) -> Self {
        // Only the test speaks: the kernel's own answers would be packets that nobody else judges.
        self.apply(&format!(
            "add table inet silence
            add chain inet silence output {{ type filter hook output priority -500; }}
            add rule inet silence output oifname m0 meta mark != {MARK} drop"
        ));
        self.apply(&self.rules.whole());
        self.set_peers(peers);
        // nft has no policies for ICMP, and the machine's time is half of this.
        for timer in ["icmp_timeout", "icmpv6_timeout"] {
            self.limit(timer, ICMP_IDLE.as_secs() as u32);
        }
        self
    }

    pub(super) fn set_peers(&mut self, peers: &[PeerConfig]) {
        let mut change = Change::default();
        for peer in peers {
            self.rules.set_peer(peer, &mut change).unwrap();
        }
        self.apply(&self.rules.script(&change));
    }

    /// Sets one of the machine's own limits for flows; with 0 a flow ends with the packet that it applies to.
    pub(super) fn limit(&self, timer: &str, limit_s: u32) {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_{timer}");
        fs::write(path, limit_s.to_string()).unwrap();
    }

    pub(super) fn wait(&mut self, wait_s: u32) {
        self.conntrack.wait(wait_s);
    }

    pub(super) fn apply(&self, script: &str) {
        nftables::apply(script).unwrap_or_else(|error| panic!("{error}\n{script}"));
    }

    pub(super) fn counted(&self) -> Vec<(String, u64)> {
        nftables::counters(self.rules.table()).unwrap()
    }

    pub(super) fn counted_as(&self, name: &str) -> u64 {
        let counted = self.counted();
        let mut counted = counted.iter().filter(|(of, _)| of == name);
        counted.next().unwrap().1
    }

    /// The table as the kernel has it, without what was counted.
    pub(super) fn listed(&self) -> String {
        let list = ["-s", "list", "table", "inet", self.rules.table()];
        let listed = Command::new("nft").args(list).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    }

    pub(super) fn arrive(&self, step: &Step) {
        self.tun.send(&step.bytes()).unwrap();
    }

    /// The next packet that has left by the device.
    pub(super) fn left(&self, until: Instant) -> Option<Vec<u8>> {
        let patience = until.saturating_duration_since(Instant::now());
        let patience = patience.try_into().unwrap();
        let mut readable = [PollFd::new(&self.tun, PollFlags::IN)];
        if poll(&mut readable, Some(&patience)).unwrap() == 0 {
            return None;
        }
        let mut packet = vec![0; 2048];
        let length = self.tun.recv(&mut packet).unwrap();
        packet.truncate(length);
        Some(packet)
    }

    pub(super) fn admits(&mut self, step: &Step, packet: &[u8]) -> bool {
        let ipv6 = step.remote.is_ipv6();
        if step.leaving {
            let to = SocketAddr::new(step.remote, 0).into();
            let sent = self.leaving[usize::from(ipv6)].send_to(packet, &to);
            assert_eq!(sent.unwrap(), packet.len());
            return true;
        }
        self.tun.send(packet).unwrap();
        let protocol = match step.kind {
            Kind::Tcp { .. } => 6,
            Kind::Udp => 17,
            Kind::Other(protocol) => protocol,
            _ if ipv6 => 58,
            _ => 1,
        };
        let is_right = |(p, v6, _): &&(u8, bool, Socket)| (*p, *v6) == (protocol, ipv6);
        let (_, _, socket) = self.arriving.iter().find(is_right).unwrap();
        let mut buffer = Vec::with_capacity(2048);
        match socket.recv(buffer.spare_capacity_mut()) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                false
            }
        }
    }
}

impl Drop for KernelJudge {
    fn drop(&mut self) {
        let _ = setns(self.home.as_fd(), CloneFlags::CLONE_NEWNET);
    }
}

/// A raw socket on the device; protocol 255 (IPPROTO_RAW) sends whole packets.
fn raw(protocol: u8, ipv6: bool) -> Socket {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let protocol = Protocol::from(i32::from(protocol));
    let socket = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.set_mark(MARK).unwrap();
    socket.bind_device(Some(b"m0")).unwrap();
    socket
}

pub(super) fn ip(words: &str) -> String {
    let called = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(called.status.success(), "ip {words}: {called:?}");
    String::from_utf8(called.stdout).unwrap()
}

const MARK: u32 = 7;
const ARRIVING: [(u8, bool); 20] = [
    (1, false),
    (2, false),
    (6, false),
    (17, false),
    (47, false),
    (50, false),
    (51, false),
    (58, false),
    (59, false),
    (89, false),
    (132, false),
    (1, true),
    (2, true),
    (6, true),
    (17, true),
    (47, true),
    (58, true),
    (59, true),
    (89, true),
    (132, true),
];
