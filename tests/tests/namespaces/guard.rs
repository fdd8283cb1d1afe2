//! A garage's program that listens on all addresses, and what the guard leaves of that.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{Garage, PATIENCE, eventually, output, story};

const PORT: u16 = 5500;
/// A refused connection says so at once; a dropped one says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);

/// Whether somebody on the garage's own network gets through to the program.
fn neighbour_reaches(garage: &Garage) -> Result<bool> {
    let address = SocketAddr::new(Garage::LAN_ADDRESS.parse::<IpAddr>()?, PORT);
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
        Ok(())
    });
}
