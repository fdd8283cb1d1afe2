//! A balancer at an overlay address, whose clients come through the tunnel: what its restarts cost them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use malha_tests::lab::{Access, Caller, Load, Mapping, PATIENCE, eventually, story};

use crate::balancing::{Stage, is_met, none_is_lost, supervised};

/// Twice as `systemctl restart malha-node` does it, once by a death. The tunnel goes down with the program, so that who comes
/// meanwhile waits for it, and whose connection Linux had taken already is served though his peer has not been heard again.
#[test]
fn a_restarted_balancer_in_the_overlay_loses_nobody_who_comes_through_the_tunnel() {
    story("restart of a balancer in the overlay", |lab| {
        let stage = Stage::open(lab)?;
        let (mut node, path) = supervised(lab, "balancer")?;
        stage.balance(lab, &path, &[])?;

        let mut member = lab.connected(Access::Home(Mapping::Preserving), 3)?;
        let token = ["token", "add", SITE, "--profile", "garage"];
        let token = lab.hub.token(&token)?;
        let named = ["--name", "member", "--engine", "userspace"];
        member.machine.enrol(&token, &named)?;
        let from = format!("{SITE}/member");
        eventually("the member is enrolled", PATIENCE, || lab.hub.node(&from))?;
        let (from, to) = (format!("node:{from}"), format!("node:{path}"));
        let grant = ["grant", "add", "--from", &from, "--to", &to];
        lab.hub
            .malha(&[&grant[..], &["--ports", "5500"]].concat())?;
        let door = lab.hub.node(&path)?["address_v4"]
            .as_str()
            .map(str::to_owned);
        let door: SocketAddr = format!("{}:5500", door.context("no address")?).parse()?;
        let caller = Caller::new(door, &stage.certificates)?;
        let client = &member.machine.namespace;
        eventually("the member is served", PATIENCE, || {
            caller.hold(client)?.ask().map(drop)
        })?;

        let load = Load::start(client, &caller, CLIENTS)?;
        is_met(&load, Instant::now(), &stage.servers[0])?;
        for _ in 0..2 {
            node.agent()?.stop()?;
            node.boot(&["--engine", "userspace"])?;
            let booted = Instant::now();
            is_met(&load, booted, &stage.servers[0])?;
            is_met(&load, booted, &stage.servers[1])?;
        }
        none_is_lost(&load.attempts(), AWAY)?;

        node.agent()?.kill()?;
        let killed = Instant::now();
        node.boot(&["--engine", "userspace"])?;
        is_met(&load, killed, &stage.servers[0])?;
        is_met(&load, killed, &stage.servers[1])?;
        let all = load.attempts();
        let later = all.iter().filter(|it| it.began > killed);
        let lost: Vec<_> = later.filter(|it| it.met.is_err()).collect();
        ensure!(lost.is_empty(), "after a kill: {lost:?}");
        Ok(())
    });
}

const SITE: &str = "estacionamentos/producao";
/// Many, so that some are between Linux and the balancer when it closes its doors.
const CLIENTS: usize = 6;
/// A client gives up after 5 s. Whose first packet fell into the pause sends it again after 1 s, and after 2 s more.
const AWAY: Duration = Duration::from_millis(4_900);
