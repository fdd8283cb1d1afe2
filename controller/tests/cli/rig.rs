//! A folder of its own per test, the API of a controller over it, and the program run against both.

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
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A folder of its own per test.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Runs `malha` here, without any variable of the outer world.
    pub(crate) fn malha(&self, words: &[&str]) -> Ended {
        self.malha_reading(words, "")
    }

    pub(crate) fn malha_reading(&self, words: &[&str], stdin: &str) -> Ended {
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

    pub(crate) fn init(&self) -> Ended {
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

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok().stdout).unwrap()
    }
}

/// The API of the controller in a [`Place`], without its other parts.
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) handle: Handle,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    writer_stop: CancellationToken,
    tasks: TaskTracker,
}

impl Api {
    pub(crate) async fn start(place: &Place) -> Self {
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
            [stop.clone(), stop.clone()],
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

    pub(crate) async fn finish(self) {
        self.stop.cancel();
        self.writer_stop.cancel();
        self.tasks.wait().await;
        drop(self.handle);
        self.store.close().await.unwrap();
    }
}

/// A place with a running API, and the CLI pointed at it.
pub(crate) struct Stage {
    pub(crate) place: Place,
    pub(crate) api: Api,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let place = Place::new();
        place.init().ok();
        let api = Api::start(&place).await;
        Self { place, api }
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        self.run_reading(line, "")
    }

    pub(crate) fn run_reading(&self, line: &str, stdin: &str) -> Ended {
        let mut words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        words.extend(["--api", &self.api.url]);
        self.place.malha_reading(&words, stdin)
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        self.run(&format!("{line} --json")).json()
    }

    /// A node enrols, with a host name that no terminal should see raw.
    pub(crate) async fn enrol(&self, token: &EnrolToken, name: &str, machine: u8) {
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

    pub(crate) fn revision(&self) -> u64 {
        self.api.handle.state().revision().0
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
