//! The demo, from its first line to a clean machine after Ctrl-C. Each story runs the real program on free ports.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)] // A panic fails the test that caused it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::chown;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use malha_tests::demo::{Demo, Ports};
use malha_tests::lab::{malha, output};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

const HOPS: [&str; 8] = [
    "token",
    "enrolment",
    "handshake",
    "dns",
    "tls",
    "http",
    "download",
    "websocket",
];
const HOST: &str = "garagem-01.localhost";

/// Where a demo may leave files, and must not.
fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("malha-test-").tempdir()?)
}

fn check(ports: Ports, words: &[&str], temporary: &TempDir) -> Result<Output> {
    output(ports.command(temporary.path())?.arg("--check").args(words))
}

/// The hops of a check for people that all went well, in their order.
fn hops_that_held(check: &Output) -> Result<Vec<String>> {
    let printed = String::from_utf8(check.stdout.clone())?;
    let complaint = String::from_utf8_lossy(&check.stderr);
    ensure!(
        check.status.success(),
        "{}: {printed}{complaint}",
        check.status
    );
    printed
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            ensure!(words.next() == Some("ok"), "a hop is not ok: {line}");
            Ok(words.next().context("a hop without a name")?.to_owned())
        })
        .collect()
}

fn is_empty(folder: &TempDir) -> Result<bool> {
    Ok(fs::read_dir(folder.path())?.next().is_none())
}

/// Runs a line as a person does who copies it into a shell.
fn shell(line: &str) -> Result<String> {
    let output = output(Command::new("sh").args(["-c", line]))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{line}: {}: {complaint}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether a test may use this program; says so if not.
fn has(program: &str) -> bool {
    let found = shell(&format!("command -v {program}")).is_ok();
    if !found {
        println!("skip: {program} is missing");
    }
    found
}

#[test]
fn the_check_walks_every_hop_in_order_and_leaves_nothing() -> Result<()> {
    let temporary = folder()?;
    let check = check(Ports::free()?, &[], &temporary)?;
    assert_eq!(hops_that_held(&check)?, HOPS);
    assert!(
        is_empty(&temporary)?,
        "files are left in the temporary folder"
    );
    Ok(())
}

#[test]
fn the_check_tells_programs_the_same() -> Result<()> {
    let check = check(Ports::free()?, &["--json"], &folder()?)?;
    assert!(check.status.success(), "{check:?}");
    let report: Value = serde_json::from_slice(&check.stdout)?;
    let hops = report["hops"].as_array().context("no hops")?;
    let names: Vec<_> = hops.iter().filter_map(|hop| hop["hop"].as_str()).collect();
    assert_eq!(names, HOPS);
    assert_eq!(report["ok"], true);
    for hop in hops {
        assert!(
            hop["ok"] == true && hop["millis"].is_u64() && hop["detail"].is_string(),
            "{hop}"
        );
    }
    Ok(())
}

#[test]
fn an_ordinary_user_without_a_home_may_run_it() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        println!("skip: the other tests run as an ordinary user already");
        return Ok(());
    }
    if !has("setpriv") {
        return Ok(());
    }
    let temporary = folder()?;
    chown(temporary.path(), Some(NOBODY), Some(NOBODY))?;
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
    command.args(["--clear-groups", "--no-new-privs", "--bounding-set=-all"]);
    command
        .arg(malha()?)
        .args(Ports::free()?.words())
        .arg("--check");
    command
        .env("TMPDIR", temporary.path())
        .env_remove("HOME")
        .current_dir("/");
    assert_eq!(hops_that_held(&output(&mut command)?)?, HOPS);
    assert!(
        is_empty(&temporary)?,
        "files are left in the temporary folder"
    );
    Ok(())
}

#[test]
fn a_taken_port_is_named_with_its_flag() -> Result<()> {
    let ports = Ports::free()?;
    let temporary = folder()?;
    for (flag, port) in ports.flags() {
        let address = (Ipv4Addr::LOCALHOST, port);
        // What is UDP alone is not hindered by TCP.
        let (_tcp, _udp);
        match flag {
            "--wireguard-port" => _udp = UdpSocket::bind(address)?,
            _ => _tcp = TcpListener::bind(address)?,
        }
        let run = output(&mut ports.command(temporary.path())?)?;
        let complaint = String::from_utf8_lossy(&run.stderr);
        let named = complaint.contains(&format!(" {port} ")) && complaint.contains(flag);
        assert!(
            !run.status.success() && named,
            "{flag}: {}: {complaint}",
            run.status
        );
        assert_eq!(complaint.matches("in use").count(), 1, "{complaint}");
        let run = check(ports, &["--json"], &temporary)?;
        let report: Value = serde_json::from_slice(&run.stdout)?;
        let detail = report["hops"][0]["detail"].as_str().unwrap_or_default();
        assert!(!run.status.success() && report["ok"] == false, "{report}");
        assert!(
            detail.contains(&port.to_string()) && detail.contains(flag),
            "{report}"
        );
    }
    assert!(
        is_empty(&temporary)?,
        "files are left in the temporary folder"
    );
    Ok(())
}

#[test]
fn a_second_run_in_the_same_folder_keeps_node_and_operator() -> Result<()> {
    let (temporary, data) = (folder()?, folder()?);
    let data = data.path().join("demo");
    let words = ["--data", data.to_str().context("a strange folder")?];
    let ports = Ports::free()?;
    let first = check(ports, &words, &temporary)?;
    assert_eq!(hops_that_held(&first)?, HOPS);
    let second = check(ports, &words, &temporary)?;
    assert_eq!(hops_that_held(&second)?, HOPS);
    assert!(String::from_utf8_lossy(&second.stdout).contains("enrolled in a former run"));
    let elsewhere = check(Ports::free()?, &words, &temporary)?;
    let refusal = String::from_utf8_lossy(&elsewhere.stdout);
    let flag = format!("--https-port {}", ports.https);
    assert!(
        !elsewhere.status.success() && refusal.contains(&flag),
        "{refusal}"
    );
    let mut third = Demo::with(ports, &words)?;
    third.prints("mostrada na primeira execução / shown at the first run")?;
    third.is_well()?;
    assert!(third.end(Signal::SIGTERM)?.success());
    assert!(
        data.join("store").exists(),
        "a folder that was asked for is gone"
    );
    Ok(())
}

#[test]
fn a_node_that_can_not_run_breaks_its_hop_and_says_why() -> Result<()> {
    let (temporary, data) = (folder()?, folder()?);
    let words = [
        "--data",
        data.path().to_str().context("a strange folder")?,
        "--json",
    ];
    let ports = Ports::free()?;
    assert!(check(ports, &words, &temporary)?.status.success());
    fs::remove_dir_all(data.path().join("node"))?;
    let second = check(ports, &words, &temporary)?;
    let report: Value = serde_json::from_slice(&second.stdout)?;
    let broken = report["hops"]
        .as_array()
        .and_then(|hops| hops.last())
        .context("no hops")?;
    let detail = broken["detail"].as_str().unwrap_or_default();
    assert!(
        !second.status.success() && broken["hop"] == "handshake",
        "{report}"
    );
    assert!(
        detail.contains("the node ended") && detail.contains("malha-node: "),
        "{report}"
    );
    Ok(())
}

#[test]
fn ctrl_c_leaves_no_process_and_no_file() -> Result<()> {
    let mut demo = Demo::start()?;
    demo.is_well()?;
    let parts = [demo.part("demo-node")?, demo.part("demo-garage")?];
    assert!(
        fs::read_dir(demo.temporary())?.next().is_some(),
        "where is the data folder?"
    );
    assert!(demo.end(Signal::SIGINT)?.success());
    assert!(parts.iter().all(|part| !part.runs()), "{parts:?} still run");
    assert!(
        fs::read_dir(demo.temporary())?.next().is_none(),
        "temporary files are left"
    );
    Ok(())
}

#[test]
fn ctrl_c_at_the_start_leaves_no_process_and_no_file() -> Result<()> {
    let mut demo = Demo::start()?;
    let garage =
        malha_tests::lab::eventually("the garage starts", malha_tests::lab::PATIENCE, || {
            demo.part("demo-garage")
        })?;
    demo.end(Signal::SIGINT)?;
    assert!(!garage.runs(), "the garage still runs");
    assert!(
        fs::read_dir(demo.temporary())?.next().is_none(),
        "temporary files are left"
    );
    Ok(())
}

#[test]
fn a_demo_that_was_killed_leaves_no_process_that_holds_its_ports() -> Result<()> {
    let mut demo = Demo::start()?;
    demo.is_well()?;
    let parts = [demo.part("demo-node")?, demo.part("demo-garage")?];
    demo.end(Signal::SIGKILL)?;
    for part in parts {
        malha_tests::lab::eventually("it ends too", malha_tests::lab::PATIENCE, || {
            ensure!(!part.runs(), "{part:?} still runs");
            Ok(())
        })?;
    }
    assert_eq!(hops_that_held(&check(demo.ports, &[], &folder()?)?)?, HOPS);
    Ok(())
}

#[test]
fn a_dead_garage_and_a_dead_agent_are_shown_as_what_they_are() -> Result<()> {
    let mut demo = Demo::start()?;
    demo.is_well()?;
    demo.part("demo-garage")?.kill()?;
    let line = demo.shows("the service does not answer")?;
    assert!(
        line.contains("tunnel ✔") && line.contains("service ✘"),
        "{line}"
    );
    demo.part("demo-node")?.kill()?;
    let line = demo.shows("the node's agent stopped")?;
    assert!(line.contains("tunnel ✘"), "{line}");
    assert!(demo.end(Signal::SIGINT)?.success());
    Ok(())
}

#[test]
fn the_printed_lines_do_what_they_say() -> Result<()> {
    if !has("curl") || !has("dig") {
        return Ok(());
    }
    let mut demo = Demo::start()?;
    demo.is_well()?;
    let curl = demo.prints("curl --cacert")?;
    assert!(shell(&curl)?.contains("Garagem 01"));
    for (version, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let code = " --silent --output /dev/null --write-out '%{http_version} %{http_code}'";
        assert_eq!(
            shell(&format!("{curl} {version}{code}"))?,
            format!("{spoken} 200")
        );
    }
    let dig = demo.prints("dig @")?;
    let answer = shell(&dig)?;
    assert!(
        answer.contains("status: NOERROR") && answer.contains("127.0.0.1"),
        "{answer}"
    );
    assert!(
        answer.contains(" aa "),
        "the answer is not authoritative: {answer}"
    );
    if has("kdig") {
        let answer = shell(&format!("k{dig} +tcp +short"))?;
        assert_eq!(answer.trim(), "127.0.0.1");
    }
    let list = shell(&demo.prints("malha --api")?)?;
    assert!(list.contains("demo/garagem-01"), "{list}");
    Ok(())
}

#[test]
fn plain_http_leads_to_the_public_url_and_unknown_names_nowhere() -> Result<()> {
    if !has("curl") {
        return Ok(());
    }
    let mut demo = Demo::start()?;
    demo.is_well()?;
    let Ports { https, http, .. } = demo.ports;
    let silent = "curl --silent --show-error";
    let code = "--output /dev/null --write-out '%{http_code} %{redirect_url}'";
    let answer = shell(&format!("{silent} {code} 'http://{HOST}:{http}/a/b?c=d'"))?;
    assert_eq!(answer, format!("308 https://{HOST}:{https}/a/b?c=d"));

    let unknown =
        format!("{silent} --write-out '%{{http_code}}' http://garagem-99.localhost:{http}/");
    for (language, title) in [
        ("pt-BR", "Endereço não encontrado"),
        ("en", "Address not found"),
    ] {
        let words = format!("--header 'accept: text/html' --header 'accept-language: {language}'");
        let page = shell(&format!("{unknown} {words}"))?;
        assert!(page.ends_with("404") && page.contains(title), "{page}");
    }
    // A known name in the handshake, another one in the request.
    let trusted = demo.prints("curl --cacert")?;
    let words = "--silent --header 'host: garagem-99.localhost' --header 'accept: text/html'";
    let page = shell(&format!("{trusted} {words} --write-out '%{{http_code}}'"))?;
    assert!(
        page.ends_with("421") && !page.contains("Garagem 01"),
        "{page}"
    );
    Ok(())
}

const NOBODY: u32 = 65_534;
