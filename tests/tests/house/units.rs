//! The units that are shipped, as systemd itself reads them. None is started.

use std::fs;
use std::process::Command;

use malha_node::exit::Exit;
use tempfile::tempdir;

use crate::tree::{files, read};

#[test]
fn systemd_understands_every_line_of_the_units() {
    if complaints("wrong.service", "[Service]\nExecStart=x\nNonsense=1\n").is_empty() {
        println!("skipped: it needs systemd-analyze, and that it reads units here");
        return;
    }
    let units = files().into_iter().filter(|it| it.has_extension("service"));
    let (mut seen, mut wrong) = (0, String::new());
    for unit in units {
        seen += 1;
        wrong += &complaints(&unit.path, &unit.text().unwrap_or_default());
    }
    assert_eq!(wrong, "");
    assert_eq!(seen, 3);
}

#[test]
fn what_is_enabled_along_with_a_unit_is_shipped_beside_it() {
    let units = files().into_iter().filter(|it| it.has_extension("service"));
    let units: Vec<_> = units.collect();
    let mut seen = 0;
    for unit in &units {
        let folder = unit.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let text = unit.text().unwrap_or_default();
        for also in text.lines().filter_map(|line| line.strip_prefix("Also=")) {
            seen += 1;
            let path = format!("{folder}/{also}");
            assert!(units.iter().any(|it| it.path == path), "no {path}");
        }
    }
    assert_eq!(seen, 1);
}

/// Five starts within ten seconds are its limit, else, and a person's own count too.
#[test]
fn systemd_never_gives_a_unit_up() {
    for unit in files().iter().filter(|it| it.has_extension("service")) {
        let text = unit.text().unwrap_or_default();
        assert!(text.contains("\nRestart="), "{}", unit.path);
        assert!(
            text.contains("\nStartLimitIntervalSec=0\n"),
            "{}",
            unit.path
        );
    }
}

/// A firewall that starts, stops or loads its rules anew takes the guard's table along, and no agent may be there to set it again.
#[test]
fn the_guard_comes_back_with_the_firewall() {
    let has = |setting: &str, value: &str| has("malha-node-guard.service", setting, value);
    for setting in ["After", "PartOf", "ReloadPropagatedFrom", "WantedBy"] {
        assert!(has(setting, "nftables.service"), "{setting}");
    }
    assert!(has("ExecReload", "restore"));
    let agent_runs = Exit::Locked.code().to_string();
    assert!(has("SuccessExitStatus", &agent_runs));
}

/// Or a reload of the firewall would find nothing to reload.
#[test]
fn the_guard_is_up_with_the_agent_and_before_it() {
    for setting in ["Wants", "After"] {
        assert!(
            has("malha-node.service", setting, "malha-node-guard.service"),
            "{setting}"
        );
    }
}

fn has(unit: &str, setting: &str, value: &str) -> bool {
    let path = format!("node/systemd/{unit}");
    let text = read(&path);
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    lines.any(|(key, values)| key == setting && values.split(' ').any(|it| it == value))
}

/// Of the unit alone: the programs are not installed here, nor is what it waits for.
fn complaints(path: &str, text: &str) -> String {
    let folder = tempdir().expect("a folder of its own");
    let name = path.rsplit('/').next().unwrap_or_default();
    let place = folder.path().join(name);
    let lines = text.lines().map(|line| match line.split_once('=') {
        Some((key @ ("ExecStart" | "ExecReload"), _)) => format!("{key}=/bin/true\n"),
        _ => format!("{line}\n"),
    });
    fs::write(&place, lines.collect::<String>()).expect("it can be written there");
    let mut analyze = Command::new("systemd-analyze");
    let said = analyze.args(["verify", "--man=no"]).arg(&place).output();
    let said = said.map_or_else(|_| vec![], |said| said.stderr);
    let said = String::from_utf8_lossy(&said);
    let ours = said.lines().filter(|line| line.contains(name));
    ours.map(|line| format!("{line}\n")).collect()
}
