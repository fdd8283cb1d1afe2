//! A dead hop is shown as what it is. How soon is measured and printed beside what it should be.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use malha_tests::lab::{GARAGE_WEB, Garage, HOP_TARGET, Lab, PATIENCE, eventually, story};

/// Breaks something, waits until the node's broken hop is the expected one, and prints how long that took.
fn breaks(
    lab: &Lab,
    garage: &mut Garage,
    what: &str,
    hop: &str,
    cut: impl FnOnce(&mut Garage) -> Result<()>,
) -> Result<()> {
    cut(garage)?;
    let start = Instant::now();
    eventually(&format!("{what} shows as {hop}"), SHOWN_WITHIN, || {
        let node = lab.hub.node(&garage.node())?;
        ensure!(
            node["broken"]["hop"] == hop,
            "shown: {} {} {}",
            node["broken"],
            node["hops"],
            node["services"]
        );
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
        ensure!(
            node["hops"]["tunnel"]["state"] == "up",
            "tunnel: {}",
            node["hops"]
        );
        ensure!(
            node["services"][0]["health"]["state"] == "up",
            "service: {}",
            node["services"]
        );
        Ok(())
    })
}

/// The edge learns of a verdict a moment after it was shown; a request that was faster waits for its answer.
fn answers(lab: &Lab, garage: &Garage, statuses: &[u16]) -> Result<()> {
    eventually(&format!("the edge answers {statuses:?}"), PATIENCE, || {
        let page = lab.client.open(&garage.url(), &["--max-time", "7"])?;
        ensure!(
            statuses.contains(&page.status),
            "it answered {}",
            page.status
        );
        Ok(())
    })
}

fn kill_and_bring_back(lab: &Lab, garage: &mut Garage, engine: &str) -> Result<()> {
    breaks(lab, garage, "web server killed", "service", |garage| {
        garage
            .machine
            .web
            .take()
            .map_or(Ok(()), |mut web| web.kill())
    })?;
    answers(lab, garage, &[502])?;
    garage.machine.start_web(GARAGE_WEB)?;
    is_well(lab, garage)?;

    breaks(lab, garage, "agent killed", "agent", |garage| {
        garage.machine.agent()?.kill()
    })?;
    answers(lab, garage, &[502, 504])?;
    garage.machine.boot(&["--engine", engine])?;
    is_well(lab, garage)
}

#[test]
fn each_broken_hop_of_a_userspace_node_is_named() {
    story("broken hops, userspace", |lab| {
        let mut garage = lab.open_garage(1, "userspace")?;
        is_well(lab, &garage)?;
        kill_and_bring_back(lab, &mut garage, "userspace")?;

        breaks(lab, &mut garage, "cable pulled", "link", |garage| {
            garage.router.unplug()
        })?;
        garage.router.plug()?;
        is_well(lab, &garage)?;

        breaks(
            lab,
            &mut garage,
            "link swallows everything",
            "link",
            |garage| garage.router.block_all(),
        )?;
        garage.router.unblock()?;
        is_well(lab, &garage)?;

        breaks(lab, &mut garage, "agent stopped", "agent", |garage| {
            garage.machine.agent()?.stop()
        })
    });
}

#[test]
fn a_killed_web_server_or_agent_of_a_netstack_node_is_named() {
    story("broken hops, netstack", |lab| {
        let mut garage = lab.open_garage(1, "netstack")?;
        is_well(lab, &garage)?;
        kill_and_bring_back(lab, &mut garage, "netstack")
    });
}

const SHOWN_WITHIN: Duration = Duration::from_secs(20);
