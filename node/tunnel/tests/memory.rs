//! What a thousand idle peers with a session each add to a hub's memory. It is alone in its program, since it reads what the whole
//! process holds, the allocator's own part included.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use boringtun::noise::{Tunn, TunnResult};
use ipnet::IpNet;
use malha_tunnel::{Allow, Device, Path, PeerConfig, PrivateKey, TunnelConfig};
use x25519_dalek::StaticSecret;

#[test]
fn a_thousand_idle_peers_hold_little_more_than_their_session_machines() {
    let now = Instant::now();
    let key = PrivateKey::generate();
    let config = TunnelConfig::new(key.clone(), vec!["100.96.0.1/12".parse().unwrap()]);
    let mut hub = Device::new(&config, now).unwrap();
    let members: Vec<Member> = (0..=PEERS)
        .map(|number| Member::new(number, &key))
        .collect();
    // The first one is not counted: it finds everything that there is once.
    hub.set_peer(members[0].as_peer(), now).unwrap();
    members[0].calls(&mut hub, now);

    let before = held_bytes();
    for member in &members[1..] {
        hub.set_peer(member.as_peer(), now).unwrap();
    }
    let configured = held_bytes() - before;
    for member in &members[1..] {
        member.calls(&mut hub, now);
    }
    let idle = held_bytes() - before;

    let peers = hub.peers(now);
    assert!(peers.iter().all(|it| it.last_rx_age.is_some()));
    let each = |bytes: usize| bytes / PEERS as usize;
    println!(
        "a peer holds {} bytes, of which {} before its handshake",
        each(idle),
        each(configured)
    );
    assert!(
        each(idle) <= MACHINE_BYTES + OWN_BYTES,
        "{} bytes",
        each(idle)
    );
}

/// One that dials the hub, shakes hands once and is silent from then on.
struct Member {
    number: u32,
    key: PrivateKey,
    hub: x25519_dalek::PublicKey,
}

impl Member {
    fn new(number: u32, hub: &PrivateKey) -> Self {
        Self {
            number,
            key: PrivateKey::generate(),
            hub: x25519_dalek::PublicKey::from(*hub.public_key().as_bytes()),
        }
    }

    /// As the hub of an installation knows it.
    fn as_peer(&self) -> PeerConfig {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 97, 0, 0)) + self.number);
        let mut peer = PeerConfig::new(self.key.public_key());
        peer.allowed_ips = vec![IpNet::from(std::net::IpAddr::from(address))];
        peer.ingress = vec![Allow::tcp(1..=u16::MAX), Allow::udp(1..=u16::MAX)];
        peer
    }

    /// Shakes hands, and proves that it has the session.
    fn calls(&self, hub: &mut Device, now: Instant) {
        let secret = StaticSecret::from(*self.key.as_bytes());
        let mut tunn = Tunn::new(secret, self.hub, None, None, self.number, None);
        // A prefix of its own, since each may only begin so often.
        let [_, high, low, _] = (self.number << 8).to_be_bytes();
        let path = Path::udp(SocketAddr::from(([10, high, low, 1], 51820)));
        let mut buffer = [0; 2048];
        for _ in 0..MAX_CALLS {
            let TunnResult::WriteToNetwork(call) =
                tunn.format_handshake_initiation(&mut buffer, true)
            else {
                panic!("no initiation");
            };
            hub.handle_datagram(path, call, now);
            while hub.poll_event().is_some() {}
            let answer = hub.poll_transmit().expect("no answer");
            let result = tunn.decapsulate(None, &answer.payload, &mut buffer);
            hub.recycle_transmit(answer);
            if let TunnResult::WriteToNetwork(confirmation) = result {
                hub.handle_datagram(path, confirmation, now);
                while hub.poll_event().is_some() {}
                return;
            }
            // It was a cookie, because of load.
        }
        panic!("member {} was not answered", self.number);
    }
}

/// The memory of this process that is no file's.
fn held_bytes() -> usize {
    let all = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<usize>().unwrap() * 1024
}

const PEERS: u32 = 1000;
/// A call, a cookie, and the call with it.
const MAX_CALLS: usize = 3;
/// boringtun's session machine.
const MACHINE_BYTES: usize = size_of::<Tunn>();
/// Everything else: the peer itself 1 KB, the entries of three tables, permissions, the way by which it was heard, what it last
/// ordered and told. With the machine at most 13.0 MiB for a thousand; 25 MiB are promised.
const OWN_BYTES: usize = 2560;
