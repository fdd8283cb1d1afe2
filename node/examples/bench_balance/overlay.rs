//! The race at an overlay address: one node with a tunnel, balancers at its overlay address, and behind the tunnel one machine
//! that has the clients and the servers. Every byte goes through the tunnel twice.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use malha_node::balancers::Balancers;
use malha_proto::{
    Algorithm, Backend, BackendMode, Balancer, BalancerId, Exposure, OverlayAddresses, Port,
    ServiceId,
};
use malha_proxy::balance::MAX_CONNECTIONS;
use malha_tunnel::{Allow, Engine, PeerConfig, PrivateKey, Tunnel, TunnelConfig, start};

use crate::THREADS;
use crate::contender::{Contender, Process, haproxy};
use crate::load;
use crate::namespace::Namespace;

/// What the contenders stand on.
pub(crate) struct Stage {
    _far: Arc<Process>,
    _node: Arc<Process>,
}

pub(crate) fn contenders() -> io::Result<(Stage, Vec<Contender>)> {
    let [here, there] = Namespace::joined_pair()?;
    let program = std::env::current_exe()?;
    let program = program.to_string_lossy();
    let tunnel = Process::start(here.command(&program).arg("node"))?;
    let far = Process::start(there.command(&program).arg("far"))?;
    let servers = serve(&there)?;
    let contender = |name, port, balancer| {
        let (address, clients) = (overlay(NODE, port), Arc::clone(&there));
        let tunnel = Some(Arc::clone(&tunnel));
        Contender::ready(name, address, balancer, tunnel, Some(clients))
    };
    let theirs = |port, option| {
        let bind = format!("interface {INTERFACE}");
        haproxy(Some(&here), overlay(NODE, port), (&bind, option), servers)
    };
    let splice = "    option splice-auto\n";
    let contenders = vec![
        contender("malha", MALHA_PORT, Arc::clone(&tunnel))?,
        contender("haproxy", 5501, theirs(5501, "")?)?,
        contender("haproxy splice", 5502, theirs(5502, splice)?)?,
    ];
    let stage = Stage {
        _far: far,
        _node: tunnel,
    };
    Ok((stage, contenders))
}

/// The servers on the far machine, as soon as its tunnel is there.
fn serve(there: &Arc<Namespace>) -> io::Result<[SocketAddr; 2]> {
    let there = Arc::clone(there);
    let served = thread::spawn(move || {
        there.enter()?;
        let until = Instant::now() + READY_LIMIT;
        let mut servers = SERVERS.map(|number| overlay(number, SERVER_PORT));
        for address in &mut servers {
            *address = loop {
                match load::server(address.ip(), address.port()) {
                    Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                    served => break served?,
                }
            };
        }
        Ok(servers)
    });
    let served = served.join();
    served.map_err(|_| io::Error::other("the servers panicked"))?
}

/// The node: a tunnel and our balancer in one process, as an agent has them, until it is killed.
pub(crate) fn node() -> io::Result<()> {
    run(async {
        let tunnel = tunnel(NODE, &[NODE], FAR).await?;
        let me = OverlayAddresses {
            v4: [100, 64, 0, NODE].into(),
            v6: overlay6(NODE),
        };
        let wanted = BTreeMap::from([(BalancerId(1), balancer()?)]);
        let mut balancers = Balancers::default();
        for (_, outcome) in balancers.open(&tunnel, me, &wanted).await {
            outcome.map_err(io::Error::other)?;
        }
        std::future::pending().await
    })
}

/// The far machine's tunnel, until it is killed.
pub(crate) fn far() -> io::Result<()> {
    run(async {
        let [a, b] = SERVERS;
        let _tunnel = tunnel(FAR, &[FAR, a, b], NODE).await?;
        std::future::pending().await
    })
}

/// A tunnel to one peer, which may open any TCP port.
async fn tunnel(own: u8, addresses: &[u8], other: u8) -> io::Result<Arc<dyn Tunnel>> {
    let mut nets = Vec::new();
    for number in addresses {
        nets.push(format!("100.64.0.{number}/10"));
    }
    nets.push(format!("{}/48", overlay6(own)));
    let nets = nets.iter().map(|it| it.parse().map_err(io::Error::other));
    let mut config = TunnelConfig::new(key(own), nets.collect::<Result<_, _>>()?);
    config.listen = vec![underlay(own)];
    config.interface = INTERFACE.into();
    let tunnel = start(Engine::Userspace, config).map_err(io::Error::other)?;
    let mut peer = PeerConfig::new(key(other).public_key());
    peer.endpoints = vec![underlay(other)];
    let behind: &[u8] = match other {
        FAR => &[FAR, SERVERS[0], SERVERS[1]],
        _ => &[NODE],
    };
    let behind = behind.iter().map(|it| overlay(*it, 0).ip().into());
    peer.allowed_ips = behind.collect();
    peer.ingress = vec![Allow::tcp(1..=u16::MAX)];
    tunnel.set_peer(peer).await.map_err(io::Error::other)?;
    Ok(tunnel)
}

fn balancer() -> io::Result<Balancer> {
    let port = |number| Port::new(number).ok_or(io::ErrorKind::InvalidInput);
    let connections = MAX_CONNECTIONS as u32;
    Ok(Balancer {
        id: BalancerId(1),
        name: "xroad".parse().map_err(io::Error::other)?,
        port: port(MALHA_PORT)?,
        exposure: Exposure::Tunnel,
        algorithm: Algorithm::LeastConnections,
        backends: SERVERS
            .map(|number| Backend {
                service: ServiceId(number.into()),
                address: overlay(number, SERVER_PORT),
                mode: BackendMode::Serve,
            })
            .into(),
        health: None,
        proxy_protocol: None,
        check_interval_ms: 2_000,
        connect_ms: 1_000,
        idle_s: 300,
        slow_start_s: 10,
        connections,
        connections_per_source: connections,
        allowed_sources: Vec::new(),
    })
}

/// On a runtime like the agent's.
fn run(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number; 32])
}

fn underlay(number: u8) -> SocketAddr {
    ([192, 168, 77, number], 51820).into()
}

fn overlay(number: u8, port: u16) -> SocketAddr {
    ([100, 64, 0, number], port).into()
}

fn overlay6(number: u8) -> std::net::Ipv6Addr {
    [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)].into()
}

const NODE: u8 = 1;
/// Clients come from its address.
const FAR: u8 = 2;
/// Addresses of the far machine, too.
const SERVERS: [u8; 2] = [3, 4];
const INTERFACE: &str = "malha0";
const MALHA_PORT: u16 = 5500;
const SERVER_PORT: u16 = 6500;
const READY_LIMIT: Duration = Duration::from_secs(10);
