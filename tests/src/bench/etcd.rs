//! The peer: etcd, the durable store with watches on which other controllers are built. It makes one record durable where
//! we enrol, and tells watchers of a change where our nodes apply and acknowledge it. It uses no TLS here and signs nothing.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::figures::{Samples, resident_bytes};
use super::installation::free_port;

/// One etcd with its data in a folder.
pub(super) struct Etcd {
    process: Child,
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

/// Watchers that each say when they heard of a change.
pub(super) struct Watchers {
    count: usize,
    heard: mpsc::Receiver<()>,
    tasks: JoinSet<Result<()>>,
}

impl Etcd {
    /// None where etcd is not installed.
    pub(super) async fn start(folder: &Path) -> Result<Option<Self>> {
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let peers = format!("http://127.0.0.1:{}", free_port()?);
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.join("etcd"));
        command.args([
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
        ]);
        command.args([
            "--listen-peer-urls",
            &peers,
            "--initial-advertise-peer-urls",
            &peers,
        ]);
        command.args([
            "--initial-cluster",
            &format!("default={peers}"),
            "--log-level",
            "error",
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let process = match command.spawn() {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("starting etcd"),
        };
        let client = Client::builder(TokioExecutor::new()).build_http();
        let etcd = Self {
            process,
            client,
            base: url,
        };
        let ready = async {
            while etcd.put().await.is_err() {
                sleep(POLL).await;
            }
        };
        timeout(PATIENCE, ready)
            .await
            .context("etcd does not answer")?;
        Ok(Some(etcd))
    }

    /// Durable puts per second, this many of them under way at once.
    pub(super) async fn puts_per_s(&self, count: usize, at_once: usize) -> Result<f64> {
        let start = Instant::now();
        let each = count.div_ceil(at_once);
        try_join_all((0..at_once).map(async |_| {
            for _ in 0..each {
                self.put().await?;
            }
            anyhow::Ok(())
        }))
        .await?;
        Ok((each * at_once) as f64 / start.elapsed().as_secs_f64())
    }

    /// Its memory, in bytes.
    pub(super) fn resident_bytes(&self) -> Result<f64> {
        resident_bytes(self.process.id().context("etcd ended")?)
    }

    /// Opens this many watches on the key that is put.
    pub(super) async fn watchers(&self, count: usize) -> Result<Watchers> {
        let (tell, heard) = mpsc::channel(count.max(1));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let body = format!(r#"{{"create_request":{{"key":"{KEY}"}}}}"#);
            let mut watch = self.post("/v3/watch", body).await?.into_body();
            // The first line says that the watch is there.
            watch.frame().await.context("etcd ended a watch")??;
            tasks.spawn(follow(watch, tell.clone()));
        }
        Ok(Watchers {
            count,
            heard,
            tasks,
        })
    }

    /// How long until all watchers have heard of a put, `rounds` times.
    pub(super) async fn spread(&self, watchers: &mut Watchers, rounds: usize) -> Result<Samples> {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            self.put().await?;
            let everyone = async {
                for _ in 0..watchers.count {
                    watchers.heard.recv().await.context("a watcher ended")?;
                }
                anyhow::Ok(())
            };
            timeout(PATIENCE, everyone)
                .await
                .context("some watchers hear nothing")??;
            times.push(start.elapsed());
        }
        if let Some(ended) = watchers.tasks.try_join_next() {
            ended??;
        }
        Ok(times.into_iter().collect())
    }

    async fn put(&self) -> Result<()> {
        let body = format!(
            r#"{{"key":"{KEY}","value":"{}"}}"#,
            "QUFB".repeat(VALUE_BYTES / 3)
        );
        let response = self.post("/v3/kv/put", body).await?;
        let status = response.status();
        response.into_body().collect().await?;
        ensure!(status.is_success(), "etcd answered a put with {status}");
        Ok(())
    }

    async fn post(&self, path: &str, body: String) -> Result<Response<Incoming>> {
        let request = Request::post(format!("{}{path}", self.base)).body(Full::from(body))?;
        Ok(self.client.request(request).await?)
    }
}

async fn follow(mut watch: Incoming, tell: mpsc::Sender<()>) -> Result<()> {
    let mut line = Vec::new();
    while let Some(frame) = watch.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        line.extend_from_slice(&data);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let event: Vec<u8> = line.drain(..=end).collect();
            if event.windows(EVENTS.len()).any(|piece| piece == EVENTS) {
                tell.send(()).await?;
            }
        }
    }
    bail!("etcd ended a watch")
}

/// "bench", in base64.
const KEY: &str = "YmVuY2g=";
/// About what an enrolment writes: node, address, audit line.
const VALUE_BYTES: usize = 1_200;
const EVENTS: &[u8] = b"\"events\"";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
