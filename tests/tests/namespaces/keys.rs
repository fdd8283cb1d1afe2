//! Preshared keys: in use as soon as a node is enrolled, changed under a running download, and found again after a restart of
//! the controller.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{Garage, Lab, PATIENCE, eventually, story};
use serde_json::Value;

#[test]
fn keys_rotate_while_a_download_runs_and_no_connection_breaks() {
    story("key rotation", |lab| {
        let garages = [
            lab.open_garage(1, "userspace")?,
            lab.open_garage(2, "netstack")?,
        ];
        for garage in &garages {
            has_key(lab, garage, FIRST_EPOCH)?;
        }
        let downloads = garages.each_ref().map(|garage| {
            let url = format!("{}relatorio.bin", garage.url());
            let mut command = lab.client.namespace.command("curl");
            command
                .args(["--silent", "--show-error", "--fail", "--limit-rate", "2M"])
                .args(["--output", "/dev/null", "--write-out", "%{size_download}"])
                .arg("--cacert")
                .arg(lab.hub.edge_authority())
                .arg(url)
                .stdout(Stdio::piped())
                .spawn()
        });
        lab.hub.malha(&["psk", "rotate"])?;
        for garage in &garages {
            has_key(lab, garage, FIRST_EPOCH + 1)?;
        }
        for download in downloads {
            let ended = download?.wait_with_output()?;
            let bytes = String::from_utf8_lossy(&ended.stdout).into_owned();
            ensure!(ended.status.success(), "a download broke: {}", ended.status);
            ensure!(bytes == REPORT_BYTES, "{bytes} bytes came");
        }
        for garage in &garages {
            lab.client.reads(&garage.url())?;
        }
        let audit = lab.hub.json(&["audit", "tail"])?;
        ensure!(
            audit.to_string().contains("psk.rotate"),
            "not in the audit log: {audit}"
        );
        Ok(())
    });
}

/// The hub is the controller's own process: it must find the keys that the nodes have, and they must not need a session for
/// it.
#[test]
fn after_a_restart_of_the_controller_the_hub_has_the_keys_of_the_nodes() {
    story("keys after a restart", |lab| {
        let garage = lab.open_garage(1, "userspace")?;
        lab.hub.malha(&["psk", "rotate"])?;
        has_key(lab, &garage, FIRST_EPOCH + 1)?;
        lab.hub.controller()?.kill()?;
        garage.router.block_control()?;
        lab.hub.serve()?;
        lab.client.reads(&garage.url())?;
        let node = lab.hub.node(&garage.node())?;
        ensure!(
            node["session"].is_null(),
            "a session opened: {}",
            node["session"]
        );
        Ok(())
    });
}

/// Waits until both sides say that their tunnel has the key of this epoch, and that a handshake came after it.
fn has_key(lab: &Lab, garage: &Garage, epoch: u64) -> Result<()> {
    eventually("both sides have the key", PATIENCE, || {
        let node = lab.hub.node(&garage.node())?;
        let tunnel = &node["tunnel"];
        ensure!(tunnel["psk"]["epoch"] == epoch, "the hub: {tunnel}");
        let age = |value: &Value| value.as_u64().context("an age");
        ensure!(
            age(&tunnel["handshake_age_ms"])? <= age(&tunnel["psk"]["age_ms"])?,
            "no handshake with it yet: {tunnel}"
        );
        let status = garage.machine.status()?;
        let hub = &status["peers"][0];
        ensure!(hub["key"]["epoch"] == epoch, "the node: {hub}");
        Ok(())
    })
}

/// Of a new installation.
const FIRST_EPOCH: u64 = 1;
/// 10 MiB.
const REPORT_BYTES: &str = "10485760";
