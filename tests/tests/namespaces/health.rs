//! A dead hop is shown as what it is. How soon is measured and printed beside what it should be.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use malha_tests::lab::{GARAGE_WEB, Garage, HOP_TARGET, Lab, PATIENCE, eventually, story};

/// Breaks something, waits until the node's broken hop is the expected one, and prints how long that took.
fn breaks(lab: &Lab, garage: &mut Garage, what: &str, hop: &str, cut: impl FnOnce(&mut Garage) -> Result<()>) -> Result<()> {
    cut(garage)?;
    let start = Instant::now();
    eventually(&format!("{what} shows as {hop}"), SHOWN_WITHIN, || {
        let node = lab.hub.node(&garage.node())?;
        ensure!(node["broken"]["hop"] == hop, "shown: {} {} {}", node["broken"], node["hops"], node["services"]);
        Ok(())
    })?;
    let (took, target) = (start.elapsed().as_secs_f64(), HOP_TARGET.as_secs());
    println!("{what}: shown as {hop} after {took:.1} s (target {target} s)");
    Ok(())
}

fn is_well(lab: &Lab, garage: &Garage) -> Result<()> {
    lab.client.reads(&garage.url())?;
    eventually("nothing is broken", PATIENCE, || {
        let node = lab.hub.node(&garage.node())?;
        ensure!(node["broken"].is_null(), "broken: {}", node["broken"]);
        ensure!(node["hops"]["tunnel"]["state"] == "up", "tunnel: {}", node["hops"]);
        ensure!(node["services"][0]["health"]["state"] == "up", "service: {}", node["services"]);
        Ok(())
    })
}

fn each_broken_hop_is_named(engine: &str) {
    story(&format!("broken hops, {engine}"), |lab| {
        let mut garage = lab.open_garage(1, engine)?;
        is_well(lab, &garage)?;

        breaks(lab, &mut garage, "web server killed", "service", |garage| {
            garage.machine.web.take().map_or(Ok(()), |mut web| web.kill())
        })?;
        let page = lab.client.open(&garage.url(), &[])?;
        ensure!(page.status == 502, "the edge answered {} for a dead web server", page.status);
        garage.machine.start_web(GARAGE_WEB)?;
        is_well(lab, &garage)?;

        breaks(lab, &mut garage, "agent killed", "agent", |garage| garage.machine.agent()?.kill())?;
        let page = lab.client.open(&garage.url(), &[])?;
        ensure!([502, 504].contains(&page.status), "the edge answered {} for a dead agent", page.status);
        garage.machine.boot(&["--engine", engine])?;
        is_well(lab, &garage)?;

        breaks(lab, &mut garage, "cable pulled", "link", |garage| garage.router.unplug())?;
        garage.router.plug()?;
        is_well(lab, &garage)?;

        breaks(lab, &mut garage, "link swallows everything", "link", |garage| garage.router.block_all())?;
        garage.router.unblock()?;
        is_well(lab, &garage)?;

        breaks(lab, &mut garage, "agent stopped", "agent", |garage| garage.machine.agent()?.stop())
    });
}

#[test]
fn each_broken_hop_of_a_userspace_node_is_named() {
    each_broken_hop_is_named("userspace");
}

#[test]
fn each_broken_hop_of_a_netstack_node_is_named() {
    each_broken_hop_is_named("netstack");
}

const SHOWN_WITHIN: Duration = Duration::from_secs(20);
