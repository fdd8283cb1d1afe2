//! Power cuts and lost disks of the controller.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use malha_tests::lab::{Hub, PATIENCE, eventually, story};

use crate::balancing::device;

#[test]
fn a_restored_backup_brings_everything_back_and_nodes_reconnect_untouched() {
    story("backup and restore", |lab| {
        let mut garages = [
            lab.open_garage(1, "userspace")?,
            lab.open_garage(2, "netstack")?,
        ];
        let before: Vec<_> = garages
            .iter()
            .map(|garage| lab.hub.node(&garage.node()))
            .collect::<Result<_>>()?;
        let (backup, kept) = (lab.file("malha.backup"), lab.file("kept"));
        let backup_text = backup.to_str().context("a path")?;
        lab.hub.malha(&["backup", backup_text])?;
        lab.hub.malha(&["backup", "verify", backup_text])?;
        lab.hub.malha(&["site", "add", "estacionamentos/depois"])?;

        lab.hub.controller()?.kill()?;
        let data = lab.hub.data();
        lab.hub.keep_secrets(&kept)?;
        fs::remove_dir_all(&data)?;
        lab.hub.restore(&backup, &kept)?;
        lab.hub.serve()?;

        for (garage, before) in garages.iter_mut().zip(before) {
            lab.client.reads(&garage.url())?;
            garage.machine.becomes_healthy()?;
            let after = lab.hub.node(&garage.node())?;
            for kept in ["id", "path", "address_v4", "address_v6", "wg_key"] {
                ensure!(
                    before[kept] == after[kept],
                    "{kept} was {} and is {}",
                    before[kept],
                    after[kept]
                );
            }
        }
        ensure!(
            !sites(&lab.hub)?.contains("estacionamentos/depois"),
            "a site came back that was made after the backup"
        );
        lab.hub
            .malha(&[
                "audit",
                "verify",
                "--data",
                data.to_str().context("a path")?,
            ])
            .map(drop)
    });
}

#[test]
fn interfaces_that_somebody_removed_come_back() {
    story("interfaces removed", |lab| {
        let mut garage = lab.open_garage(1, "userspace")?;
        lab.client.reads(&garage.url())?;
        let node = &garage.machine.namespace;
        let before = device(node)?;
        node.ip("link delete malha0")?;
        eventually("the agent makes another interface", PATIENCE, || {
            ensure!(device(node)? != before, "it is the same");
            Ok(())
        })?;
        lab.client.reads(&garage.url())?;
        garage.machine.becomes_healthy()?;

        lab.hub.namespace.ip("link delete malha0")?;
        let ended = lab.hub.controller()?.ended()?;
        ensure!(!ended.success(), "nobody would start it again: {ended}");
        lab.hub.serve()?;
        lab.client.reads(&garage.url())?;
        garage.machine.becomes_healthy()
    });
}

#[test]
fn a_controller_that_dies_while_it_writes_loses_nothing_that_it_acknowledged() {
    story("power cuts", |lab| {
        let mut garage = lab.open_garage(1, "auto")?;
        let mut acknowledged = BTreeSet::new();
        for round in 0..POWER_CUTS {
            acknowledged.extend(write_until_cut(&lab.hub, round)?);
            lab.hub.controller()?.ended()?;
            let data = lab.hub.data();
            lab.hub
                .malha(&["store", "check", "--data", data.to_str().context("a path")?])?;
            lab.hub.serve()?;
            let found = sites(&lab.hub)?;
            let lost: Vec<_> = acknowledged.difference(&found).collect();
            ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        }
        println!(
            "{} writes acknowledged around {POWER_CUTS} power cuts",
            acknowledged.len()
        );
        let data = lab.hub.data();
        lab.hub.malha(&[
            "audit",
            "verify",
            "--data",
            data.to_str().context("a path")?,
        ])?;
        garage.machine.becomes_healthy()?;
        lab.client.reads(&garage.url()).map(drop)
    });
}

/// Creates sites from several operators at once, cuts the power in the middle, and gives those that were acknowledged.
fn write_until_cut(hub: &Hub, round: usize) -> Result<BTreeSet<String>> {
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let done = &done;
                    move || write(hub, &format!("r{round}w{writer}"), done)
                })
            })
            .collect();
        let mut acknowledged = BTreeSet::new();
        for writer in writers {
            acknowledged.extend(writer.join().map_err(|_| anyhow!("a writer panicked"))??);
        }
        Ok(acknowledged)
    })
}

/// Writes until it fails; whoever makes the last write of the round cuts the power while the others go on.
fn write(hub: &Hub, name: &str, done: &AtomicUsize) -> Result<BTreeSet<String>> {
    let mut acknowledged = BTreeSet::new();
    for number in 0..WRITES_PER_ROUND {
        let site = format!("estacionamentos/{name}n{number}");
        if !hub.attempt(&["site", "add", &site])?.status.success() {
            break;
        }
        acknowledged.insert(site);
        if done.fetch_add(1, Ordering::Relaxed) + 1 == WRITES_PER_ROUND {
            hub.cut()?;
        }
    }
    Ok(acknowledged)
}

fn sites(hub: &Hub) -> Result<BTreeSet<String>> {
    let listed = hub.json(&["site", "list"])?;
    let sites = listed["items"].as_array().context("no list of sites")?;
    Ok(sites
        .iter()
        .filter_map(|site| Some(site["path"].as_str()?.to_owned()))
        .collect())
}

const POWER_CUTS: usize = 3;
const WRITERS: usize = 3;
const WRITES_PER_ROUND: usize = 12;
