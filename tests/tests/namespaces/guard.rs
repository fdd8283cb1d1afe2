//! A garage's program that listens on all addresses, and what the guard leaves of that.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{Garage, PATIENCE, eventually, output, story};

const PORT: u16 = 5500;
/// A refused connection says so at once; a dropped one says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);

/// Whether somebody on the garage's own network gets through to the program.
fn neighbour_reaches(garage: &Garage) -> Result<bool> {
    neighbour_reaches_port(garage, PORT)
}

fn neighbour_reaches_port(garage: &Garage, port: u16) -> Result<bool> {
    let address = SocketAddr::new(Garage::LAN_ADDRESS.parse::<IpAddr>()?, port);
    neighbour_reaches_at(garage, address)
}

fn neighbour_reaches_at(garage: &Garage, address: SocketAddr) -> Result<bool> {
    let connected = || TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok();
    garage.router.namespace.within(connected)
}

fn run(garage: &Garage, words: &[&str]) -> Result<bool> {
    Ok(output(&mut garage.machine.node(words)?)?.status.success())
}

#[test]
fn a_program_on_all_addresses_is_reached_through_the_tunnel_only() {
    story("guard", |lab| {
        let mut garage = lab.garage(1)?;
        garage.machine.start_web(&format!("0.0.0.0:{PORT}"))?;
        ensure!(neighbour_reaches(&garage)?, "the neighbour is blind");
        let token = lab.token_for(&garage)?;
        let words = ["--name", "servidor", "--engine", "userspace"];
        garage.machine.enrol(&token, &words)?;
        lab.publish(&garage, &format!("127.0.0.1:{PORT}"))?;
        lab.client.reads(&garage.url())?;
        ensure!(!neighbour_reaches(&garage)?, "open to the neighbour");
        ensure!(run(&garage, &["guard", "status"])?, "guard status");

        garage.machine.namespace.nft("flush ruleset")?;
        let flushed = Instant::now();
        eventually("the guard is back", PATIENCE, || {
            ensure!(!neighbour_reaches(&garage)?, "open after the flush");
            Ok(())
        })?;
        println!(
            "closed {:.1} s after a flush",
            flushed.elapsed().as_secs_f64()
        );
        lab.client.reads(&garage.url())?;
        eventually("the status tells of it", PATIENCE, || {
            let status = garage.machine.status()?;
            let restored = status["guard"]["detail"]["restored"].as_u64();
            ensure!(restored.context("no guard in the status")? > 0);
            Ok(())
        })?;

        garage.machine.agent()?.stop()?;
        ensure!(!neighbour_reaches(&garage)?, "open once the agent stops");
        ensure!(run(&garage, &["guard", "remove"])?, "guard remove");
        ensure!(neighbour_reaches(&garage)?, "closed after the removal");
        ensure!(
            !run(&garage, &["guard", "status"])?,
            "status after the removal"
        );
        ensure!(run(&garage, &["guard", "restore"])?, "guard restore");
        ensure!(!neighbour_reaches(&garage)?, "open after the restoration");
        Ok(())
    });
}

/// JMX of X-Road's monitoring, which no service offers.
const NEVER_PORT: u16 = 9011;

/// The machine's address on the garage's own network, where its router is a neighbour.
const LAN_IPV6: &str = "fd77::2";

fn with_ipv6(garage: &Garage) -> Result<()> {
    let machine = &garage.machine.namespace;
    machine.ip(&format!("address add {LAN_IPV6}/64 dev lan nodad"))?;
    garage
        .router
        .namespace
        .ip("address add fd77::1/64 dev lan nodad")
}

#[test]
fn the_guard_follows_the_profile() {
    story("profile", |lab| {
        let mut garage = lab.garage(1)?;
        garage.machine.start_web(&format!("[::]:{NEVER_PORT}"))?;
        with_ipv6(&garage)?;
        let site = garage.site();
        lab.hub.malha(&["site", "add", &site])?;
        let words = ["token", "add", &site, "--profile", "security-server"];
        let token = lab.hub.token(&words)?;
        // The same in both families, or else neither true nor false.
        let reaches = |garage: &Garage| {
            let ipv6 = SocketAddr::new(LAN_IPV6.parse()?, NEVER_PORT);
            let by_ipv6 = neighbour_reaches_at(garage, ipv6)?;
            ensure!(
                by_ipv6 == neighbour_reaches_port(garage, NEVER_PORT)?,
                "by IPv6: {by_ipv6}"
            );
            Ok(by_ipv6)
        };
        eventually("the neighbour sees", PATIENCE, || {
            ensure!(reaches(&garage)?, "the neighbour is blind");
            Ok(())
        })?;
        let words = ["--name", "servidor", "--engine", "userspace"];
        garage.machine.enrol(&token, &words)?;
        eventually("the profile's port is closed", PATIENCE, || {
            ensure!(!reaches(&garage)?, "open to the neighbour");
            Ok(())
        })?;

        let profile = lab.hub.json(&["profile", "show", "security-server"])?;
        let text = profile["text"].as_str().context("no text")?;
        let edited = lab.file("profile.toml");
        fs::write(&edited, text.replace("[\"9011\"]", "[\"9012\"]"))?;
        let file = edited.to_str().context("a path that is no text")?;
        lab.hub.malha(&["profile", "set", file])?;
        eventually("the port is free again", PATIENCE, || {
            ensure!(reaches(&garage)?, "closed to the neighbour");
            Ok(())
        })?;
        lab.hub.malha(&["profile", "reset", "security-server"])?;
        eventually("the shipped profile closes it", PATIENCE, || {
            ensure!(!reaches(&garage)?, "open to the neighbour");
            Ok(())
        })
    });
}
