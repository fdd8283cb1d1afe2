//! Stories of the program as people and systemd start it: enrolment, refusals, signals, status, wrong input.

#![allow(clippy::unwrap_used, reason = "this crate is a test")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use malha_node::exit::Exit;
use malha_proto::{FarewellReason, RefusalCode, ToController, ToNode};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

// The other half of it is for the crate's own tests.
#[allow(dead_code, reason = "each test crate uses its part of the testbed")]
#[path = "../src/testbed.rs"]
mod testbed;

use testbed::{Lifetime, Network, TEST_LIMIT, TestAuthority, TestController, welcome};

const PROGRAM: &str = env!("CARGO_BIN_EXE_malha-node");

/// The program with nothing of this machine's settings.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(args)
        .env_clear()
        .env("LANG", "en_US.UTF-8")
        .env("RUST_BACKTRACE", "0");
    command
}

fn run(args: &[&str]) -> Output {
    program(args).output().unwrap()
}

fn assert_ends(output: &Output, exit: Exit, says: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit.code().into()), "{said}");
    assert!(said.contains(says), "{says:?} is not in: {said}");
}

struct Scene {
    authority: TestAuthority,
    controller: TestController,
    folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let authority = TestAuthority::new();
        let controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
        let folder = TempDir::new().unwrap();
        Self {
            authority,
            controller,
            folder,
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// `up` with the token in a file, so that it is in no process list.
    fn up(&self, more: &[&str]) -> Command {
        let file = self.folder.path().join("token");
        let token = self.authority.token(self.controller.port);
        std::fs::write(&file, token.expose()).unwrap();
        let mut command = program(&["up", "--engine", "netstack", "--token-file"]);
        command
            .arg(file)
            .arg("--state")
            .arg(self.state())
            .args(more);
        command
    }

    async fn answer(&mut self, answer: impl Fn(&TestAuthority, ToController) -> ToNode) {
        let mut session = self.controller.session().await;
        let question = session.hear().await;
        session.say(answer(&self.authority, question)).await;
        session.end().await;
    }

    async fn enrol(&mut self) {
        self.answer(|authority, question| match question {
            ToController::Enrol(request) => ToNode::Enrolled(Box::new(authority.reply(&request))),
            other => panic!("not an enrolment: {other:?}"),
        })
        .await;
    }

    fn status(&self, more: &[&str]) -> Output {
        let state = self.state();
        let mut args = vec!["status", "--state", path(&state)];
        args.extend(more);
        run(&args)
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn spawn(command: Command) -> Child {
    let mut command = tokio::process::Command::from(command);
    command
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.as_mut().unwrap());
    timeout(TEST_LIMIT, out.read_line(&mut line))
        .await
        .unwrap()
        .unwrap();
    line
}

async fn ended(child: &mut Child) -> Option<i32> {
    timeout(TEST_LIMIT, child.wait())
        .await
        .unwrap()
        .unwrap()
        .code()
}

fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_typed_token_leaves_the_process_list() {
    let mut scene = Scene::new().await;
    let token = scene.authority.token(scene.controller.port).expose();
    let state = scene.state();
    let mut command = program(&["up", "--engine", "netstack", "--state", path(&state)]);
    command.arg(token.as_str());
    let mut child = spawn(command);
    let mut session = scene.controller.session().await;
    assert!(matches!(session.hear().await, ToController::Enrol(_)));
    let seen = std::fs::read(format!("/proc/{}/cmdline", child.id().unwrap())).unwrap();
    let seen = String::from_utf8(seen).unwrap();
    assert!(
        seen.contains("--token-file\0-") && !seen.contains(token.as_str()),
        "{seen}"
    );
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_enrols_and_runs_and_a_signal_ends_it_in_order() {
    for name in ["TERM", "INT"] {
        let mut scene = Scene::new().await;
        assert_ends(&scene.status(&[]), Exit::NotRunning, "does not run here");
        let mut child = spawn(scene.up(&[]));
        scene.enrol().await;
        let line = first_line(&mut child).await;
        assert!(
            line.starts_with("Enrolled as servidor.garagem.org"),
            "{line}"
        );
        let mut session = scene.controller.session().await;
        assert!(matches!(session.hear().await, ToController::Hello(_)));
        session.say(welcome()).await;
        assert!(matches!(session.hear().await, ToController::Report(_)));
        let status = scene.status(&["--json"]);
        assert_eq!(status.status.code(), Some(Exit::Degraded.code().into()));
        let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["control"]["state"], "online");
        assert_eq!(json["tunnel"]["engine"], "netstack");
        signal(&child, name);
        let reason = FarewellReason::Stopped;
        let last = session.end().await.pop();
        assert_eq!(last, Some(ToController::Farewell { reason }));
        assert_eq!(ended(&mut child).await, Some(0));
        assert_ends(&scene.status(&[]), Exit::NotRunning, "does not run here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_token_runs_again_and_another_one_is_refused_without_replace() {
    let mut scene = Scene::new().await;
    let mut child = spawn(scene.up(&[]));
    scene.enrol().await;
    // Held, or the agent would dial again and that session be taken for the next agent's.
    let held = scene.controller.session().await;
    signal(&child, "TERM");
    ended(&mut child).await;
    drop(held);

    let mut child = spawn(scene.up(&[]));
    assert!(
        first_line(&mut child)
            .await
            .contains("the token is not needed")
    );
    let held = scene.controller.session().await;
    let second = scene.up(&[]).output().unwrap();
    assert_ends(&second, Exit::Locked, "another malha-node runs");
    signal(&child, "TERM");
    ended(&mut child).await;
    drop(held);

    let mut other = scene.authority.token(scene.controller.port);
    other.id = malha_proto::TokenId(8);
    let state = scene.state();
    let args = ["up", "--engine", "netstack", "--state", path(&state)];
    let refused = program(&args)
        .env("MALHA_TOKEN", other.expose())
        .output()
        .unwrap();
    assert_ends(&refused, Exit::AlreadyEnrolled, "--replace");
    let mut command = program(&args);
    command.arg("--replace").env("MALHA_TOKEN", other.expose());
    let mut child = spawn(command);
    scene.enrol().await;
    assert!(first_line(&mut child).await.starts_with("Enrolled"));
    scene.controller.session().await;
    signal(&child, "TERM");
    assert_eq!(ended(&mut child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_own_exit_code_and_sentence() {
    let mut scene = Scene::new().await;
    for (code, says) in [
        (RefusalCode::TokenUnknown, "does not know this token"),
        (RefusalCode::TokenExpired, "has expired"),
        (RefusalCode::TokenUsed, "has been used"),
        (RefusalCode::TokenRevoked, "revoked"),
        (RefusalCode::WrongController, "another controller"),
        (RefusalCode::NameTaken, "--name"),
        (RefusalCode::KeyTaken, "another node's"),
        (RefusalCode::Malformed, "did not understand"),
        (RefusalCode::NodeRemoved, "was removed"),
        (RefusalCode::Cloned, "same identity"),
        (RefusalCode::Replaced, "took this one's place"),
    ] {
        let mut command = scene.up(&[]);
        let child = std::thread::spawn(move || command.output().unwrap());
        scene
            .answer(|_, _| {
                let text = "the reason".to_owned();
                ToNode::Refused { code, text }
            })
            .await;
        let output = child.join().unwrap();
        assert_ends(&output, code.into(), says);
        assert_ends(&output, code.into(), "The controller says: the reason");
    }
}

/// The configuration says nothing, so by itself the doctor, who may more than the agent, would judge another engine.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_judges_a_stopped_agent_by_the_arguments_of_its_start() {
    let mut scene = Scene::new().await;
    let mut child = spawn(scene.up(&["--no-offload"]));
    scene.enrol().await;
    first_line(&mut child).await;
    scene.controller.session().await.hear().await;
    signal(&child, "TERM");
    assert_eq!(ended(&mut child).await, Some(0));
    let state = scene.state();
    drop(scene.controller);
    let engine = |more: &[&str]| {
        let output = run(&[&["doctor", "--json", "--state", path(&state)], more].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let looks = report["looks"].as_array().unwrap();
        let engine = looks.iter().find(|it| it["look"] == "engine").unwrap();
        [&engine["code"], &engine["observed"]].map(|it| it.as_str().unwrap().to_owned())
    };
    let [code, observed] = engine(&[]);
    assert_eq!(code, "engine-ran");
    assert!(observed.contains("netstack, without offload"), "{observed}");
    let [code, observed] = engine(&["--tunnel-shards", "2"]);
    assert_eq!(code, "engine-would-run");
    assert!(observed.contains("has changed"), "{observed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_repeated_with_the_same_keys() {
    let mut scene = Scene::new().await;
    let mut child = spawn(scene.up(&[]));
    let mut session = scene.controller.session().await;
    let ToController::Enrol(first) = session.hear().await else {
        panic!("not an enrolment");
    };
    signal(&child, "KILL");
    ended(&mut child).await;
    drop(session);
    let _child = spawn(scene.up(&[]));
    let mut session = scene.controller.session().await;
    let ToController::Enrol(second) = session.hear().await else {
        panic!("not an enrolment");
    };
    assert_eq!(first.wg_key, second.wg_key);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impostor_is_told_apart_from_silence() {
    let mut scene = Scene::new().await;
    scene.authority = TestAuthority::new();
    let mut command = scene.up(&[]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    assert_ends(
        &output.await.unwrap(),
        Exit::WrongController,
        "not the token's controller",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_the_agent_is_ready_and_when_it_stops() {
    let mut scene = Scene::new().await;
    let socket = scene.folder.path().join("notify");
    let supervisor = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let mut command = scene.up(&[]);
    command.env("NOTIFY_SOCKET", &socket);
    let mut child = spawn(command);
    scene.enrol().await;
    let told = async |what: &str| {
        let mut message = [0; 64];
        loop {
            let heard = timeout(TEST_LIMIT, supervisor.recv(&mut message)).await;
            if message[..heard.unwrap().unwrap()] == *what.as_bytes() {
                return;
            }
        }
    };
    told("READY=1").await;
    told("WATCHDOG=1").await;
    signal(&child, "TERM");
    told("STOPPING=1").await;
    assert_eq!(ended(&mut child).await, Some(0));
}

#[test]
fn a_wrong_command_line_ends_with_usage() {
    for args in [
        &["fly"][..],
        &["up", "--tokn", "x"],
        &["up", "--engine", "warp", "x"],
        &["status", "--log-format", "xml"],
        &["completions", "csh"],
        &[],
    ] {
        let output = run(args);
        assert_eq!(
            output.status.code(),
            Some(Exit::Usage.code().into()),
            "{args:?}"
        );
    }
}

#[test]
fn wrong_tokens_are_said_to_be_wrong_and_never_repeated() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("state");
    let long = format!("malha_{}", "A".repeat(60_000));
    for (token, says) in [
        ("garagem", "must start with \"malha_\""),
        ("malha_AAAA", "cut or mistyped"),
        ("malha_\u{1b}[31m", "cut or mistyped"),
        ("../../etc/passwd", "must start with"),
        (&long, "longer than"),
    ] {
        let output = run(&["up", token, "--state", path(&state)]);
        assert_ends(&output, Exit::TokenText, says);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(token));
        let mut command = program(&["up", "--token-file", "-", "--state", path(&state)]);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The program may have read enough before the end.
        let _ = child.stdin.take().unwrap().write_all(token.as_bytes());
        assert_ends(&child.wait_with_output().unwrap(), Exit::TokenText, says);
    }
    assert!(!state.exists(), "nothing is stored");
}

#[test]
fn missing_and_contradicting_input_is_named() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("state");
    let state = path(&state);
    let output = run(&["up", "--state", state]);
    assert_ends(&output, Exit::NotEnrolled, "malha-node up TOKEN");
    assert_ends(
        &run(&["run", "--state", state]),
        Exit::NotEnrolled,
        "not enrolled",
    );
    let output = run(&["up", "a", "--token-file", "b", "--state", state]);
    assert_ends(&output, Exit::Usage, "one way only");
    let output = run(&["up", "--token-file", "/nowhere/token", "--state", state]);
    assert_ends(&output, Exit::TokenText, "/nowhere/token");
    for name in ["Garagem", "a b", "-a", "", "раураl", &"a".repeat(64_000)] {
        let output = run(&["up", &format!("--name={name}"), "--state", state]);
        assert_ends(&output, Exit::Usage, "wished name");
    }
    let output = run(&["run", "--state", "/proc/no/such"]);
    assert_ends(&output, Exit::State, "/proc/no");
}

#[test]
fn configuration_errors_name_file_line_and_key() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("node.toml");
    for (text, says) in [
        ("engine = \"auto\"\nengin = 1\n", "line 2"),
        ("mtu-bytes = 1", "1280"),
        ("listen = [\"nowhere\"]", "line 1"),
        ("log = \"a=b=c\"", "error, warn, info"),
        ("=", "line 1"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = run(&["check-config", "--config", path(&file)]);
        assert_ends(&output, Exit::Config, says);
    }
    assert_ends(
        &run(&["check-config", "--config", "/nowhere"]),
        Exit::Config,
        "/nowhere",
    );
    std::fs::write(&file, "engine = \"netstack\"\nstate = \"/x\"\n").unwrap();
    let output = run(&[
        "check-config",
        "--json",
        "--config",
        path(&file),
        "--state",
        "/y",
    ]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["engine"], &json["state"]),
        (&"netstack".into(), &"/y".into())
    );
}

#[test]
fn the_environment_stands_for_flags() {
    let output = program(&["check-config", "--json"])
        .env("MALHA_NODE_STATE", "/z")
        .env("MALHA_NODE_ENGINE", "userspace")
        .env("MALHA_NODE_LOG", "debug")
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["state"], &json["log"]),
        (&"/z".into(), &"debug".into())
    );
    assert_eq!(json["engine"], "userspace");
}

#[test]
fn help_and_errors_speak_the_users_language() {
    let portuguese = program(&["--help"])
        .env("LANG", "pt_BR.UTF-8")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&portuguese.stdout).contains("Cadastra esta máquina"));
    let flag = run(&["run", "--state", "/proc/x", "--lang", "pt-BR"]);
    assert_ends(&flag, Exit::State, "Pasta de estado");
    let english = run(&["--help"]);
    assert!(String::from_utf8_lossy(&english.stdout).contains("Enrol this machine"));
}

#[test]
fn completions_and_manual_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("malha-node"));
    }
    let output = run(&["man"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(".ie"));
}
