//! An agency as `malha org add` makes it: members of others reach its two servers through the balancer inside the tunnel, over mutual
//! TLS that nobody opens, and nobody else does; its own systems reach them there too, and its servers reach peers and the central
//! server by their names.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{
    Access, Attempt, Caller, Certificates, Connected, Lab, Load, Mapping, PATIENCE, Process,
    SecurityServer, eventually, story,
};
use serde_json::Value;

use crate::balancing::{all_go_to, conditions_are, is_by, is_met};
use crate::compliance::{accept_forever, check_of};
use crate::vantage_points::{declare, expect};

/// Both agencies' machines, by their paths.
struct Agencies {
    tokens: BTreeMap<String, String>,
    certificates: Certificates,
}

impl Agencies {
    /// `sedec` with two production servers and so many balancers, `sefaz` with a server of each stage.
    fn add(lab: &Lab, balancers: &str) -> Result<Self> {
        let mut tokens = BTreeMap::new();
        for (name, production, development) in [("sedec", "2", "0"), ("sefaz", "1", "1")] {
            let words = ["org", "add", name, "--profile", "xroad"];
            let counts = ["--production", production, "--development", development];
            let front = ["--balancers", balancers];
            let made = lab.hub.json(&[&words[..], &counts, &front].concat())?;
            for machine in made["machines"].as_array().context("no machines")? {
                let text = |field: &str| Some(machine[field].as_str()?.to_owned());
                let (node, token) = (text("node"), text("token"));
                tokens.insert(node.context("no node")?, token.context("no token")?);
            }
        }
        Ok(Self {
            tokens,
            certificates: Certificates::new()?,
        })
    }

    /// A machine behind a router of its own becomes the one with this path.
    fn enrol(&self, lab: &Lab, number: u8, path: &str) -> Result<Connected> {
        let mut site = lab.connected(Access::Home(Mapping::Preserving), number)?;
        self.become_node(lab, &mut site, path)?;
        Ok(site)
    }

    fn server(&self, lab: &Lab, number: u8, path: &str) -> Result<SecurityServer> {
        let mut server = lab.security_server(number, &self.certificates)?;
        server.keep_to_loopback()?;
        self.become_node(lab, &mut server.site, path)?;
        server.start()?;
        Ok(server)
    }

    fn become_node(&self, lab: &Lab, site: &mut Connected, path: &str) -> Result<()> {
        let token = self.tokens.get(path).context("no such machine")?;
        site.machine.enrol(token, &["--engine", "userspace"])?;
        eventually("the machine is enrolled", PATIENCE, || lab.hub.node(path))?;
        Ok(())
    }
}

fn address<'a>(node: &'a Value, family: &str) -> Result<&'a str> {
    node[family]
        .as_str()
        .with_context(|| format!("no {family} in {node}"))
}

#[test]
fn a_member_meets_both_servers_of_an_agency_through_its_balancer_and_the_other_one_after_a_death() {
    story("agency", |lab| {
        let agencies = Agencies::add(lab, "1")?;
        let mut servers = [
            agencies.server(lab, 1, "sedec/producao/xvia1")?,
            agencies.server(lab, 2, "sedec/producao/xvia2")?,
        ];
        let _balancer = agencies.enrol(lab, 3, BALANCER)?;
        let member = agencies.enrol(lab, 4, "sefaz/producao/xvia1")?;
        let developer = agencies.enrol(lab, 5, "sefaz/desenvolvimento/xvia1")?;
        for port in ["messages", "ocsp-cache"] {
            eventually("both servers are up", PATIENCE, || {
                conditions_are(lab, &format!("{BALANCER}/{port}"), &["up", "up"])
            })?;
        }
        let node = lab.hub.node(BALANCER)?;
        let v4 = address(&node, "address_v4")?;
        let caller = Caller::new(format!("{v4}:5500").parse()?, &agencies.certificates)?;
        let inside = &member.machine.namespace;
        let load = Load::start(inside, &caller, CLIENTS)?;
        for server in &servers {
            is_met(&load, Instant::now(), server)?;
        }
        let v6 = format!("[{}]:5500", address(&node, "address_v6")?);
        Caller::new(v6.parse()?, &agencies.certificates)?
            .hold(inside)?
            .ask()
            .context("over IPv6")?;
        let names = servers.each_ref().map(|it| it.name.clone());
        let ocsp = member.machine.open(&format!("http://{v4}:5577/"))?;
        ensure!(names.contains(&ocsp), "{ocsp} answered on 5577");

        let nobody =
            Caller::without_certificate(format!("{v4}:5500").parse()?, &agencies.certificates)?;
        let served = nobody.hold(inside).and_then(|mut held| held.ask());
        ensure!(served.is_err(), "no certificate was asked for: {served:?}");
        let served = caller.hold(&developer.machine.namespace);
        ensure!(served.is_err(), "a machine of the other stage got through");

        servers[0].kill()?;
        all_go_to(&load, Instant::now(), &servers[1])?;
        drop(load);
        serves_its_own_systems(lab, &agencies, &servers[1], &member)?;
        reaches_peers_and_central(lab)
    });
}

/// A system of the agency's own meets the server that is left on 8080 and 8443 of the balancer; another agency's does not.
fn serves_its_own_systems(
    lab: &Lab,
    agencies: &Agencies,
    server: &SecurityServer,
    foreign: &Connected,
) -> Result<()> {
    let mut system = lab.connected(Access::Home(Mapping::Preserving), 6)?;
    let words = ["token", "add", "sedec/producao", "--profile", "garage"];
    let named = ["--name", "sistema1", "--engine", "userspace"];
    system.machine.enrol(&lab.hub.token(&words)?, &named)?;
    let node = lab.hub.node(BALANCER)?;
    let v4 = address(&node, "address_v4")?;
    eventually("the system meets the server", PATIENCE, || {
        let met = system.machine.open(&format!("http://{v4}:8080/"))?;
        ensure!(met == server.name, "{met} answered on 8080");
        Ok(())
    })?;
    let by_tls = format!("{v4}:8443").parse()?;
    let by_tls = Caller::without_certificate(by_tls, &agencies.certificates)?;
    let met = by_tls.hold(&system.machine.namespace)?.ask()?;
    ensure!(met == server.name, "{met} answered on 8443");
    let served = by_tls.hold(&foreign.machine.namespace);
    ensure!(served.is_err(), "another agency's machine got to 8443");
    Ok(())
}

/// What a check of `sefaz` finds of its server's way to a peer and to the central server, by the names that lead to members.
fn reaches_peers_and_central(lab: &Lab) -> Result<()> {
    lab.hub.malha(&["org", "add", "xvia"])?;
    lab.hub.malha(&["site", "add", "xvia/central"])?;
    let words = ["token", "add", "xvia/central", "--profile", "central"];
    let mut central = lab.agency()?;
    let named = ["--name", "central1", "--engine", "netstack"];
    central.enrol(&lab.hub.token(&words)?, &named)?;
    eventually("the central server is enrolled", PATIENCE, || {
        lab.hub.node(CENTRAL)
    })?;
    let listening = || TcpListener::bind("127.0.0.1:4001");
    accept_forever(central.namespace.within(listening)??);
    let target = ["--port", "4001", "--target", "127.0.0.1:4001"];
    let service = ["service", "add", CENTRAL, "cadastro", "--kind", "tcp"];
    lab.hub
        .malha(&[&service[..], &target, &["--wait"]].concat())?;
    let stage = |site: &str, more: &str| format!("[production]\nsite = \"{site}\"\n{more}");
    let named = |name: &str| format!("names = [\"{name}\"]\n");
    let version = "version = 1\n";
    let said = stage("producao", &named(PEER_NAME));
    declare(lab, "sedec", &format!("{version}{said}"))?;
    let said = stage("central", &named(CENTRAL_NAME));
    declare(lab, "xvia", &format!("{version}{said}"))?;
    let partners = format!("peers = [\"{PEER_NAME}\"]\ncentral = [\"{CENTRAL_NAME}\"]\n");
    let said = stage("producao", "");
    declare(lab, "sefaz", &format!("{version}{partners}{said}"))?;

    let to = |kind: &str, name: &str, port: u16| {
        format!("production/egress/xvia1.producao.sefaz/{kind}/{name}:{port}/100.")
    };
    let (report, _) = check_of(lab, "sefaz", &[])?;
    for port in [5500, 5577] {
        expect(&report, &to("peer", PEER_NAME, port), "ok")?;
    }
    expect(&report, &to("central", CENTRAL_NAME, 4001), "ok")?;
    // Nobody offers that one.
    expect(&report, &to("central", CENTRAL_NAME, 443), "port_closed")
}

/// The file that the agency's own balancer runs with, and the policy that it says it needs.
fn exported(lab: &Lab) -> Result<String> {
    let file = lab.hub.malha(&["export", "haproxy", "sedec/producao"])?;
    let needed = file.lines().filter_map(|line| line.strip_prefix(GRANT));
    let needed: Vec<&str> = needed.collect();
    let policy = lab.hub.malha(&["policy", "show"])?;
    let text = lab.file("policy.toml");
    fs::write(&text, format!("{policy}\n{}\n", needed.join("\n")))?;
    let path = text.to_str().context("no text")?;
    let difference = lab.hub.json(&["policy", "diff", path])?;
    let hash = difference["hash"].as_str().context("no hash")?;
    let apply = ["policy", "apply", path, "--difference", hash, "--wait"];
    lab.hub.malha(&apply)?;
    Ok(file)
}

#[test]
fn an_agencys_own_haproxy_balances_its_servers_with_the_exported_file() {
    story("haproxy", |lab| {
        let agencies = Agencies::add(lab, "0")?;
        let mut servers = [
            agencies.server(lab, 1, "sedec/producao/xvia1")?,
            agencies.server(lab, 2, "sedec/producao/xvia2")?,
        ];
        let member = agencies.enrol(lab, 4, "sefaz/producao/xvia1")?;
        let words = ["token", "add", "sedec/producao", "--profile", "balancer"];
        let token = lab.hub.token(&words)?;
        let mut front = lab.connected(Access::Home(Mapping::Preserving), 3)?;
        let named = ["--name", "haproxy1", "--engine", "userspace"];
        front.machine.enrol(&token, &named)?;
        eventually("the machine is enrolled", PATIENCE, || lab.hub.node(OWN))?;
        lab.hub.malha(&["node", "tag", OWN, "xroad-producao"])?;
        // HAProxy ends where it finds no address of its own.
        front.machine.becomes_healthy()?;

        let config = lab.file("exported.cfg");
        fs::write(&config, exported(lab)?)?;
        let mut command = front.machine.namespace.command("haproxy");
        command.args(["-db", "-f"]).arg(&config);
        let _haproxy = Process::start("haproxy", &mut command, &lab.file("exported.log"))?;
        let node = lab.hub.node(OWN)?;
        let v4 = address(&node, "address_v4")?;
        let caller = Caller::new(format!("{v4}:5500").parse()?, &agencies.certificates)?;
        let inside = &member.machine.namespace;
        eventually("the balancer listens", PATIENCE, || {
            caller.hold(inside)?.ask().map(drop)
        })?;
        let load = Load::start(inside, &caller, CLIENTS)?;
        for server in &servers {
            is_met(&load, Instant::now(), server)?;
        }
        servers[0].kill()?;
        load.until("all meet the other server", |all| {
            let last = || all.iter().rev().take(ENOUGH);
            let killed = |it: &Attempt| !is_by(it, &servers[1]);
            last().count() == ENOUGH && !last().any(killed)
        })
    });
}

/// Before each line of a grant in an exported file.
const GRANT: &str = "#     ";
/// The agency's own balancer.
const OWN: &str = "sedec/producao/haproxy1";
const ENOUGH: usize = 30;
const BALANCER: &str = "sedec/producao/balanceador1";
const CENTRAL: &str = "xvia/central/central1";
/// Names that lead to the balancer and to the central server.
const PEER_NAME: &str = "xvia.sedec.example";
const CENTRAL_NAME: &str = "central.xvia.example";
const CLIENTS: usize = 3;
