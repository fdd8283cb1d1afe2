//! Who a machine is: copied disks and replaced boxes.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::ensure;
use malha_node::exit::Exit;
use malha_tests::lab::{GARAGE_WEB, PATIENCE, eventually, output, story};
use serde_json::Value;

#[test]
fn a_copied_disk_holds_both_machines_apart_until_the_operator_chooses() {
    story("copied disk", |lab| {
        let mut garage = lab.open_garage(1, "auto")?;
        let closes_all = |status: &Value| {
            let closed = closed_ports(status);
            ensure!(closed == [80, 8080], "the guard closes {closed:?}");
            Ok(())
        };
        eventually("the guard says what it closes", PATIENCE, || {
            closes_all(&garage.machine.status()?)
        })?;
        let mut copy = lab.garage(2)?;
        copy.machine.copy_disk_of(&garage.machine)?;
        copy.machine.start_web(GARAGE_WEB)?;
        copy.machine.boot(&[])?;
        let start = Instant::now();
        let node = eventually("the copy is noticed", PATIENCE, || {
            let node = lab.hub.node(&garage.node())?;
            ensure!(node["state"] == "quarantined", "state {}", node["state"]);
            Ok(node)
        })?;
        let (took, heartbeat) = (start.elapsed().as_secs_f64(), HEARTBEAT.as_secs_f64());
        println!("copy noticed after {took:.1} s (a heartbeat is {heartbeat:.1} s)");
        let (holder, rival) = (&node["quarantine"]["holder"], &node["quarantine"]["rival"]);
        ensure!(
            holder["machine"] != rival["machine"],
            "both are shown as one machine: {node}"
        );
        ensure!(
            from(holder, &garage.outer_address()),
            "the holder is not the garage: {holder}"
        );
        ensure!(
            from(rival, &copy.outer_address()),
            "the rival is not the copy: {rival}"
        );
        for machine in [&garage.machine, &copy.machine] {
            eventually(
                "the machine itself says that it is held apart",
                PATIENCE,
                || {
                    let status = machine.status()?;
                    ensure!(status["quarantined"] == Value::Bool(true), "{status}");
                    closes_all(&status)
                },
            )?;
        }
        let page = lab.client.open(&garage.url(), &[])?;
        ensure!(page.status != 200, "a quarantined node answers");

        lab.hub
            .malha(&["node", "resolve", &garage.node(), "--keep", "holder"])?;
        lab.client.reads(&garage.url())?;
        garage.machine.becomes_healthy()?;
        let ended = copy.machine.agent()?.ended()?;
        ensure!(is(ended, Exit::Replaced), "the copy ended with {ended}");
        let again = output(&mut copy.machine.node(&["run"])?)?;
        ensure!(
            is(again.status, Exit::Replaced),
            "the copy started again: {}",
            again.status
        );
        ensure!(
            lab.hub.node(&garage.node())?["state"] == "active",
            "the node is not free again"
        );
        Ok(())
    });
}

/// Outside the overlay, by the guard's word.
fn closed_ports(status: &Value) -> Vec<u64> {
    let ports = status["guard"]["detail"]["ports"].as_array();
    let ports = ports.into_iter().flatten();
    ports.filter_map(Value::as_u64).collect()
}

fn is(status: ExitStatus, exit: Exit) -> bool {
    status.code() == Some(i32::from(exit.code()))
}

fn from(contender: &Value, address: &str) -> bool {
    contender["source"]
        .as_str()
        .is_some_and(|source| source.starts_with(&format!("{address}:")))
}

#[test]
fn a_replaced_box_keeps_name_address_and_url() {
    story("replaced box", |lab| {
        let mut garage = lab.open_garage(1, "auto")?;
        let before = lab.hub.node(&garage.node())?;
        let token = lab.hub.token(&["node", "replace", &garage.node()])?;
        let mut newer = lab.garage(2)?;
        newer.machine.start_web(GARAGE_WEB)?;
        newer.machine.enrol(&token, &[])?;
        newer.machine.becomes_healthy()?;

        let ended = garage.machine.agent()?.ended()?;
        ensure!(
            is(ended, Exit::Replaced),
            "the former box ended with {ended}"
        );
        let after = lab.hub.node(&garage.node())?;
        for kept in ["id", "path", "address_v4", "address_v6"] {
            ensure!(
                before[kept] == after[kept],
                "{kept} was {} and is {}",
                before[kept],
                after[kept]
            );
        }
        ensure!(
            before["wg_key"] != after["wg_key"],
            "the key is still the former box's"
        );
        drop(garage.machine.web.take());
        let plate = ["--data", "placa=NEW1B0X", "--location"];
        let page = lab
            .client
            .open(&format!("{}entrada", garage.url()), &plate)?;
        ensure!(page.body.contains("NEW1B0X"), "{page:?}");
        Ok(())
    });
}

#[test]
fn a_removed_node_is_cut_and_its_agent_ends() {
    story("removed node", |lab| {
        let mut garage = lab.open_garage(1, "auto")?;
        let remove = ["node", "remove", &garage.node()];
        ensure!(
            lab.hub.malha(&remove).is_err(),
            "its URL was taken away silently"
        );
        lab.hub.malha(&[&remove[..], &["--detach"]].concat())?;
        let ended = garage.machine.agent()?.ended()?;
        ensure!(is(ended, Exit::Removed), "the agent ended with {ended}");
        eventually("its name is gone", PATIENCE, || {
            let found = lab.client.resolve(&garage.host())?;
            ensure!(found.is_empty(), "the DNS gives {found:?}");
            Ok(())
        })?;
        let again = output(&mut garage.machine.node(&["run"])?)?;
        ensure!(
            is(again.status, Exit::Removed),
            "the agent started again: {}",
            again.status
        );
        Ok(())
    });
}

const HEARTBEAT: Duration = Duration::from_millis(malha_proto::HEARTBEAT_INTERVAL_MS);
