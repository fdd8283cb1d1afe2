//! Names inside the overlay: a member finds a peer by its name and by the name that its agency declared, who has no grant finds
//! nothing, and the check says what members really get.

use std::fs;
use std::slice;

use anyhow::{Context, Result, bail, ensure};
use malha_tests::lab::{
    AGENCY, Garage, HUB, Lab, Machine, Namespace, PATIENCE, eventually, output, story,
};
use serde_json::Value;

const SERVER: &str = "sedec/production/ss-1";
const SERVER_NAME: &str = "ss-1.production.sedec.malha.internal";
const ZONE: &str = "sedec.example";
const DECLARED: &str = "xvia.sedec.example";
const INSIDE: &str = "production/dns/xvia.sedec.example/internal-view";
const PUBLIC: &str = "production/dns/xvia.sedec.example/public-space";
const DECLARATION: &str = r#"version = 1
name_servers = ["HUB"]
[production]
site = "production"
names = ["xvia.sedec.example"]
addresses = ["ADDRESS"]
"#;
/// Where every agent answers programs on its machine.
const AGENT: &str = "127.0.77.53";
const PORT: &str = "5500";

/// An agency's server that serves a page at its overlay address.
fn server(lab: &Lab) -> Result<Machine> {
    let mut machine = lab.agency()?;
    machine.start_web("127.0.0.1:5500")?;
    lab.hub.malha(&["org", "add", "sedec"])?;
    lab.hub.malha(&["site", "add", "sedec/production"])?;
    let words = ["token", "add", "sedec/production", "--profile"];
    let token = lab
        .hub
        .token(&[&words[..], &["security-server"]].concat())?;
    machine.enrol(&token, &["--name", "ss-1", "--engine", "userspace"])?;
    eventually("the server is enrolled", PATIENCE, || lab.hub.node(SERVER))?;
    let service = ["service", "add", SERVER, "messages", "--port", PORT];
    let target = ["--target", "127.0.0.1:5500", "--kind", "http"];
    lab.hub.malha(&[&service[..], &target].concat())?;
    Ok(machine)
}

fn member(lab: &Lab, number: u8) -> Result<Garage> {
    let mut garage = lab.garage(number)?;
    let token = lab.token_for(&garage)?;
    let words = ["--name", "servidor", "--engine", "userspace"];
    garage.machine.enrol(&token, &words)?;
    garage.machine.becomes_healthy()?;
    Ok(garage)
}

fn grant(lab: &Lab, from: &str, to: &str, ports: &str) -> Result<()> {
    let (from, to) = (format!("node:{from}"), format!("node:{to}"));
    let words = ["grant", "add", "--from", &from, "--to", &to, "--ports"];
    lab.hub.malha(&[&words[..], &[ports]].concat()).map(drop)
}

/// What dig gets: the code, and each answer.
fn dig(from: &Namespace, server: &str, words: &[&str]) -> Result<(String, Vec<String>)> {
    let server = format!("@{server}");
    let fixed = ["+noall", "+comments", "+answer", "+time=1", "+tries=1"];
    let mut command = from.command("dig");
    let said = output(command.arg(server).args(fixed).args(words))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let code = text.lines().find_map(|line| line.split("status: ").nth(1));
    let code = code.and_then(|rest| rest.split(',').next());
    let code = code.with_context(|| format!("no answer: {text}"))?;
    let data = text.lines().filter(|line| !line.starts_with(';'));
    let data = data.filter_map(|line| line.split_whitespace().last());
    Ok((code.to_owned(), data.map(str::to_owned).collect()))
}

/// Asks the machine's agent until it says so.
fn answers(machine: &Machine, name: &str, code: &str, data: &[&str]) -> Result<()> {
    eventually(&format!("{name} is answered"), PATIENCE, || {
        let said = dig(&machine.namespace, AGENT, &[name, "A"])?;
        ensure!(said.0 == code && said.1 == data, "{said:?}");
        Ok(())
    })
}

fn address(lab: &Lab, node: &str, family: &str) -> Result<String> {
    let node = lab.hub.node(node)?;
    let address = node[family].as_str().context("no address")?;
    Ok(address.to_owned())
}

/// The verdict of a check made now, and what was observed.
fn verdict(lab: &Lab, check: &str) -> Result<(String, String)> {
    let ended = lab.hub.attempt(&["check", "sedec", "--json"])?;
    let said = String::from_utf8_lossy(&ended.stdout);
    let report: Value = serde_json::from_str(&said)
        .with_context(|| format!("{said}{}", String::from_utf8_lossy(&ended.stderr)))?;
    let outcomes = report["outcomes"].as_array().context("no outcomes")?;
    let found = outcomes.iter().find(|it| it["check"] == check);
    let found = found.with_context(|| format!("no {check} in {report}"))?;
    let verdict = found["verdict"].as_str().context("no verdict")?;
    Ok((verdict.to_owned(), found.to_string()))
}

fn is(lab: &Lab, check: &str, expected: &str, says: &str) -> Result<()> {
    let (verdict, outcome) = verdict(lab, check)?;
    let fits = verdict == expected && outcome.contains(says);
    ensure!(fits, "{expected} was expected, with {says:?}: {outcome}");
    Ok(())
}

#[test]
fn members_find_each_other_by_name_as_far_as_they_are_granted() {
    story("names", |lab| {
        let server = server(lab)?;
        let (mut granted, stranger) = (member(lab, 1)?, member(lab, 2)?);
        answers(&granted.machine, SERVER_NAME, "NXDOMAIN", &[])?;
        grant(lab, &granted.node(), SERVER, PORT)?;
        let (v4, v6) = (
            address(lab, SERVER, "address_v4")?,
            address(lab, SERVER, "address_v6")?,
        );
        answers(&granted.machine, SERVER_NAME, "NOERROR", &[&v4])?;
        answers(&stranger.machine, SERVER_NAME, "NXDOMAIN", &[])?;
        for address in [&v4, &v6] {
            let back = |machine: &Machine| dig(&machine.namespace, AGENT, &["-x", address]);
            let (code, names) = back(&granted.machine)?;
            let is_it = names == [format!("{SERVER_NAME}.")];
            ensure!(code == "NOERROR" && is_it, "{code} {names:?}");
            let (code, names) = back(&stranger.machine)?;
            ensure!(code == "NXDOMAIN" && names.is_empty(), "{code} {names:?}");
        }

        // As a program does it: by the machine's resolver, and through the tunnel.
        let namespace = &granted.machine.namespace;
        namespace.set_etc("resolv.conf", &format!("nameserver {AGENT}\n"))?;
        let said = output(namespace.command("getent").args(["ahostsv6", SERVER_NAME]))?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(said.starts_with(&v6), "{said}");
        let url = format!("http://{SERVER_NAME}:{PORT}/");
        eventually("the page is there by its name", PATIENCE, || {
            granted.machine.open(&url)
        })?;

        // At its overlay address the agent answers the machine, and nobody who comes through the tunnel, whatever is granted.
        let own = address(lab, &granted.node(), "address_v4")?;
        let question = [SERVER_NAME, "A"];
        ensure!(dig(namespace, &own, &question)?.1 == slice::from_ref(&v4));
        let tcp = [SERVER_NAME, "A", "+tcp"];
        ensure!(dig(namespace, &own, &tcp)?.1 == slice::from_ref(&v4));
        grant(lab, SERVER, &granted.node(), "53")?;
        let path = format!("/dev/tcp/{own}/53");
        eventually("the port is open to the server", PATIENCE, || {
            let script = format!("exec 3<>{path}");
            let mut command = server.namespace.command("timeout");
            let opened = output(command.args(["2", "bash", "-c", &script]))?;
            ensure!(opened.status.success(), "{opened:?}");
            Ok(())
        })?;
        if let Ok(said) = dig(&server.namespace, &own, &tcp) {
            bail!("a peer was answered: {said:?}");
        }
        // Nor does it resolve for anybody.
        let (code, _) = dig(namespace, AGENT, &["garagens.example", "A"])?;
        ensure!(code == "REFUSED", "{code}");

        // Without its controller, and from its disk.
        lab.hub.controller()?.kill()?;
        granted.machine.agent()?.kill()?;
        granted.machine.boot(&["--engine", "userspace"])?;
        answers(&granted.machine, SERVER_NAME, "NOERROR", &[&v4])?;
        // It answers for its status before it has looked around.
        eventually("the status tells of its names", PATIENCE, || {
            let status = granted.machine.status()?;
            ensure!(status["names"]["zone"] == "malha.internal", "{status}");
            ensure!(status["names"]["system"]["state"] == "not-told", "{status}");
            Ok(())
        })?;
        Ok(())
    });
}

#[test]
fn the_internal_view_is_what_a_member_with_a_grant_really_gets() {
    story("the internal view", |lab| {
        let _server = server(lab)?;
        let (granted, stranger) = (member(lab, 1)?, member(lab, 2)?);
        lab.hub.malha(&["zone", "add", ZONE])?;
        lab.hub
            .malha(&["record", "put", ZONE, "xvia", "A", AGENCY])?;
        let declaration = lab.file("declaration.toml");
        let text = DECLARATION.replace("ADDRESS", AGENCY).replace("HUB", HUB);
        fs::write(&declaration, text)?;
        let file = declaration.to_str().context("no text")?;
        lab.hub
            .malha(&["check", "declare", "sedec", file, "--wait"])?;
        is(lab, INSIDE, "could-not-test", "")?;

        grant(lab, &granted.node(), SERVER, PORT)?;
        let v4 = address(lab, SERVER, "address_v4")?;
        answers(&granted.machine, DECLARED, "NOERROR", &[&v4])?;
        answers(&stranger.machine, DECLARED, "REFUSED", &[])?;

        // The agent is right, but the machine's programs ask the public servers.
        let set = |server: &str| {
            let text = format!("nameserver {server}\n");
            granted.machine.namespace.set_etc("resolv.conf", &text)
        };
        set(HUB)?;
        is(lab, INSIDE, "finding", &format!("programs: {AGENCY}"))?;
        set(AGENT)?;
        is(lab, INSIDE, "ok", &v4)?;
        is(lab, PUBLIC, "ok", "")?;

        // An overlay address does not belong into the public view.
        lab.hub.malha(&["record", "put", ZONE, "xvia", "A", &v4])?;
        is(lab, PUBLIC, "finding", &v4)
    });
}
