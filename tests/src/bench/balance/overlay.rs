//! The race at an overlay address: one node with a tunnel, balancers at its overlay address, and behind the tunnel one machine
//! that has the clients and the servers. Every byte goes through the tunnel twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use malha_node::balancers::Balancers;
use malha_proto::{
    Algorithm, Backend, BackendMode, Balancer, BalancerId, Exposure, OverlayAddresses, Port,
    ServiceId,
};
use malha_proxy::balance::MAX_CONNECTIONS;
use malha_tunnel::{Allow, Engine, PeerConfig, PrivateKey, Tunnel, TunnelConfig, start};

use super::contender::{Contender, Stage, haproxy, like_an_agent};
use super::load::server;
use crate::lab::{Namespace, Process};

pub(super) fn contenders(folder: &Path) -> Result<Vec<Contender>> {
    let stage = Arc::new(stage(folder)?);
    let contender = |name, port, balancer| {
        let stage = Some(Arc::clone(&stage));
        Contender::ready(name, overlay(NODE, port), balancer, stage)
    };
    let theirs = |port, option| {
        let (command, address) = (stage.here.command("haproxy"), overlay(NODE, port));
        let bind = format!("interface {INTERFACE}");
        let servers = SERVERS.map(|number| overlay(number, SERVER_PORT));
        haproxy(command, folder, address, (&bind, option), servers).map(Arc::new)
    };
    // Ours first: it is there when the tunnel is, at whose address the others listen.
    Ok(vec![
        contender("malha", MALHA_PORT, Arc::clone(&stage.node))?,
        contender("haproxy", 5501, theirs(5501, "")?)?,
        contender(
            "haproxy splice",
            5502,
            theirs(5502, "    option splice-auto\n")?,
        )?,
    ])
}

fn stage(folder: &Path) -> Result<Stage> {
    let (here, there) = (Namespace::new("node")?, Namespace::new("far")?);
    here.connect("cable", &there, "cable")?;
    for (namespace, number) in [(&here, NODE), (&there, FAR)] {
        let address = underlay(number).ip();
        namespace.ip(&format!("address add {address}/24 dev cable"))?;
        namespace.ip("link set cable up")?;
    }
    let program = std::env::current_exe()?;
    let start = |namespace: &Namespace, word| {
        let mut command = namespace.command(&program);
        let log = folder.join(format!("{word}.log"));
        Process::start(word, command.arg(word), &log)
    };
    Ok(Stage {
        node: Arc::new(start(&here, "node")?),
        _far: start(&there, "far")?,
        here,
        there,
    })
}

/// The node: a tunnel and our balancer in one process, as an agent has them, until it is killed.
pub(super) fn node() -> Result<()> {
    like_an_agent(async {
        let tunnel = tunnel(NODE, &[NODE], FAR).await?;
        let me = OverlayAddresses {
            v4: [100, 64, 0, NODE].into(),
            v6: overlay6(NODE),
        };
        let wanted = BTreeMap::from([(BalancerId(1), balancer()?)]);
        let mut balancers = Balancers::default();
        for (_, outcome) in balancers.open(&tunnel, me, &wanted).await {
            outcome.map_err(anyhow::Error::msg)?;
        }
        std::future::pending().await
    })
}

/// The far machine's tunnel and the servers behind it, until it is killed.
pub(super) fn far() -> Result<()> {
    like_an_agent(async {
        let [a, b] = SERVERS;
        let _tunnel = tunnel(FAR, &[FAR, a, b], NODE).await?;
        for number in SERVERS {
            server(overlay(number, 0).ip(), SERVER_PORT)?;
        }
        std::future::pending().await
    })
}

/// A tunnel to one peer, which may open any TCP port.
async fn tunnel(own: u8, addresses: &[u8], other: u8) -> Result<Arc<dyn Tunnel>> {
    let mut nets = Vec::new();
    for number in addresses {
        nets.push(format!("100.64.0.{number}/10"));
    }
    nets.push(format!("{}/48", overlay6(own)));
    let nets = nets.iter().map(|it| it.parse());
    let mut config = TunnelConfig::new(key(own), nets.collect::<Result<_, _>>()?);
    config.listen = vec![underlay(own)];
    config.interface = INTERFACE.into();
    let tunnel = start(Engine::Userspace, config)?;
    let mut peer = PeerConfig::new(key(other).public_key());
    peer.endpoints = vec![underlay(other)];
    let behind: &[u8] = match other {
        FAR => &[FAR, SERVERS[0], SERVERS[1]],
        _ => &[NODE],
    };
    let behind = behind.iter().map(|it| overlay(*it, 0).ip().into());
    peer.allowed_ips = behind.collect();
    peer.ingress = vec![Allow::tcp(1..=u16::MAX)];
    tunnel.set_peer(peer).await?;
    Ok(tunnel)
}

fn balancer() -> Result<Balancer> {
    let connections = MAX_CONNECTIONS as u32;
    Ok(Balancer {
        id: BalancerId(1),
        name: "xroad".parse()?,
        port: Port::new(MALHA_PORT).context("no port")?,
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
