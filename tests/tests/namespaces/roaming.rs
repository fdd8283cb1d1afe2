//! What goes on when addresses change, the hub restarts, the controller is dead, or UDP is blocked.

use std::time::Duration;

use anyhow::ensure;
use malha_tests::lab::{AGENCY, PATIENCE, eventually, story};
use serde_json::Value;

#[test]
fn a_garage_whose_provider_changes_its_address_goes_on_answering() {
    story("another NAT address", |lab| {
        for (number, engine) in [(1, "userspace"), (2, "netstack")] {
            let garage = lab.open_garage(number, engine)?;
            let moved_to = format!("203.0.113.{}", 20 + number);
            garage.router.move_to(&moved_to)?;
            eventually("the page answers from the new address", PATIENCE, || {
                let answer = lab.client.open(&garage.url(), &["--max-time", "2"])?;
                ensure!(answer.status == 200, "status {}", answer.status);
                Ok(())
            })?;
            eventually("the hub shows the new address", PATIENCE, || {
                let node = lab.hub.node(&garage.node())?;
                let endpoint = node["tunnel"]["endpoint"].as_str().unwrap_or_default();
                let remote = node["session"]["remote"].as_str().unwrap_or_default();
                ensure!(
                    endpoint.starts_with(&moved_to),
                    "the tunnel comes from {endpoint}"
                );
                ensure!(
                    remote.starts_with(&moved_to),
                    "the session comes from {remote}"
                );
                Ok(())
            })?;
        }
        Ok(())
    });
}

#[test]
fn garages_come_back_by_themselves_after_the_hub_restarts() {
    story("hub restart", |lab| {
        let garages = [
            lab.open_garage(1, "userspace")?,
            lab.open_garage(2, "netstack")?,
        ];
        lab.hub.controller()?.stop()?;
        lab.hub.serve()?;
        for mut garage in garages {
            lab.client.reads(&garage.url())?;
            garage.machine.becomes_healthy()?;
        }
        Ok(())
    });
}

/// Two nodes that a grant joins do not need the controller: not to go on, and not to start.
#[test]
fn with_a_dead_controller_a_rebooted_node_reaches_its_peer() {
    story("dead controller", |lab| {
        let mut garage = lab.open_garage(1, "userspace")?;
        lab.hub.malha(&["org", "add", "sefaz"])?;
        lab.hub.malha(&["site", "add", "sefaz/producao"])?;
        let token = lab
            .hub
            .token(&["token", "add", "sefaz/producao", "--profile", "balancer"])?;
        let mut agency = lab.agency()?;
        agency.configure(&format!("listen = [\"{AGENCY}:51820\"]\n"))?;
        agency.start_web("127.0.0.1:9000")?;
        agency.enrol(&token, &["--name", "painel"])?;
        let node = "sefaz/producao/painel";
        eventually("the agency is enrolled", PATIENCE, || lab.hub.node(node))?;
        lab.hub
            .malha(&["node", "endpoints", node, &format!("{AGENCY}:51820")])?;
        lab.hub.malha(&[
            "service",
            "add",
            node,
            "painel",
            "--port",
            "5500",
            "--target",
            "127.0.0.1:9000",
            "--kind",
            "tcp",
        ])?;
        let (from, to) = (format!("site:{}", garage.site()), format!("node:{node}"));
        lab.hub.malha(&[
            "grant", "add", "--from", &from, "--to", &to, "--ports", "5500", "--wait",
        ])?;
        let address = lab.hub.node(node)?["address_v4"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let reach = |garage: &malha_tests::lab::Garage| {
            let url = format!("http://{address}:5500/");
            eventually("the garage reaches the agency", PATIENCE, || {
                garage.machine.open(&url)
            })
        };
        reach(&garage)?;
        shares_a_key(&garage.machine, node)?;

        lab.hub.controller()?.kill()?;
        reach(&garage)?;
        for machine in [&mut garage.machine, &mut agency] {
            machine.agent()?.kill()?;
            machine.boot(&[])?;
        }
        reach(&garage)?;
        shares_a_key(&garage.machine, node)?;
        let status = garage.machine.status()?;
        ensure!(
            status["netmap"]["last_known_good"] == Value::Bool(true),
            "not from disk: {status}"
        );
        ensure!(
            status["control"]["state"] != "online",
            "the controller is not dead: {status}"
        );

        lab.hub.serve()?;
        garage.machine.becomes_healthy()?;
        lab.client.reads(&garage.url()).map(drop)
    });
}

/// Waits until a machine has a preshared key with this node, and a tunnel.
fn shares_a_key(machine: &malha_tests::lab::Machine, node: &str) -> anyhow::Result<()> {
    let mut parts: Vec<&str> = node.split('/').collect();
    parts.reverse();
    let name = parts.join(".");
    eventually("a tunnel with a preshared key", PATIENCE, || {
        let status = machine.status()?;
        let mut peers = status["peers"].as_array().into_iter().flatten();
        let peer = peers.find(|peer| peer["name"] == name.as_str());
        let keyed = peer
            .is_some_and(|peer| peer["key"]["epoch"].is_u64() && peer["handshake_age_ms"].is_u64());
        ensure!(keyed, "{peer:?}");
        Ok(())
    })
}

#[test]
fn without_udp_a_node_enrols_and_serves_over_tcp_443_and_is_back_on_udp_afterwards() {
    story("UDP blocked", |lab| {
        let mut garage = lab.garage(1)?;
        garage.router.block_udp()?;
        garage.machine.start_web(malha_tests::lab::GARAGE_WEB)?;
        let token = lab.token_for(&garage)?;
        garage.machine.enrol(&token, &["--name", "servidor"])?;
        lab.publish(&garage, malha_tests::lab::GARAGE_WEB)?;
        eventually("session and tunnel run over TCP", PATIENCE, || {
            let node = lab.hub.node(&garage.node())?;
            ensure!(
                node["session"]["transport"] == "tls",
                "the session: {}",
                node["session"]
            );
            ensure!(
                node["hops"]["control"]["state"] == "up",
                "control: {}",
                node["hops"]
            );
            ensure!(
                node["tunnel"]["path"] == "carrier",
                "tunnel: {}",
                node["tunnel"]
            );
            Ok(())
        })?;
        lab.client.reads(&garage.url())?;

        garage.router.unblock()?;
        eventually("the tunnel is back on UDP", RETURN_TO_UDP, || {
            let node = lab.hub.node(&garage.node())?;
            ensure!(
                node["tunnel"]["path"] == "direct",
                "tunnel: {}",
                node["tunnel"]
            );
            Ok(())
        })?;
        lab.client.reads(&garage.url())?;
        lab.gives_its_turn();
        eventually("the session is back on QUIC", RETURN_TO_QUIC, || {
            let node = lab.hub.node(&garage.node())?;
            ensure!(
                node["session"]["transport"] == "quic",
                "the session: {}",
                node["session"]
            );
            Ok(())
        })
    });
}

/// UDP is probed each 15 s; the rest is for a busy machine.
const RETURN_TO_UDP: Duration = Duration::from_secs(60);
/// The agent tries once a minute.
const RETURN_TO_QUIC: Duration = Duration::from_secs(100);
