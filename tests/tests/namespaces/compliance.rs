//! An agency's server, a member with a grant, one without, and a machine outside: what a check finds of a port that is open to the
//! internet, and that nothing is called closed that nobody looked at.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{AGENCY, Garage, Lab, Machine, PATIENCE, eventually, output, story};
use serde_json::Value;

pub(crate) const ORGANIZATION: &str = "sedec";
pub(crate) const SERVER: &str = "sedec/production/ss-1";
const DECLARATION: &str = r#"version = 1
[production]
site = "production"
addresses = ["ADDRESS"]
[ports]
from_outside = [4000, 9011, 2080]
"#;
/// Messages between security servers, and the administration, which must not be public.
pub(crate) const MESSAGES: u16 = 5500;
pub(crate) const ADMINISTRATION: u16 = 4000;
/// Exit codes of `malha check`.
const FINDINGS: i32 = 10;
const UNTESTED: i32 = 11;
const DAMAGED: i32 = 8;

/// The agency's server, whose programs listen at its public address too.
pub(crate) fn server(lab: &Lab) -> Result<Machine> {
    let mut machine = lab.agency()?;
    machine.configure("guard = \"off\"\n")?;
    for port in [MESSAGES, ADMINISTRATION] {
        for address in [AGENCY, "127.0.0.1"] {
            let listen = || TcpListener::bind((address, port));
            accept_forever(machine.namespace.within(listen)??);
        }
    }
    lab.hub.malha(&["org", "add", ORGANIZATION])?;
    lab.hub.malha(&["site", "add", "sedec/production"])?;
    let words = [
        "token",
        "add",
        "sedec/production",
        "--profile",
        "security-server",
    ];
    let token = lab.hub.token(&words)?;
    machine.enrol(&token, &["--name", "ss-1", "--engine", "userspace"])?;
    eventually("the server is enrolled", PATIENCE, || lab.hub.node(SERVER))?;
    for (name, port) in [("messages", MESSAGES), ("administration", ADMINISTRATION)] {
        let (number, target) = (port.to_string(), format!("127.0.0.1:{port}"));
        let service = [
            "service", "add", SERVER, name, "--port", &number, "--target", &target,
        ];
        lab.hub
            .malha(&[&service[..], &["--kind", "tcp"]].concat())?;
    }
    Ok(machine)
}

pub(crate) fn accept_forever(listener: TcpListener) {
    thread::spawn(move || listener.incoming().flatten().for_each(keep_open));
}

/// Waits for a client that says nothing until it goes.
fn keep_open(mut stream: TcpStream) {
    thread::spawn(move || while matches!(stream.read(&mut [0; 64]), Ok(1..)) {});
}

/// A machine of somebody else.
pub(crate) fn member(lab: &Lab, number: u8) -> Result<Garage> {
    let mut garage = lab.garage(number)?;
    let token = lab.token_for(&garage)?;
    let words = ["--name", "servidor", "--engine", "netstack"];
    garage.machine.enrol(&token, &words)?;
    let node = garage.node();
    eventually("the member is connected", PATIENCE, || {
        let state = &lab.hub.node(&node)?["hops"]["control"]["state"];
        ensure!(state == "up", "{state}");
        Ok(())
    })?;
    Ok(garage)
}

/// Checks now: the report and how the command ended.
pub(crate) fn check(lab: &Lab, words: &[&str]) -> Result<(Value, i32)> {
    check_of(lab, ORGANIZATION, words)
}

pub(crate) fn check_of(lab: &Lab, organization: &str, words: &[&str]) -> Result<(Value, i32)> {
    let words = [&["check", organization, "--json"], words].concat();
    let ended = lab.hub.attempt(&words)?;
    let said = String::from_utf8_lossy(&ended.stdout);
    let complaint = String::from_utf8_lossy(&ended.stderr);
    let report = serde_json::from_str(&said).with_context(|| format!("{said}{complaint}"))?;
    Ok((report, ended.status.code().context("a signal")?))
}

fn verdict<'r>(report: &'r Value, check: &str) -> Result<&'r str> {
    let found = outcome(report, check)?;
    found["verdict"].as_str().context("no verdict")
}

/// The check whose name starts so; there must be one and no other.
pub(crate) fn outcome<'r>(report: &'r Value, check: &str) -> Result<&'r Value> {
    let outcomes = report["outcomes"].as_array().context("no outcomes")?;
    let mut fitting = outcomes.iter().filter(|it| {
        it["check"]
            .as_str()
            .is_some_and(|name| name.starts_with(check))
    });
    let found = fitting
        .next()
        .with_context(|| format!("no {check} in {report}"))?;
    let others = fitting.count();
    ensure!(others == 0, "{others} more than one {check}");
    Ok(found)
}

fn outside(port: u16) -> String {
    format!("production/port/{port}/outside")
}

#[test]
fn a_port_that_is_open_outside_is_found_and_what_nobody_looked_at_is_not_called_closed() {
    story("compliance", |lab| {
        let mut server = server(lab)?;
        let (granted, stranger) = (member(lab, 1)?, member(lab, 2)?);
        let from = format!("node:{}", granted.node());
        let to = format!("node:{SERVER}");
        let grant = [
            "grant", "add", "--from", &from, "--to", &to, "--ports", "5500",
        ];
        lab.hub.malha(&grant)?;
        let declaration = lab.file("declaration.toml");
        fs::write(&declaration, DECLARATION.replace("ADDRESS", AGENCY))?;
        let file = declaration.to_str().context("no text")?;
        lab.hub
            .malha(&["check", "declare", ORGANIZATION, file, "--wait"])?;

        // Nobody is outside yet.
        let (report, _) = check(lab, &[])?;
        ensure!(verdict(&report, &outside(ADMINISTRATION))? == "could-not-test");
        let why = report["no_outside"].as_str().context("no reason")?;
        ensure!(why.contains("malha node tag"), "{why}");

        lab.hub
            .malha(&["node", "tag", &stranger.node(), "outside"])?;
        let (report, code) = check(lab, &[])?;
        ensure!(code == FINDINGS, "exit code {code}");
        ensure!(
            verdict(&report, &outside(ADMINISTRATION))? == "finding",
            "{report}"
        );
        ensure!(verdict(&report, &outside(MESSAGES))? == "finding");
        ensure!(verdict(&report, &outside(9_011))? == "ok");
        ensure!(
            verdict(
                &report,
                "production/port/5500/granted/ss-1.production.sedec/100."
            )? == "ok",
            "{report}"
        );
        ensure!(
            verdict(
                &report,
                "production/port/5500/ungranted/ss-1.production.sedec/100."
            )? == "ok"
        );

        // The guard closes what is the tunnel's.
        server.agent()?.stop()?;
        server.configure("guard = \"required\"\n")?;
        server.boot(&["--engine", "userspace"])?;
        server.becomes_healthy()?;
        let evidence = lab.file("evidence.jsonl");
        let file = evidence.to_str().context("no text")?;
        let page = lab.file("report.html");
        let html = page.to_str().context("no text")?;
        let (report, code) = check(lab, &["--evidence", file, "--html", html])?;
        let page = fs::read_to_string(&page)?;
        ensure!(page.starts_with("<!DOCTYPE html>") && page.contains(&outside(ADMINISTRATION)));
        ensure!(
            verdict(&report, &outside(ADMINISTRATION))? == "ok",
            "{report}"
        );
        ensure!(verdict(&report, &outside(MESSAGES))? == "ok");
        ensure!(
            verdict(
                &report,
                "production/port/5500/granted/ss-1.production.sedec/100."
            )? == "ok",
            "{report}"
        );
        ensure!([FINDINGS, UNTESTED].contains(&code), "exit code {code}");

        let verify = |file: &str| {
            let authority = lab.hub.data().join("overlay-ca.pem");
            let mut command = lab.hub.command(&["check", "verify", file])?;
            output(command.arg("--authority").arg(authority))
        };
        ensure!(verify(file)?.status.success());
        let text = fs::read_to_string(&evidence)?;
        let forged = lab.file("forged.jsonl");
        fs::write(
            &forged,
            text.replace("\"refused\"", "\"open\"")
                .replace("\"silent\"", "\"open\""),
        )?;
        let refused = verify(forged.to_str().context("no text")?)?;
        ensure!(refused.status.code() == Some(DAMAGED), "{refused:?}");
        let history = lab.hub.json(&["check", "history", ORGANIZATION])?;
        ensure!(
            history["runs"].as_array().map(Vec::len) == Some(3),
            "{history}"
        );
        Ok(())
    });
}
