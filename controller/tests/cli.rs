//! The `malha` program as its users run it: real processes against a real API on loopback, over a data folder that
//! `malha init` made.

#![allow(
    clippy::unwrap_used,
    reason = "a story ends where one of its steps fails"
)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use malha::api::{self, ApiContext, HubStatus};
use malha::checks::{Checks, ChecksContext, History};
use malha::config::Config;
use malha::coordinator::{Coordinator, Handle};
use malha::folder::{self, Folder};
use malha::live::Live;
use malha::pairs::Pairs;
use malha::session::Registry;
use malha_proto::EnrolToken;
use malha_store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A folder of its own per test.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Runs `malha` here, without any variable of the outer world.
    fn malha(&self, words: &[&str]) -> Ended {
        self.malha_reading(words, "")
    }

    fn malha_reading(&self, words: &[&str], stdin: &str) -> Ended {
        let mut child = Command::new(env!("CARGO_BIN_EXE_malha"))
            .args(words)
            .current_dir(self.dir.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(stdin.as_bytes())
            .unwrap();
        Ended::of(child.wait_with_output().unwrap())
    }

    fn init(&self) -> Ended {
        let data = self.data();
        let data = data.to_str().unwrap();
        self.malha(&[
            "init",
            "--data",
            data,
            "--host",
            "hub.example.com",
            "--address",
            "192.0.2.1",
            "--json",
        ])
    }
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.ok().stdout).unwrap()
    }
}

/// The API of the controller in a [`Place`], without its other parts.
struct Api {
    url: String,
    handle: Handle,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    writer_stop: CancellationToken,
    tasks: TaskTracker,
}

impl Api {
    async fn start(place: &Place) -> Self {
        let config = Config::read(&place.path("malha.toml")).unwrap();
        let Folder {
            store,
            state,
            audit,
            overlay,
            master,
            epochs,
            pair_epochs,
            ..
        } = folder::open(&config.data, &config.master_key_file())
            .await
            .unwrap();
        let (coordinator, handle) = Coordinator::new(state, store.clone(), audit);
        let (stop, writer_stop, tasks) = (
            CancellationToken::new(),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        tasks.spawn(coordinator.run(writer_stop.clone()));
        let registry = Arc::new(Registry::default());
        let (at, hub) = (pair_epochs, malha_proto::NodeId(1));
        let pairs = Pairs::new(epochs, at, master, hub, handle.clone(), registry.clone());
        let (live, authority) = (Arc::new(Live::new()), overlay.fingerprint());
        let history = History::open(&folder::checks_dir(&config.data)).unwrap();
        let checks = Arc::new(Checks::new(ChecksContext {
            handle: handle.clone(),
            registry: registry.clone(),
            live: live.clone(),
            hub: None,
            authority: Arc::new(overlay),
            history: Arc::new(history),
            public_https_port: 443,
            every: None,
        }));
        tasks.spawn({
            let (checks, stop) = (checks.clone(), stop.clone());
            async move { checks.run(stop).await }
        });
        let context = ApiContext {
            handle: handle.clone(),
            live,
            registry,
            checks,
            pairs: Arc::new(pairs),
            store: store.clone(),
            audit_dir: folder::audit_dir(&config.data),
            authority,
            hub: HubStatus::default(),
            started_ms: malha::clock::now_ms(),
            hub_ports: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let controllers = vec!["hub.example.com:443".to_owned()];
        let addresses = vec!["192.0.2.1".parse().unwrap()];
        for settings in [
            malha_core::Command::SetControllers { controllers },
            malha_core::Command::SetEdgeAddresses { addresses },
        ] {
            let actor = malha::coordinator::Actor::controller();
            handle.submit(settings, actor, None).await.unwrap();
        }
        tasks.spawn(api::serve(
            listener,
            api::router(context),
            false,
            stop.clone(),
        ));
        tasks.close();
        Self {
            url,
            handle,
            store,
            stop,
            writer_stop,
            tasks,
        }
    }

    async fn finish(self) {
        self.stop.cancel();
        self.writer_stop.cancel();
        self.tasks.wait().await;
        drop(self.handle);
        self.store.close().await.unwrap();
    }
}

/// A place with a running API, and the CLI pointed at it.
struct Stage {
    place: Place,
    api: Api,
}

impl Stage {
    async fn new() -> Self {
        let place = Place::new();
        place.init().ok();
        let api = Api::start(&place).await;
        Self { place, api }
    }

    fn run(&self, line: &str) -> Ended {
        self.run_reading(line, "")
    }

    fn run_reading(&self, line: &str, stdin: &str) -> Ended {
        let mut words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        words.extend(["--api", &self.api.url]);
        self.place.malha_reading(&words, stdin)
    }

    fn json(&self, line: &str) -> Value {
        self.run(&format!("{line} --json")).json()
    }

    /// A node enrols, with a host name that no terminal should see raw.
    async fn enrol(&self, token: &EnrolToken, name: &str, machine: u8) {
        let enrol = malha_core::Command::Enrol {
            token: token.id,
            secret: token.secret.clone(),
            wg_key: malha_proto::WgKey([machine; 32]),
            tls_key: malha_proto::Fingerprint([machine; 32]),
            name: Some(name.parse().unwrap()),
            facts: malha_proto::MachineFacts {
                host_name: format!("ss\u{1b}[2J-{machine}"),
                machine: malha_proto::MachineId([machine; 16]),
                agent_version: "1".to_owned(),
                os: "Debian".to_owned(),
                engine: None,
            },
        };
        let actor = malha::coordinator::Actor::controller();
        self.api.handle.submit(enrol, actor, None).await.unwrap();
    }

    fn revision(&self) -> u64 {
        self.api.handle.state().revision().0
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_a_private_folder_shows_one_password_and_overwrites_nothing() {
    let place = Place::new();
    let made = place.init().json();
    let password = made["password"].as_str().unwrap();
    assert!(password.len() >= 20, "{password}");
    assert_eq!(mode(&place.data()), 0o700);
    for file in ["admin.key", "master.key", "hub.key"] {
        assert_eq!(mode(&place.data().join(file)), 0o600, "{file}");
    }
    let config = std::fs::read_to_string(place.path("malha.toml")).unwrap();
    assert!(!config.contains(password) && config.contains("hub.example.com"));
    let again = place.init();
    assert_eq!(again.code, 5, "{}", again.stderr);
    let as_it_is = place.malha(&["init"]);
    assert_eq!(as_it_is.code, 5, "{}", as_it_is.stderr);
    assert_eq!(
        std::fs::read_to_string(place.path("malha.toml")).unwrap(),
        config
    );
    place.malha(&["serve", "--check"]).ok();
    place.malha(&["store", "check"]).ok();
    let audit = place.malha(&["audit", "verify", "--json"]).json();
    assert_eq!(
        (&audit["lines"], &audit["compared_with_store"]),
        (&json!(2), &json!(true))
    );
}

#[test]
fn a_failed_init_leaves_no_configuration_in_the_way() {
    let place = Place::new();
    std::fs::write(place.path("file"), "").unwrap();
    let words = [
        "init",
        "--data",
        "file",
        "--host",
        "hub.example.com",
        "--address",
        "192.0.2.1",
    ];
    assert_ne!(place.malha(&words).code, 0);
    assert!(!place.path("malha.toml").exists());
    assert_eq!(place.malha(&["init"]).code, 2);
}

#[test]
fn without_a_controller_every_local_command_says_what_is_missing() {
    let place = Place::new();
    for (words, code) in [
        (&["serve"][..], 4),
        (&["serve", "--config", "none.toml"], 4),
        (&["store", "check", "--data", "none"], 4),
        (&["audit", "verify", "--data", "none"], 4),
        (&["backup", "verify", "none"], 4),
        (&["backup", "out", "--data", "none"], 4),
        (&["restore", "none", "--data", "here"], 4),
        (&["status"], 7),
        (&["status", "--key-file", "none"], 7),
    ] {
        let ended = place.malha(words);
        assert_eq!(ended.code, code, "{words:?}: {}", ended.stderr);
        assert!(
            ended.stdout.is_empty() && !ended.stderr.is_empty(),
            "{words:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_road_from_organization_to_route() {
    let stage = Stage::new().await;
    assert_eq!(
        stage.json("org add sefaz --display-name Fazenda")["name"],
        "sefaz"
    );
    assert_eq!(
        stage.json("site add sefaz/producao")["path"],
        "sefaz/producao"
    );
    let made = stage
        .run("token add sefaz/producao --profile security-server --uses 2")
        .ok();
    let token: EnrolToken = made.stdout.trim().parse().unwrap();
    assert_eq!(token.controllers, ["hub.example.com:443"]);
    stage.enrol(&token, "ss-1", 1).await;

    let service =
        stage.json("service add ss-1 web --port 80 --target 127.0.0.1:8080 --exposure public");
    assert_eq!(service["path"], "sefaz/producao/ss-1/web");
    stage.json("zone add example.com");
    let route = stage.json("route add a.example.com/painel --service ss-1/web --wait");
    assert_eq!(
        (&route["path"], &route["applied"]["of"]),
        (&json!("/painel"), &json!(0))
    );
    let grant = stage.json("grant add --from profile:central --to node:ss-1 --ports 5500-5577");
    assert_eq!(
        (&grant["from_port"], &grant["to_port"]),
        (&json!(5_500), &json!(5_577))
    );
    stage.json("record put example.com www A 192.0.2.1 192.0.2.2 --ttl 60");
    assert_eq!(
        stage.json("record show example.com www A")["data"],
        json!(["192.0.2.1", "192.0.2.2"])
    );
    assert_eq!(
        stage.json("node rename ss-1 ss-2")["path"],
        "sefaz/producao/ss-2"
    );
    assert_eq!(
        stage.json("node endpoints ss-2 192.0.2.7:51820")["endpoints"],
        json!(["192.0.2.7:51820"])
    );
    let replacement = stage.run("node replace ss-2").ok();
    assert!(replacement.stdout.trim().parse::<EnrolToken>().is_ok());

    let lists = [
        "org", "site", "token", "node", "service", "route", "grant", "zone", "operator", "key",
    ];
    for noun in lists {
        let listed = stage.json(&format!("{noun} list"));
        let first = &listed["items"][0];
        let id = first["id"].as_str().or(first["origin"].as_str()).unwrap();
        let shown = stage.json(&format!("{noun} show {id}"));
        assert_eq!(shown["id"], first["id"], "{noun}");
        for lang in ["pt-BR", "en"] {
            let table = stage.run(&format!("{noun} list --lang {lang}")).ok();
            assert!(
                table.stdout.lines().count() >= 2,
                "{noun}: {}",
                table.stdout
            );
            stage.run(&format!("{noun} show {id} --lang {lang}")).ok();
        }
    }
    assert!(
        stage
            .run("node show ss-2 --lang pt-BR")
            .ok()
            .stdout
            .contains("sem sinal ainda")
    );
    assert_eq!(
        stage.json("record list example.com")["items"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    assert_eq!(stage.json("status")["nodes"]["all"], 1);
    assert!(
        stage
            .run("audit tail -n 3")
            .ok()
            .stdout
            .contains("node.replace")
    );

    for line in [
        "route remove a.example.com/painel",
        "service remove ss-2/web",
        "node remove ss-2",
        "zone remove example.com",
    ] {
        assert!(stage.json(line)["removed"].is_string(), "{line}");
    }
    assert_eq!(
        stage.json(&format!("token revoke {}", token.id))["state"],
        "revoked"
    );
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_names_the_rule_and_ends_with_the_verdict() {
    let stage = Stage::new().await;
    stage.json("org add sefaz");
    stage.json("site add sefaz/producao");
    for (machine, name) in [(1, "ss-1"), (2, "ss-2")] {
        let made = stage.run("token add sefaz/producao --profile security-server");
        let token = made.ok().stdout.trim().parse().unwrap();
        stage.enrol(&token, name, machine).await;
    }
    let line = "trace --from ss-1 --to ss-2 --port 5500";
    let denied = stage.run(line);
    assert_eq!(denied.code, 9, "{}", denied.stderr);
    assert!(
        denied.stdout.contains("no grant joins them"),
        "{}",
        denied.stdout
    );
    assert!(denied.stderr.is_empty(), "{}", denied.stderr);
    let grant = stage.json("grant add --from node:ss-1 --to node:ss-2 --ports 5500-5577");
    let allowed = stage.run(line).ok().stdout;
    let rule = format!(
        "{}: node:sefaz/producao/ss-1 → node:sefaz/producao/ss-2, tcp 5500-5577",
        grant["id"].as_str().unwrap()
    );
    assert!(allowed.contains(&rule), "{allowed}");
    assert_eq!(stage.json(line)["rules"][0]["grant"]["id"], grant["id"]);
    let back = stage.run("trace --from ss-2 --to ss-1 --port 5500 --json");
    assert_eq!(back.code, 9, "{}", back.stderr);
    let back: Value = serde_json::from_str(&back.stdout).unwrap();
    assert_eq!(
        (&back["reason"], &back["reverse"]),
        (&json!("no-rule"), &json!(true))
    );
    assert_eq!(stage.run("trace --from ss-1 --to nobody --port 1").code, 4);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_keys_are_printed_once_and_never_taken_as_arguments() {
    let stage = Stage::new().await;
    let made = stage.run("operator add ana --role operator").ok();
    assert!(made.stdout.trim().len() >= 20);
    stage
        .run_reading(
            "operator add bia --role auditor --password-stdin",
            "correct horse battery\n",
        )
        .ok();
    assert_eq!(
        stage
            .run_reading("operator password bia --password-stdin", "short\n")
            .code,
        3
    );
    assert_eq!(
        stage
            .run_reading("operator password bia --password-stdin", "")
            .code,
        3
    );
    let reset = stage.json("operator password bia");
    assert!(reset["password"].as_str().unwrap().len() >= 20);

    let key = stage.run("key add script --scope read --ttl 1h").ok();
    std::fs::write(stage.place.path("script.key"), key.stdout).unwrap();
    stage.run("org list --key-file script.key").ok();
    let refused = stage.run("org add a --key-file script.key");
    assert_eq!(refused.code, 7);
    assert!(
        refused.stderr.contains("malha key add"),
        "{}",
        refused.stderr
    );
    stage.json("key remove script");
    assert_eq!(stage.run("org list --key-file script.key").code, 7);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_ends_with_its_code_a_clear_word_and_nothing_stored() {
    let stage = Stage::new().await;
    stage.json("org add sefaz");
    let before = stage.revision();
    let long = "a".repeat(65_536);
    let hostile = [
        "..",
        "../../etc/passwd",
        "a\u{1b}[2J",
        "a\u{202e}b",
        "раураl",
        "A",
        "-a-",
        "a\nb",
        &long,
    ];
    let templates = [
        "org add %",
        "site add sefaz/%",
        "site add %/a",
        "token add % --profile garage",
        "service add % web --port 80 --target 127.0.0.1:1",
        "service add n1 % --port 80 --target 127.0.0.1:1",
        "route add % --service a/b/c/web",
        "grant add --from % --to profile:edge --ports 1",
        "zone add %",
        "record put % www A 192.0.2.1",
        "operator add % --role auditor",
        "key add % --scope read",
        "node show %",
        "node remove %",
        "node rename % a",
        "node replace %",
        "token revoke %",
        "zone remove %",
    ];
    for template in templates {
        // In DNS a capital is the same letter.
        for text in hostile
            .into_iter()
            .filter(|text| !(*text == "A" && template.starts_with("zone")))
        {
            let mut words: Vec<String> = template
                .split(' ')
                .map(|word| word.replace('%', text))
                .collect();
            // What starts with a hyphen is taken for a flag, which is an error too.
            words.extend(["--api".to_owned(), stage.api.url.clone()]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = stage.place.malha(&words);
            let shown: String = text.chars().take(20).collect();
            assert!(
                (2..=5).contains(&ended.code),
                "{template} {shown:?}: {} {}",
                ended.code,
                ended.stderr
            );
            assert!(
                ended.stdout.is_empty(),
                "{template} {shown:?}: {}",
                ended.stdout
            );
            let raw = ended
                .stderr
                .chars()
                .any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
            assert!(
                !raw || ended.code == 2,
                "{template} {shown:?}: {:?}",
                ended.stderr
            );
            assert!(
                ended.code == 2 || ended.stderr.len() < 2_000,
                "{template} {shown:?}"
            );
            assert_eq!(stage.revision(), before, "{template} {shown:?}");
        }
    }
    for (line, code) in [
        ("org add sefaz", 5),
        ("org show none", 4),
        ("org remove o999", 4),
        ("site add sefaz", 2),
        ("token add sefaz/none --profile garage", 4),
        ("token add none --profile garage --ttl 1s", 4),
        (
            "grant add --from profile:edge --to profile:edge --ports 9-1",
            3,
        ),
        ("grant add --from profile:edge --to profile:edge", 2),
        ("zone add .", 3),
        ("key add x --scope king", 3),
    ] {
        let ended = stage.run(line);
        assert_eq!(ended.code, code, "{line}: {}", ended.stderr);
        assert_eq!(stage.revision(), before, "{line}");
    }
    let problem: Value = serde_json::from_str(&stage.run("org show none --json").stderr).unwrap();
    assert_eq!(problem["status"], 404);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_and_a_wrong_key_are_told_apart() {
    let stage = Stage::new().await;
    std::fs::write(
        stage.place.path("wrong.key"),
        format!("malha_key_{}", "A".repeat(43)),
    )
    .unwrap();
    assert_eq!(stage.run("status --key-file wrong.key").code, 7);
    let url = stage.api.url.clone();
    let Stage { place, api } = stage;
    api.finish().await;
    let ended = place.malha(&["status", "--api", &url, "--lang", "pt-BR"]);
    assert_eq!(ended.code, 6);
    assert!(ended.stderr.contains("malha serve"), "{}", ended.stderr);
    assert_eq!(
        place
            .malha(&["status", "--api", "http://192.0.2.1:8480"])
            .code,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_out_is_verified_and_comes_back_elsewhere() {
    let stage = Stage::new().await;
    stage.json("org add sefaz");
    let taken = stage.json("backup out.backup");
    assert_eq!(mode(&stage.place.path("out.backup")), 0o600);
    assert_eq!(stage.run("backup out.backup").code, 5);
    assert_eq!(
        stage.json("backup verify out.backup")["sha256"],
        taken["sha256"]
    );
    assert_eq!(
        stage.run("backup offline.backup --data data").code,
        5,
        "the folder is in use"
    );
    assert!(
        !stage.place.path("offline.backup").exists()
            && !stage.place.path("offline.backup.partial").exists()
    );

    let Stage { place, api } = stage;
    api.finish().await;
    place
        .malha(&["backup", "offline.backup", "--data", "data"])
        .ok();
    let bytes = std::fs::read(place.path("out.backup")).unwrap();
    std::fs::write(place.path("half.backup"), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(place.malha(&["backup", "verify", "half.backup"]).code, 8);
    assert_eq!(
        place
            .malha(&["restore", "half.backup", "--data", "other"])
            .code,
        8
    );
    assert_eq!(
        place
            .malha(&["restore", "out.backup", "--data", "data"])
            .code,
        5
    );
    place
        .malha(&["restore", "out.backup", "--data", "other"])
        .ok();
    place.malha(&["store", "check", "--data", "other"]).ok();
    let restored = folder::open(&place.path("other"), &place.data().join("master.key"))
        .await
        .unwrap();
    assert!(restored.state.organization_by_name("sefaz").is_some());
}

const DECLARATION: &str =
    "version = 1\n[production]\nsite = \"production\"\naddresses = [\"203.0.113.10\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_controller_goes_on_with_the_chain_of_its_evidence() {
    let stage = Stage::new().await;
    stage.json("org add sedec");
    stage.json("site add sedec/production");
    std::fs::write(stage.place.path("declaration.toml"), DECLARATION).unwrap();
    stage.run("check declare sedec declaration.toml").ok();
    for _ in 0..2 {
        assert_eq!(stage.run("check sedec").code, 11, "something is untested");
    }
    let taken = stage.json("backup out.backup");
    assert_eq!(taken["files"], 5, "two runs, and their index");

    let Stage { place, api } = stage;
    api.finish().await;
    let (data, kept) = (place.data(), place.path("kept"));
    std::fs::rename(&data, &kept).unwrap();
    place
        .malha(&["restore", "out.backup", "--data", "data"])
        .ok();
    for secret in ["master.key", "admin.key"] {
        std::fs::copy(kept.join(secret), data.join(secret)).unwrap();
    }
    let checks = data.join("checks");
    assert_eq!(mode(&checks), 0o700);
    let stage = Stage {
        api: Api::start(&place).await,
        place,
    };
    assert_eq!(stage.run("check sedec").code, 11);
    let history = stage.json("check history sedec");
    let runs = history["runs"].as_array().unwrap();
    let sequences: Vec<_> = runs.iter().map(|run| run["sequence"].as_u64()).collect();
    assert_eq!(sequences, [Some(3), Some(2), Some(1)]);

    let mut folders = std::fs::read_dir(&checks).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    let verify = || {
        let (folder, authority) = (folder.to_str().unwrap(), "data/overlay-ca.pem");
        let words = ["check", "verify", folder, "--authority", authority];
        stage.place.malha(&[&words[..], &["--json"]].concat())
    };
    let whole = verify().json();
    let words = [
        "check",
        "verify",
        "data/checks",
        "--authority",
        "data/overlay-ca.pem",
        "--lang",
        "pt",
    ];
    let all = stage.place.malha(&words).ok();
    assert!(
        all.stderr.contains("sedec: rodadas 1 a 3, nada removido"),
        "{}",
        all.stderr
    );
    let empty = stage.place.malha(&[
        "check",
        "verify",
        "kept/store",
        "--authority",
        "data/overlay-ca.pem",
    ]);
    assert_eq!(empty.code, 4, "{}", empty.stderr);
    let chain = &whole["chains"][0];
    assert_eq!((&chain["first"], &chain["last"]), (&1.into(), &3.into()));
    assert_eq!(chain["faults"], serde_json::json!([]), "{whole}");
    let second = folder.join(format!("{}.evidence", runs[1]["run"]));
    std::fs::rename(&second, stage.place.path("second.evidence")).unwrap();
    let broken = verify();
    assert_eq!(broken.code, 8);
    assert!(
        broken.stdout.contains("run 2 is missing"),
        "{}",
        broken.stdout
    );
    let text = std::fs::read_to_string(stage.place.path("second.evidence")).unwrap();
    std::fs::write(&second, text.replacen("203.0.113.10", "203.0.113.11", 1)).unwrap();
    let changed = verify();
    assert_eq!(changed.code, 8);
    assert!(changed.stdout.contains("was changed"), "{}", changed.stdout);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_beside_a_history_of_checks_leaves_it_as_it_is() {
    let stage = Stage::new().await;
    stage.json("org add sedec");
    std::fs::write(stage.place.path("declaration.toml"), DECLARATION).unwrap();
    stage.json("site add sedec/production");
    stage.run("check declare sedec declaration.toml").ok();
    assert_eq!(stage.run("check sedec").code, 11);
    stage.json("backup out.backup");
    let Stage { place, api } = stage;
    api.finish().await;
    let checks = place.path("other").join("checks");
    std::fs::create_dir_all(&checks).unwrap();
    let words = ["restore", "out.backup", "--data", "other", "--json"];
    let restored = place.malha(&words).json();
    assert_eq!(restored["checks_kept"], true);
    assert_eq!(std::fs::read_dir(&checks).unwrap().count(), 0);
}

#[test]
fn completions_manuals_and_documents_come_out() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            place
                .malha(&["completions", shell])
                .ok()
                .stdout
                .contains("malha")
        );
    }
    place.malha(&["man", "man"]).ok();
    assert!(place.path("man/malha-node-replace.1").exists());
    let help = place.malha(&["--help"]).ok().stdout;
    assert!(help.contains("Exit codes:") && !help.contains("demo-node"));
}
