//! That the lab's routers are of the kinds that they claim to be: what is proven behind them is worth no more than they are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{Access, CLIENT, Connected, HUB, Lab, Mapping, story};

/// The outer ports of one inner socket, towards two ports of one address and one port of another.
struct Ports {
    inner: u16,
    outer: [u16; 3],
}

#[test]
fn each_router_maps_ports_as_its_kind_says() {
    story("kinds of routers", |lab| {
        let homes = [
            Mapping::Preserving,
            Mapping::Restricted,
            Mapping::PerAddress,
            Mapping::Symmetric,
        ];
        for (mapping, number) in homes.into_iter().zip(0..) {
            let home = lab.connected(Access::Home(mapping), number)?;
            check(mapping, &observe(lab, &home)?)?;
        }
        let mobile = lab.connected(Access::Mobile, 10)?;
        check(Mapping::Restricted, &observe(lab, &mobile)?)?;
        let carrier = lab.connected(Access::Carrier(Mapping::Symmetric), 11)?;
        check(Mapping::Symmetric, &observe(lab, &carrier)?)
    });
}

fn check(mapping: Mapping, ports: &Ports) -> Result<()> {
    let Ports { inner, outer } = ports;
    let [first, same_address, elsewhere] = outer;
    let holds = match mapping {
        Mapping::Preserving => outer.iter().all(|port| port == inner),
        Mapping::Restricted => first != inner && first == same_address && first == elsewhere,
        Mapping::PerAddress => first == same_address && first != elsewhere,
        Mapping::Symmetric => first != same_address && first != elsewhere,
    };
    ensure!(holds, "{mapping:?} turned {inner} into {outer:?}");
    Ok(())
}

/// Sends from one socket to three, and then from each and from a stranger back.
fn observe(lab: &Lab, connected: &Connected) -> Result<Ports> {
    let bind = |namespace: &malha_tests::lab::Namespace, address: &str| {
        let socket = namespace.within(|| UdpSocket::bind((address, 0)))??;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        anyhow::Ok(socket)
    };
    let (hub, client) = (&lab.hub.namespace, &lab.client.namespace);
    let servers = [bind(hub, HUB)?, bind(hub, HUB)?, bind(client, CLIENT)?];
    let inner = bind(&connected.machine.namespace, "0.0.0.0")?;
    let mut outer = [UNSEEN; 3];
    for (server, outer) in servers.iter().zip(&mut outer) {
        inner.send_to(b"out", server.local_addr()?)?;
        let (_, from) = server.recv_from(&mut [0; 16]).context("nothing came out")?;
        ensure!(
            from.ip().to_string() == connected.outer_address(),
            "it came from {from}"
        );
        *outer = from;
    }
    let stranger = bind(client, CLIENT)?;
    stranger.send_to(b"unasked", outer[0])?;
    for (server, outer) in servers.iter().zip(outer) {
        server.send_to(b"back", outer)?;
        let (length, from) = inner.recv_from(&mut [0; 16]).context("nothing came back")?;
        ensure!(length == b"back".len(), "{from} came in unasked");
    }
    Ok(Ports {
        inner: inner.local_addr()?.port(),
        outer: outer.map(|address| address.port()),
    })
}

const UNSEEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
