//! Tables of the kernel's packet filter that somebody watches.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod nodes;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use malha_tunnel::nftables::{Heard, TableWatch, apply, table_exists};
use malha_tunnel::{Engine, kernel_available, start};
use nodes::LIMIT;
use nodes::namespace::{Namespace, interface_exists, missing};
use tokio::time::timeout;

/// On a busy machine the runtime has not heard of the echo when it is to be forgotten.
#[test]
fn the_echo_of_ones_own_change_is_forgotten_before_it_was_heard() {
    if let Some(reason) = missing(&[("ip", "iproute2"), ("nft", "nftables")]) {
        println!("{reason}");
        return;
    }
    let watched = Namespace::new("alone").run(async move || {
        let mut watch = TableWatch::new("echo").unwrap();
        apply("add table inet echo\n").unwrap();
        watch.forget();
        let echo = timeout(Duration::from_millis(200), watch.changed()).await;
        assert!(echo.is_err(), "one's own change is news");
        apply("add chain inet echo other\n").unwrap();
        let change = timeout(LIMIT, watch.changed()).await;
        assert_eq!(change.unwrap().unwrap(), Heard::Change);
    });
    watched.join().unwrap();
}

/// As firewalls do that load all their rules at once.
#[test]
fn thousands_of_chains_of_somebody_else_can_be_held() {
    if let Some(reason) = missing(&[("ip", "iproute2"), ("nft", "nftables")]) {
        println!("{reason}");
        return;
    }
    let watched = Namespace::new("alone").run(async move || {
        let mut watch = TableWatch::new("echo").unwrap();
        let chains = (0..2_000).map(|number| format!("add chain inet other c{number}\n"));
        let chains: String = chains.collect();
        apply(&format!("add table inet other\n{chains}")).unwrap();
        assert!(!watch.forget(), "they are more than it can hold");
    });
    watched.join().unwrap();
}

/// The name of its interface is somebody else's; without WireGuard in the kernel it fails in any case.
#[test]
fn a_kernel_tunnel_that_cannot_start_leaves_no_table() {
    if let Some(reason) = missing(&[("ip", "iproute2"), ("nft", "nftables")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("alone");
    let cable = ["link", "add", "m0", "type", "veth", "peer", "name", "m1"];
    namespace.ip(&cable);
    let tried = namespace.run(async move || {
        let mut config = nodes::config(1);
        config.interface = "m0".into();
        let started = start(Engine::Kernel, config).is_ok();
        (started, table_exists("malha_m0").unwrap())
    });
    assert_eq!(tried.join().unwrap(), (false, false));
}

/// Some kernels and versions of `nft` make a table, and not all that is in the engine's.
#[test]
fn a_machine_that_cannot_have_the_filter_cannot_have_the_engine() {
    if std::env::var_os(ASKED).is_some() {
        println!("{:?}", kernel_available());
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("old-nft");
    fs::create_dir_all(&folder).unwrap();
    let nft = folder.join("nft");
    fs::write(&nft, OLD_NFT).unwrap();
    fs::set_permissions(&nft, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut this_program = Command::new(std::env::current_exe().unwrap());
    this_program.args(["a_machine_that_cannot", "--nocapture"]);
    let said = this_program.env("PATH", path).env(ASKED, "1").output();
    let said = String::from_utf8(said.unwrap().stdout).unwrap();
    assert!(said.contains("no timeouts here"), "{said}");
}

/// As a killed run of the engine `kernel` leaves it: an interface of the name, with its mark, and its table.
#[test]
fn what_a_killed_kernel_tunnel_left_is_replaced_and_a_strangers_interface_is_not() {
    if let Some(reason) = missing(&[("ip", "iproute2"), ("nft", "nftables")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("alone");
    let cable = ["link", "add", "m0", "type", "veth", "peer", "name", "m1"];
    namespace.ip(&cable);
    let tried = namespace.run(async move || {
        apply("add table inet malha_m0\nadd table inet other\n").unwrap();
        let mut config = nodes::config(1);
        config.interface = "m0".into();
        let on_strangers = start(Engine::Userspace, config.clone()).is_ok();
        let mark = ["ip", "link", "set", "m0", "alias", "made by malha"];
        nodes::namespace::run(&mark);
        let tunnel = start(Engine::Userspace, config).unwrap();
        assert!(table_exists("other").unwrap());
        let tables = (on_strangers, table_exists("malha_m0").unwrap());
        tunnel.shutdown().await;
        tables
    });
    assert_eq!(tried.join().unwrap(), (false, false));
}

/// That engine needs no name, so it may run beside another agent.
#[test]
fn a_netstack_takes_nothing_away_that_has_not_its_key() {
    if let Some(reason) = missing(&[("ip", "iproute2"), ("nft", "nftables")]) {
        println!("{reason}");
        return;
    }
    let namespace = Namespace::new("alone");
    namespace.ip(&["link", "add", "m0", "type", "veth", "peer", "name", "m1"]);
    namespace.ip(&["link", "set", "m0", "alias", "made by malha"]);
    let kept = namespace.run(async move || {
        apply("add table inet malha_m0\n").unwrap();
        let mut config = nodes::config(1);
        config.interface = "m0".into();
        let tunnel = start(Engine::Netstack, config).unwrap();
        let kept = (interface_exists("m0"), table_exists("malha_m0").unwrap());
        tunnel.shutdown().await;
        kept
    });
    assert_eq!(kept.join().unwrap(), (true, true));
}

const ASKED: &str = "MALHA_ASKED_FOR_KERNEL";
const OLD_NFT: &str = r#"#!/bin/sh
case "$(cat)" in *"ct timeout"*)
    echo "no timeouts here" >&2
    exit 1
esac
"#;
