//! What this machine says of itself: host name, operating system, and a hash that tells two machines apart. It names no
//! person and no hardware number.

use std::fs;

use malha_proto::{MachineFacts, MachineId};
use sha2::{Digest, Sha256};

/// Reads the facts; what can't be read is left empty.
#[must_use]
pub fn facts(engine: Option<&str>) -> MachineFacts {
    let host_name = first_line("/proc/sys/kernel/hostname");
    MachineFacts {
        machine: machine_id(&host_name),
        host_name,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        os: operating_system(),
        engine: engine.map(Into::into),
    }
}

/// A hash of the machine's id (machine-id(5) asks not to give the id itself away), else of its name.
fn machine_id(host_name: &str) -> MachineId {
    let id = first_line("/etc/machine-id");
    let mut hash = Sha256::new();
    hash.update(b"malha machine\0");
    hash.update(if id.is_empty() { host_name } else { &id });
    let digest: [u8; 32] = hash.finalize().into();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    MachineId(short)
}

fn operating_system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let system = plain(pretty.unwrap_or("Linux").trim_matches('"'));
    let kernel = first_line("/proc/sys/kernel/osrelease");
    plain(&format!("{system}, {kernel} {}", std::env::consts::ARCH))
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    plain(text.lines().next().unwrap_or_default())
}

/// Short, and safe to show.
fn plain(text: &str) -> String {
    let shown = text.trim().chars().filter(|c| !c.is_control());
    shown.take(MAX_FACT_CHARS).collect()
}

const MAX_FACT_CHARS: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_id_is_stable_and_hides_what_it_is_made_of() {
        let facts = facts(Some("netstack"));
        assert_eq!(facts.machine, machine_id(&facts.host_name));
        let id = first_line("/etc/machine-id");
        assert_ne!(facts.machine.to_string(), id);
    }

    #[test]
    fn facts_are_short_and_without_control_characters() {
        assert_eq!(
            plain(&format!(" a\u{1b}[31m{} ", "b".repeat(500))).len(),
            120
        );
    }
}
