//! What a check finds of one server's ports from each vantage point, each finding made true and false: a member with a grant, one
//! without, a machine outside, and the server itself looking out. And what it finds of an agency's list of ports and of a balancer.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{
    AGENCY, Access, CLIENT, Certificates, HUB, HUB_V6, Lab, Machine, Mapping, Namespace, PATIENCE,
    SecurityServer, eventually, story,
};
use serde_json::Value;

use super::compliance::{
    ADMINISTRATION, MESSAGES, ORGANIZATION, SERVER, accept_forever, check, member, outcome, server,
};

const SITE: &str = "sedec/production";
/// The agency's server in the newer family (RFC 3849), and the machine that looks from there.
const AGENCY_V6: &str = "2001:db8::30";
const OUTSIDER: &str = "estacionamentos/fora/vigia";
/// X-Road's cached OCSP responses, and the port that is never open.
const OCSP_CACHE: u16 = 5577;
const MONITORING: u16 = 9011;
/// Of the central server.
const REGISTRATION: u16 = 4001;

/// The fault that a check found, or its verdict where it found none.
fn found<'r>(report: &'r Value, check: &str) -> Result<&'r str> {
    let outcome = outcome(report, check)?;
    let fault = outcome["fault"].as_str();
    fault
        .or_else(|| outcome["verdict"].as_str())
        .context("no verdict")
}

pub(crate) fn expect(report: &Value, check: &str, wanted: &str) -> Result<()> {
    let found = found(report, check)?;
    let outcome = outcome(report, check)?;
    ensure!(found == wanted, "{check}: {found}, not {wanted}: {outcome}");
    Ok(())
}

/// On the server's overlay address of the older family.
fn inside(port: u16, who: &str) -> String {
    format!("production/port/{port}/{who}/ss-1.production.sedec/100.")
}

fn outside(port: u16) -> String {
    format!("production/port/{port}/outside")
}

pub(crate) fn declare(lab: &Lab, organization: &str, text: &str) -> Result<()> {
    let file = lab.file("declaration.toml");
    fs::write(&file, text)?;
    let file = file.to_str().context("no text")?;
    let words = ["check", "declare", organization, file, "--wait"];
    lab.hub.malha(&words).map(drop)
}

fn listens(machine: &Namespace, address: &str, port: u16) -> Result<()> {
    let listener = machine.within(|| TcpListener::bind((address, port)))??;
    accept_forever(listener);
    Ok(())
}

/// Ports that the profile keeps inside, as if an operator had opened the messages to the internet.
fn open_messages(lab: &Lab) -> Result<()> {
    let words = ["profile", "show", "security-server", "--text"];
    let text = lab.hub.malha(&words)?;
    let inbound = |probe: &str| format!("exposure = \"tunnel\"\nprobe = \"{probe}\"");
    let public = |probe: &str| format!("exposure = \"public\"\nprobe = \"{probe}\"");
    // The first of each probe is the inbound one.
    let text = ["tls-client-certificate", "http"]
        .iter()
        .fold(text, |text, probe| {
            text.replacen(&inbound(probe), &public(probe), 1)
        });
    let file = lab.file("profile.toml");
    fs::write(&file, text)?;
    let file = file.to_str().context("no text")?;
    lab.hub.malha(&["profile", "set", file]).map(drop)
}

fn grant(lab: &Lab, from: &str, port: u16) -> Result<()> {
    let (from, to) = (format!("node:{from}"), format!("node:{SERVER}"));
    let port = port.to_string();
    let words = ["grant", "add", "--from", &from, "--to", &to];
    lab.hub
        .malha(&[&words[..], &["--ports", &port, "--wait"]].concat())
        .map(drop)
}

fn withdraw(lab: &Lab, port: u16) -> Result<()> {
    let grants = lab.hub.json(&["grant", "list"])?;
    let mut grants = grants["items"].as_array().context("no grants")?.iter();
    let meant = grants.find(|it| it["from_port"] == port);
    let id = meant
        .and_then(|it| it["id"].as_str())
        .context("no such grant")?;
    lab.hub.malha(&["grant", "remove", id]).map(drop)
}

/// The server hears nothing of the controller any more, and keeps all else.
fn cut_off(server: &Machine) -> Result<()> {
    let rules = format!(
        "table ip cut {{\n chain arriving {{\n  type filter hook input priority filter;\n  \
         ip saddr {HUB} drop\n }}\n}}"
    );
    server.namespace.nft(&rules)
}

#[test]
fn each_finding_of_a_port_is_made_true_and_false_from_every_vantage_point() {
    story("three vantage points", |lab| {
        let server = server(lab)?;
        let (granted, stranger) = (member(lab, 1)?, member(lab, 2)?);
        lab.hub
            .malha(&["node", "tag", &stranger.node(), "outside"])?;
        open_messages(lab)?;
        for port in [MESSAGES, OCSP_CACHE, ADMINISTRATION, MONITORING] {
            grant(lab, &granted.node(), port)?;
        }
        let said = format!(
            "version = 1\ncentral = [\"{CLIENT}\"]\n[production]\nsite = \"production\"\n\
             addresses = [\"{AGENCY}\"]\n"
        );
        declare(lab, ORGANIZATION, &said)?;

        let (report, _) = check(lab, &[])?;
        expect(&report, &inside(MESSAGES, "granted"), "ok")?;
        expect(&report, &inside(MESSAGES, "ungranted"), "ok")?;
        expect(&report, &inside(OCSP_CACHE, "granted"), "port_closed")?;
        expect(&report, &inside(MONITORING, "granted"), "ok")?;
        expect(&report, &outside(MESSAGES), "ok")?;
        expect(&report, &outside(OCSP_CACHE), "port_closed")?;
        expect(&report, &outside(ADMINISTRATION), "port_open")?;
        expect(&report, &outside(MONITORING), "ok")?;
        let central =
            format!("production/egress/ss-1.production.sedec/central/{CLIENT}:{REGISTRATION}");
        expect(&report, &central, "port_closed")?;

        // What was closed opens, and what must never be open too.
        for address in [AGENCY, "127.0.0.1"] {
            listens(&server.namespace, address, OCSP_CACHE)?;
        }
        let (number, target) = (OCSP_CACHE.to_string(), format!("127.0.0.1:{OCSP_CACHE}"));
        let service = [
            "service", "add", SERVER, "ocsp", "--port", &number, "--target", &target,
        ];
        lab.hub
            .malha(&[&service[..], &["--kind", "tcp", "--wait"]].concat())?;
        listens(&lab.client.namespace, CLIENT, REGISTRATION)?;
        let overlay = lab.hub.node(SERVER)?["address_v4"]
            .as_str()
            .map(str::to_owned);
        listens(
            &server.namespace,
            &overlay.context("no address")?,
            MONITORING,
        )?;
        let (report, _) = check(lab, &[])?;
        expect(&report, &inside(OCSP_CACHE, "granted"), "ok")?;
        expect(&report, &inside(MONITORING, "granted"), "port_open")?;
        expect(&report, &outside(OCSP_CACHE), "ok")?;
        expect(&report, &central, "ok")?;
        expect(&report, &inside(ADMINISTRATION, "granted"), "ok")?;

        // A server that never heard that a grant is gone still lets its former holder in.
        cut_off(&server)?;
        withdraw(lab, ADMINISTRATION)?;
        let (report, _) = check(lab, &[])?;
        expect(&report, &inside(ADMINISTRATION, "ungranted"), "port_open")?;
        server.namespace.nft("delete table ip cut")?;
        eventually("the server has applied it", PATIENCE, || {
            let (report, _) = check(lab, &[])?;
            expect(&report, &inside(ADMINISTRATION, "ungranted"), "ok")
        })
    });
}

/// From a machine that has nothing but IPv6, of a server that is public there and nowhere else. What is silent counts as closed only
/// beside an address of the same family that answers.
#[test]
fn from_an_ipv6_outside_silence_is_judged_beside_a_control_of_its_own_family() {
    story("outside by IPv6", |lab| {
        let server = server(lab)?;
        let address = format!("address add {AGENCY_V6}/64 dev wan nodad");
        server.namespace.ip(&address)?;
        for port in [MESSAGES, ADMINISTRATION] {
            listens(&server.namespace, AGENCY_V6, port)?;
        }
        server.namespace.nft(&format!(
            "table ip6 wall {{\n chain arriving {{\n  type filter hook input priority filter;\n  \
             tcp dport {MONITORING} drop\n }}\n}}"
        ))?;
        open_messages(lab)?;
        let mut outside_of_all = lab.connected(Access::Ipv6Only, 4)?;
        lab.hub.malha(&["site", "add", "estacionamentos/fora"])?;
        let words = ["token", "add", "estacionamentos/fora"];
        let token = lab
            .hub
            .token(&[&words[..], &["--profile", "garage"]].concat())?;
        let named = ["--name", "vigia", "--engine", "netstack"];
        outside_of_all.machine.enrol(&token, &named)?;
        is_connected(lab, OUTSIDER)?;
        lab.hub.malha(&["node", "tag", OUTSIDER, "outside"])?;
        let stage = "version = 1\n[production]\nsite = \"production\"\n";
        declare(
            lab,
            ORGANIZATION,
            &format!("{stage}addresses = [\"{AGENCY_V6}\"]\n"),
        )?;

        let (report, _) = check(lab, &[])?;
        ensure!(report["no_outside"].is_null(), "{}", report["no_outside"]);
        expect(&report, &outside(MESSAGES), "ok")?;
        expect(&report, &outside(ADMINISTRATION), "port_open")?;
        expect(&report, &outside(OCSP_CACHE), "port_closed")?;
        is_unknown(&report, MONITORING, "no control address of this family")?;

        lab.hub.controller()?.kill()?;
        lab.hub.publishes_by_v6()?;
        lab.hub.serve()?;
        for node in [OUTSIDER, SERVER] {
            is_connected(lab, node)?;
        }
        let (report, _) = check(lab, &[])?;
        expect(&report, &outside(MONITORING), "ok")?;
        expect(&report, &outside(ADMINISTRATION), "port_open")?;

        // An outside that does not reach the control reaches nothing, as far as anybody can tell.
        lab.hub.namespace.nft(&format!(
            "table ip6 wall {{\n chain arriving {{\n  type filter hook input priority filter;\n  \
             ip6 daddr {HUB_V6} tcp dport 443 tcp flags & (syn | ack) == syn drop\n }}\n}}"
        ))?;
        let (report, _) = check(lab, &[])?;
        is_unknown(&report, MONITORING, "does not even reach its control")?;
        expect(&report, &outside(ADMINISTRATION), "port_open")
    });
}

/// Nobody knows whether the port is closed to the outside, for this reason.
fn is_unknown(report: &Value, port: u16, why: &str) -> Result<()> {
    expect(report, &outside(port), "could-not-test")?;
    let text = outcome(report, &outside(port))?["text"].as_str();
    ensure!(text.is_some_and(|text| text.contains(why)), "{text:?}");
    Ok(())
}

fn is_connected(lab: &Lab, node: &str) -> Result<()> {
    eventually("the node is connected", PATIENCE, || {
        let state = &lab.hub.node(node)?["hops"]["control"]["state"];
        ensure!(state == "up", "{state}");
        Ok(())
    })
}

/// A security server, and the machine `bal-1` that balances before it, as these words say further. The balancer's path.
fn behind_a_balancer(
    lab: &Lab,
    front: &mut Machine,
    words: &[&str],
) -> Result<(SecurityServer, String)> {
    let certificates = Certificates::new()?;
    lab.hub.malha(&["org", "add", ORGANIZATION])?;
    lab.hub.malha(&["site", "add", SITE])?;
    let token = |profile: &str| {
        let words = ["token", "add", SITE, "--profile", profile];
        lab.hub.token(&words)
    };
    let mut server = lab.security_server(1, &certificates)?;
    let named = ["--name", "ss-1", "--engine", "userspace"];
    server
        .site
        .machine
        .enrol(&token("security-server")?, &named)?;
    server.start()?;
    let named = ["--name", "bal-1", "--engine", "userspace"];
    front.enrol(&token("balancer")?, &named)?;
    let balancing = format!("{SITE}/bal-1");
    for node in [SERVER, &balancing] {
        eventually("the node is enrolled", PATIENCE, || lab.hub.node(node))?;
    }
    let target = ["--port", "5500", "--target", "127.0.0.1:5500"];
    let service = ["service", "add", SERVER, "mensagens"];
    lab.hub.malha(&[&service[..], &target].concat())?;
    let backend = format!("{SERVER}/mensagens");
    let add = [
        "balancer",
        "add",
        &balancing,
        "xroad",
        "--backend",
        &backend,
    ];
    let health = ["--port", "5500", "--health", "5588/"];
    lab.hub.malha(&[&add[..], &health, words].concat())?;
    Ok((server, format!("{balancing}/xroad")))
}

/// What the controller hears of the one server behind a balancer.
fn server_is(lab: &Lab, balancer: &str, wanted: &str) -> Result<()> {
    eventually("the server's condition", PATIENCE, || {
        let shown = lab.hub.json(&["balancer", "show", balancer])?;
        let condition = &shown["backends"][0]["condition"];
        ensure!(condition == wanted, "{condition}: {shown}");
        Ok(())
    })
}

#[test]
fn an_agencys_list_and_a_balancers_servers_are_found_right_and_wrong() {
    story("list of ports, balancer", |lab| {
        let mut front = lab.connected(Access::Home(Mapping::Preserving), 2)?;
        let (mut server, balancer) = behind_a_balancer(lab, &mut front.machine, &[])?;
        let stage = "version = 1\n[production]\nsite = \"production\"\n[ports]\n";
        declare(
            lab,
            ORGANIZATION,
            &format!("{stage}from_outside = [4000, 9011]\n"),
        )?;
        server_is(lab, &balancer, "up")?;
        let (report, _) = check(lab, &[])?;
        let all_up = format!("production/balancer/{balancer}/all-up");
        expect(&report, &all_up, "ok")?;
        expect(&report, "declared/ports", "ports_differ")?;
        let finding = outcome(&report, "declared/ports")?;
        let said = finding["declared"].as_str().context("nothing declared")?;
        ensure!(
            said.starts_with("4000 in outside; 9011 in outside;"),
            "{said}"
        );
        expect(
            &report,
            "production/service/5500/ss-1.production.sedec/client-certificate",
            "ok",
        )?;

        server.kill()?;
        server_is(lab, &balancer, "down")?;
        declare(lab, ORGANIZATION, &format!("{stage}{}", right_list(lab)?))?;
        let (report, _) = check(lab, &[])?;
        expect(&report, &all_up, "backend_down")?;
        expect(&report, "declared/ports", "ok")
    });
}

/// Strangers are thrown out by a balancer that has accepted them, and served at an address that leads past it.
#[test]
fn a_public_balancers_list_is_looked_at_by_a_stranger_and_by_one_who_is_listed() {
    story("list of a balancer", |lab| {
        let mut front = lab.agency()?;
        let only = |source: &str| format!("{source}/32");
        let others = only(CLIENT);
        let public = ["--exposure", "public", "--allow", &others];
        let (mut server, balancer) = behind_a_balancer(lab, &mut front, &public)?;
        let outsider = member(lab, 2)?;
        lab.hub
            .malha(&["node", "tag", &outsider.node(), "outside"])?;
        listens(&lab.client.namespace, CLIENT, MESSAGES)?;
        let stage = "version = 1\n[production]\nsite = \"production\"\n";
        declare(
            lab,
            ORGANIZATION,
            &format!("{stage}addresses = [\"{AGENCY}\", \"{CLIENT}\"]\n"),
        )?;
        server_is(lab, &balancer, "up")?;
        let at = |who: &str, address: &str| format!("production/port/{MESSAGES}/{who}/{address}");

        let (report, _) = check(lab, &[])?;
        expect(&report, &at("unlisted", AGENCY), "ok")?;
        let told = &outcome(&report, &at("unlisted", AGENCY))?["observed"];
        ensure!(told == "accepted and closed", "{told}");
        expect(&report, &at("unlisted", CLIENT), "port_open")?;
        expect(&report, &at("outside", AGENCY), "could-not-test")?;

        let listed = format!("{others},{}", only(&outsider.outer_address()));
        lab.hub
            .malha(&["balancer", "set", &balancer, "--allow", &listed, "--wait"])?;
        let (report, _) = check(lab, &[])?;
        expect(&report, &at("outside", AGENCY), "ok")?;
        expect(&report, &at("unlisted", AGENCY), "could-not-test")?;

        // Without a server to be kept from, to be thrown out says nothing of the list.
        lab.hub
            .malha(&["balancer", "set", &balancer, "--allow", &others, "--wait"])?;
        server.kill()?;
        server_is(lab, &balancer, "down")?;
        let (report, _) = check(lab, &[])?;
        expect(&report, &at("unlisted", AGENCY), "could-not-test")?;
        let why = &outcome(&report, &at("unlisted", AGENCY))?["text"];
        ensure!(
            why.as_str().is_some_and(|it| it.contains("no server")),
            "{why}"
        );
        Ok(())
    });
}

/// Every port that the profile has and nobody declared, declared where the profile has it.
fn right_list(lab: &Lab) -> Result<String> {
    declare(
        lab,
        ORGANIZATION,
        "version = 1\n[production]\nsite = \"production\"\n",
    )?;
    let words = ["profile", "show", "security-server", "--difference"];
    let all = lab
        .hub
        .json(&[&words[..], &["--org", ORGANIZATION]].concat())?;
    let items = all["items"].as_array().context("no differences")?;
    let ports = |direction: &str| -> Result<String> {
        let towards = items.iter().filter(|it| it["direction"] == direction);
        let numbers: Vec<String> = towards.map(|it| it["port"].to_string()).collect();
        ensure!(!numbers.is_empty(), "no port {direction} in {all}");
        Ok(numbers.join(", "))
    };
    let (inward, outward) = (ports("in")?, ports("out")?);
    Ok(format!(
        "from_inside = [{inward}]\nto_outside = [{outward}]\n"
    ))
}
