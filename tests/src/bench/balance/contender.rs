//! One balancer under test: its process, what it did in each round, and what that cost.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::load::open_and_close;
use super::{BACKLOG, THREADS};
use crate::lab::{Namespace, PATIENCE, Process, eventually};

/// What was done in a second, and the processor seconds that it cost.
#[derive(Clone, Copy)]
pub(super) struct Measured {
    pub(super) per_s: f64,
    /// The balancer.
    pub(super) cpu_s: f64,
    /// The balancer and the tunnel beside it.
    pub(super) node_cpu_s: f64,
}

pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) rounds: Vec<(Measured, Measured)>,
    address: SocketAddr,
    balancer: Arc<Process>,
    stage: Option<Arc<Stage>>,
}

/// The tunnel behind which clients and servers are.
pub(super) struct Stage {
    /// The process with the tunnel; it may be the balancer's, too.
    pub(super) node: Arc<Process>,
    pub(super) _far: Process,
    pub(super) here: Namespace,
    /// Where the clients are.
    pub(super) there: Namespace,
}

impl Contender {
    /// Waits until it takes connections.
    pub(super) fn ready(
        name: &'static str,
        address: SocketAddr,
        balancer: Arc<Process>,
        stage: Option<Arc<Stage>>,
    ) -> Result<Self> {
        let contender = Self {
            name,
            rounds: Vec::new(),
            address,
            balancer,
            stage,
        };
        eventually(&format!("{name} takes connections"), PATIENCE, || {
            contender.measure(1, Duration::ZERO, open_and_close)
        })?;
        Ok(contender)
    }

    /// Lets so many threads work for a while, each telling how much it did.
    pub(super) fn measure(
        &self,
        threads: usize,
        span: Duration,
        work: fn(SocketAddr, Instant) -> io::Result<u64>,
    ) -> Result<Measured> {
        let (cpu_s, tunnel_cpu_s) = (self.cpu_s()?, self.tunnel_cpu_s()?);
        let began = Instant::now();
        let until = began + span;
        let client = || match &self.stage {
            None => Ok(work(self.address, until)?),
            Some(stage) => Ok(stage.there.within(|| work(self.address, until))??),
        };
        let done: Result<u64> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(client)).collect();
            let done = workers.into_iter().map(|it| it.join());
            done.map(|it| it.map_err(|_| anyhow!("a client panicked"))?)
                .sum()
        });
        let done = done?;
        let took_s = began.elapsed().as_secs_f64();
        let used_s = self.cpu_s()? - cpu_s;
        let node_used_s = used_s + self.tunnel_cpu_s()? - tunnel_cpu_s;
        let count = done.max(1) as f64;
        Ok(Measured {
            per_s: done as f64 / took_s,
            cpu_s: used_s / count,
            node_cpu_s: node_used_s / count,
        })
    }

    /// What the balancer's threads have used so far, apart from those of a tunnel.
    fn cpu_s(&self) -> Result<f64> {
        cpu_of(&self.balancer, |thread| !thread.starts_with(TUNNEL_THREAD))
    }

    fn tunnel_cpu_s(&self) -> Result<f64> {
        let of_tunnel = |thread: &str| thread.starts_with(TUNNEL_THREAD);
        let stage = self.stage.as_ref();
        stage.map_or(Ok(0.0), |it| cpu_of(&it.node, of_tunnel))
    }
}

/// proc(5), fields 2, 14 and 15 of stat, over the threads so named.
fn cpu_of(process: &Process, is_counted: impl Fn(&str) -> bool) -> Result<f64> {
    let mut ticks = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", process.id()))? {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        let (before, fields) = stat.rsplit_once(')').unwrap_or_default();
        let (_, name) = before.split_once('(').unwrap_or_default();
        if is_counted(name) {
            let used = fields.split_whitespace().skip(11).take(2);
            ticks += used.filter_map(|it| it.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(ticks as f64 / TICKS_PER_S)
}

/// Starts HAProxy at `address`, bound as `bind` says beyond that.
pub(super) fn haproxy(
    mut command: Command,
    folder: &Path,
    address: SocketAddr,
    (bind, option): (&str, &str),
    [a, b]: [SocketAddr; 2],
) -> Result<Process> {
    let config = format!(
        "global\n    maxconn 5000\n    nbthread {THREADS}\ndefaults\n    mode tcp\n{option}    \
         timeout connect 1s\n    timeout client 300s\n    timeout server 300s\n\
         listen x\n    bind {address} backlog {BACKLOG} {bind}\n    balance leastconn\n    \
         server a {a} check inter 2s\n    server b {b} check inter 2s\n"
    );
    let file = folder.join(format!("haproxy-{}.cfg", address.port()));
    fs::write(&file, config)?;
    command.args(["-q", "-db", "-f"]).arg(&file);
    Process::start("haproxy", &mut command, &file.with_extension("log"))
}

/// On a runtime like the agent's.
pub(super) fn like_an_agent(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

/// As the tunnel names its threads.
const TUNNEL_THREAD: &str = "malha-tunnel";
/// `sysconf(_SC_CLK_TCK)` on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;
