//! This machine's own resolver: systemd-resolved is told to ask the agent for some domains, and to forget it again. Files of other
//! resolvers, and /etc/resolv.conf, are looked at and never written.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;

use super::status::SystemStatus;

/// What the resolver should do for one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) interface: String,
    pub(super) servers: Vec<IpAddr>,
    pub(super) domains: Vec<String>,
}

/// Who resolves names on a machine without systemd-resolved, as far as its files show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    NetworkManager,
    Dnsmasq,
    Unbound,
    Unknown,
}

/// Has the resolver ask the servers for the domains and for nothing else.
pub(super) async fn tell(wish: &Wish) -> SystemStatus {
    let server = wish.servers.first().copied();
    let Some(server) = server.filter(|_| Path::new(RESOLVED).exists()) else {
        let (servers, domains) = (wish.servers.clone(), wish.domains.clone());
        let program = program(Path::new("/"));
        return SystemStatus::NotTold {
            program,
            servers,
            domains,
        };
    };
    for words in commands(wish) {
        match resolvectl(&words).await {
            Ok(()) => {}
            // Older releases do not know it, and need it not.
            Err(_) if OPTIONAL.contains(&words[0].as_str()) => {}
            Err(why) => return SystemStatus::Failed(why),
        }
    }
    tracing::debug!(%server, "systemd-resolved asks here");
    let domains = wish.domains.clone();
    match asks_resolved(Path::new("/")) {
        true => SystemStatus::Resolved { domains },
        false => SystemStatus::Bypassed { domains },
    }
}

/// Takes back what was told; the interface may be gone, and its settings with it.
pub(super) async fn take_back(interface: &str) {
    if let Err(why) = resolvectl(&["revert".to_owned(), interface.to_owned()]).await {
        tracing::debug!(%why, "systemd-resolved has nothing to take back");
    }
}

/// The words of each call of resolvectl(1), in this order: the domains before the servers, so that nothing else is ever asked there.
fn commands(wish: &Wish) -> Vec<Vec<String>> {
    let words = |verb: &str, rest: Vec<String>| {
        let head = [verb.to_owned(), wish.interface.clone()];
        head.into_iter().chain(rest).collect()
    };
    // A domain with "~" leads queries and completes no names.
    let routed = wish.domains.iter().map(|domain| format!("~{domain}"));
    vec![
        words("domain", routed.collect()),
        words("default-route", vec!["false".to_owned()]),
        // Nobody signs the overlay zone.
        words("dnssec", vec!["no".to_owned()]),
        words("llmnr", vec!["no".to_owned()]),
        words("mdns", vec!["no".to_owned()]),
        words("dns", wish.servers.iter().map(IpAddr::to_string).collect()),
    ]
}

async fn resolvectl(words: &[String]) -> Result<(), String> {
    let mut command = Command::new("resolvectl");
    command
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .env("LC_ALL", "C");
    let ended = timeout(COMMAND_LIMIT, command.output()).await;
    let output = match ended {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err("resolvectl is missing".to_owned());
        }
        Ok(Err(error)) => return Err(format!("resolvectl: {error}")),
        Err(_) => return Err("resolvectl does not end".to_owned()),
    };
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said: String = said.trim().chars().take(MAX_SAID_CHARS).collect();
            Err(format!("resolvectl {}: {said}", words[0]))
        }
    }
}

/// Whether programs come to systemd-resolved: by its own library, or by the address in resolv.conf.
fn asks_resolved(root: &Path) -> bool {
    let read = |file| fs::read_to_string(root.join(file)).unwrap_or_default();
    let by_library = read("etc/nsswitch.conf").lines().any(|line| {
        let words = line.split('#').next().unwrap_or_default();
        let mut words = words.split_whitespace();
        words.next() == Some("hosts:") && words.any(|word| word == "resolve")
    });
    let by_address = read("etc/resolv.conf").lines().any(|line| {
        let mut words = line.split_whitespace();
        let server = (words.next() == Some("nameserver")).then(|| words.next());
        server
            .flatten()
            .is_some_and(|server| STUBS.contains(&server))
    });
    by_library || by_address
}

fn program(root: &Path) -> Program {
    let signs = [
        ("run/NetworkManager", Program::NetworkManager),
        ("etc/dnsmasq.d", Program::Dnsmasq),
        ("etc/unbound/unbound.conf.d", Program::Unbound),
    ];
    let found = signs.into_iter().find(|(sign, _)| root.join(sign).exists());
    found.map_or(Program::Unknown, |(_, program)| program)
}

/// It is there while systemd-resolved runs.
const RESOLVED: &str = "/run/systemd/resolve";
/// Where systemd-resolved answers, systemd-resolved(8).
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];
const OPTIONAL: [&str; 4] = ["default-route", "dnssec", "llmnr", "mdns"];
const COMMAND_LIMIT: Duration = Duration::from_secs(2);
const MAX_SAID_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_resolver_is_told_of_the_domains_before_it_may_ask_and_never_of_all() {
        let wish = Wish {
            interface: "malha0".to_owned(),
            servers: vec!["100.64.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            domains: vec!["malha.internal".to_owned(), "xvia.example".to_owned()],
        };
        let calls: Vec<String> = commands(&wish).iter().map(|it| it.join(" ")).collect();
        assert_eq!(calls[0], "domain malha0 ~malha.internal ~xvia.example");
        assert_eq!(calls[1], "default-route malha0 false");
        assert_eq!(calls.last().unwrap(), "dns malha0 100.64.0.2 fd00::2");
    }

    #[test]
    fn programs_come_to_systemd_resolved_by_address_or_by_library() {
        for (file, text, comes) in [
            ("resolv.conf", "nameserver 127.0.0.53\n", true),
            ("resolv.conf", "nameserver 192.0.2.1\n", false),
            ("resolv.conf", "# nameserver 127.0.0.53\n", false),
            (
                "nsswitch.conf",
                "hosts: files resolve [!UNAVAIL=return] dns",
                true,
            ),
            ("nsswitch.conf", "hosts: files dns # resolve", false),
        ] {
            let root = TempDir::new().unwrap();
            fs::create_dir(root.path().join("etc")).unwrap();
            fs::write(root.path().join("etc").join(file), text).unwrap();
            assert_eq!(asks_resolved(root.path()), comes, "{text}");
        }
    }

    #[test]
    fn the_machines_files_show_who_resolves() {
        let root = TempDir::new().unwrap();
        assert_eq!(program(root.path()), Program::Unknown);
        fs::create_dir_all(root.path().join("etc/dnsmasq.d")).unwrap();
        assert_eq!(program(root.path()), Program::Dnsmasq);
        fs::create_dir_all(root.path().join("run/NetworkManager")).unwrap();
        assert_eq!(program(root.path()), Program::NetworkManager);
    }
}
