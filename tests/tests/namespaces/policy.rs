//! A policy that cuts off more than its author wanted: who waits for a confirmation and hears of none goes back by itself.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{AGENCY, Lab, Machine, PATIENCE, eventually, story};

const SITE: &str = "sedec/production";
const SERVER: &str = "sedec/production/ss-1";
const PORT: &str = "8000";
const WITHIN: Duration = Duration::from_secs(8);

/// A machine with a public address, which a peer finds without a hub, and a page of it.
fn server(lab: &Lab) -> Result<Machine> {
    let mut machine = lab.agency()?;
    machine.start_web("127.0.0.1:8080")?;
    lab.hub.malha(&["org", "add", "sedec"])?;
    lab.hub.malha(&["site", "add", SITE])?;
    let token = ["token", "add", SITE, "--profile", "garage"];
    let token = lab.hub.token(&token)?;
    let endpoint = format!("{AGENCY}:51820");
    machine.configure(&format!("listen = [\"{endpoint}\"]\n"))?;
    machine.enrol(&token, &["--name", "ss-1", "--engine", "userspace"])?;
    eventually("the server is enrolled", PATIENCE, || lab.hub.node(SERVER))?;
    lab.hub.malha(&["node", "endpoints", SERVER, &endpoint])?;
    let service = ["service", "add", SERVER, "page", "--port", PORT];
    let target = ["--target", "127.0.0.1:8080", "--kind", "http"];
    lab.hub.malha(&[&service[..], &target].concat())?;
    Ok(machine)
}

/// A policy that opens the page to one node, or to nobody.
fn policy(from: &str, is_open: bool) -> String {
    let grant = format!(
        "[[grant]]\nname = \"page\"\nfrom = [\"node:{from}\"]\nto = [\"node:{SERVER}\"]\nprotocol = \"tcp\"\n\
         ports = [\"{PORT}\"]\n"
    );
    let (grant, expect) = match is_open {
        true => (grant, "allow"),
        false => (String::new(), "deny"),
    };
    format!(
        "version = 1\n{grant}[[test]]\nfrom = \"node:{from}\"\nto = \"node:{SERVER}\"\nprotocol = \"tcp\"\n\
         port = {PORT}\nexpect = \"{expect}\"\n"
    )
}

fn apply(lab: &Lab, text: &str, words: &[&str]) -> Result<()> {
    let file = lab.file("policy.toml");
    fs::write(&file, text)?;
    let file = file.to_str().context("no text")?;
    let apply = ["policy", "apply", file, "--yes"];
    lab.hub.malha(&[&apply[..], words].concat()).map(drop)
}

#[test]
fn a_policy_that_nobody_confirms_goes_again_on_nodes_that_lost_their_controller() {
    story("confirm within", |lab| {
        let mut server = server(lab)?;
        let mut member = lab.garage(1)?;
        let token = lab.token_for(&member)?;
        let words = ["--name", "servidor", "--engine", "userspace"];
        member.machine.enrol(&token, &words)?;
        member.machine.becomes_healthy()?;
        server.becomes_healthy()?;
        let address = lab.hub.node(SERVER)?["address_v4"]
            .as_str()
            .map(str::to_owned);
        let url = format!("http://{}:{PORT}/", address.context("no address")?);
        apply(lab, &policy(&member.node(), true), &[])?;
        eventually("the page is open", PATIENCE, || member.machine.open(&url))?;

        let within = format!("{}s", WITHIN.as_secs());
        let began = Instant::now();
        let closed = policy(&member.node(), false);
        apply(lab, &closed, &["--confirm-within", &within])?;
        eventually("the page is closed", WITHIN / 2, || {
            ensure!(member.machine.open(&url).is_err(), "it is open");
            Ok(())
        })?;
        lab.hub.controller()?.kill()?;
        eventually("the page is open again", WITHIN + PATIENCE, || {
            member.machine.open(&url)
        })?;
        ensure!(began.elapsed() >= WITHIN, "after {:?}", began.elapsed());

        // The controller had the same thought, and they agree when they meet.
        lab.hub.serve()?;
        server.becomes_healthy()?;
        member.machine.becomes_healthy()?;
        member.machine.open(&url).map(drop)
    });
}
