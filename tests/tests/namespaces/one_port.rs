//! A network that lets out UDP 443 and nothing else: the hub's one port carries the control channel and the tunnel.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{GARAGE_WEB, Garage, HUB, Lab, PATIENCE, eventually, story};
use serde_json::Value;

/// What a garage says of its hub.
fn hub_of(garage: &Garage) -> Result<Value> {
    let status = garage.machine.status()?;
    let peers = status["peers"].as_array().context("no peers")?;
    let hub = peers.iter().find(|peer| peer["hub"] == true);
    hub.cloned().context("no hub among the peers")
}

/// The tunnel reaches this port of the hub by UDP, and nothing is carried.
fn goes_to_port(garage: &Garage, port: u16) -> Result<()> {
    let hub = hub_of(garage)?;
    ensure!(
        hub["path"] == "direct",
        "the hub is reached by {}",
        hub["path"]
    );
    let expected = format!("{HUB}:{port}");
    ensure!(hub["endpoint"] == *expected, "it is at {}", hub["endpoint"]);
    Ok(())
}

fn speaks_quic(garage: &Garage) -> Result<()> {
    let status = garage.machine.status()?;
    let transport = &status["control"]["transport"];
    ensure!(transport == "QUIC", "the control channel is on {transport}");
    Ok(())
}

/// A garage whose network lets out nothing but UDP 443 from its first day.
fn shut_in(lab: &Lab, number: u8, engine: &str) -> Result<Garage> {
    let mut garage = lab.garage(number)?;
    garage.router.let_out_only("udp", SHARED_PORT)?;
    garage.machine.start_web(GARAGE_WEB)?;
    let token = lab.token_for(&garage)?;
    garage
        .machine
        .enrol(&token, &["--name", "servidor", "--engine", engine])?;
    lab.publish(&garage, GARAGE_WEB)?;
    lab.client.reads(&garage.url())?;
    Ok(garage)
}

#[test]
fn where_only_udp_443_passes_control_and_tunnel_share_the_port() {
    story("only UDP 443", |lab| {
        let mut garages = [shut_in(lab, 1, "userspace")?, shut_in(lab, 2, "netstack")?];
        let hub = lab.hub.json(&["status"])?["hub"].clone();
        let shared = format!("0.0.0.0:{SHARED_PORT}");
        for protocol in ["wireguard", "quic"] {
            let sockets = hub[protocol].as_array().context("no sockets")?;
            ensure!(
                sockets.contains(&shared.clone().into()),
                "{protocol}: {hub}"
            );
        }
        let share_the_port = |garages: &[Garage]| -> Result<()> {
            for garage in garages {
                eventually("the tunnel is on the shared port", PATIENCE, || {
                    goes_to_port(garage, SHARED_PORT)?;
                    speaks_quic(garage)
                })?;
            }
            Ok(())
        };
        share_the_port(&garages)?;

        lab.hub.controller()?.kill()?;
        lab.hub.serve()?;
        for garage in &garages {
            lab.client.reads(&garage.url())?;
        }
        share_the_port(&garages)?;

        garages[0].router.move_to("203.0.113.99")?;
        lab.client.reads(&garages[0].url())?;
        for garage in &mut garages {
            garage.machine.becomes_healthy()?;
        }
        share_the_port(&garages)
    });
}

#[test]
fn a_running_tunnel_moves_to_port_443_when_its_own_port_is_blocked() {
    story("UDP 51820 blocked at a running node", |lab| {
        let garage = lab.open_garage(1, "userspace")?;
        eventually("the tunnel is on its own port", PATIENCE, || {
            goes_to_port(&garage, OWN_PORT)
        })?;
        garage.router.let_out_only("udp", SHARED_PORT)?;
        let cut = Instant::now();
        eventually("the page is read again", PATIENCE, || {
            let answer = lab.client.open(&garage.url(), &["--max-time", "2"])?;
            ensure!(answer.status == 200, "status {}", answer.status);
            goes_to_port(&garage, SHARED_PORT)
        })?;
        let gap = cut.elapsed();
        println!("on the shared port after {:.1} s", gap.as_secs_f64());
        ensure!(gap < MOVED_WITHIN, "it took {gap:?}");
        speaks_quic(&garage)
    });
}

#[test]
fn garbage_on_the_shared_port_stops_neither_protocol() {
    story("a flood on UDP 443", |lab| {
        let mut garage = shut_in(lab, 1, "userspace")?;
        let stop = AtomicBool::new(false);
        let (sent, read) = thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let flooded = lab.client.namespace.within(|| flood(&stop));
                flooded.context("the flood").flatten()
            });
            let read = read_for(lab, &garage, FLOODED_FOR);
            stop.store(true, Ordering::Relaxed);
            let sent = flood
                .join()
                .map_err(|_| anyhow::anyhow!("the flood panicked"));
            anyhow::Ok((sent??, read?))
        })?;
        println!("{read} pages read beside {sent} datagrams of garbage");
        ensure!(sent > 10_000, "only {sent} datagrams were sent");
        garage.machine.becomes_healthy()?;
        goes_to_port(&garage, SHARED_PORT)?;
        speaks_quic(&garage)
    });
}

/// Reads the page again and again; each must come.
fn read_for(lab: &Lab, garage: &Garage, time: Duration) -> Result<usize> {
    let (start, mut pages) = (Instant::now(), 0);
    while start.elapsed() < time {
        let answer = lab.client.open(&garage.url(), &["--max-time", "5"])?;
        ensure!(answer.status == 200, "status {}", answer.status);
        pages += 1;
    }
    Ok(pages)
}

/// Datagrams that look like QUIC by their first byte and by nothing else.
fn flood(stop: &AtomicBool) -> Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let hub: SocketAddr = format!("{HUB}:{SHARED_PORT}").parse()?;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for first in [0x40, 0x5a, 0xc0, 0xd1] {
            let mut datagram = [0xa5; 120];
            datagram[0] = first;
            sent += u64::from(socket.send_to(&datagram, hub).is_ok());
        }
    }
    Ok(sent)
}

/// Both protocols are here.
const SHARED_PORT: u16 = 443;
/// Only WireGuard.
const OWN_PORT: u16 = 51_820;
/// Before the carrier would begin, with room for a busy machine.
const MOVED_WITHIN: Duration = Duration::from_secs(12);
const FLOODED_FOR: Duration = Duration::from_secs(5);
