//! One balancer under test: its process, what it did in each round, and what that cost.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::open_and_close;
use crate::namespace::Namespace;
use crate::{BACKLOG, THREADS};

/// A program that ends with its owner.
pub(crate) struct Process(Child);

/// What was done in a second, and the processor seconds that it cost.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) per_s: f64,
    /// The balancer.
    pub(crate) cpu_s: f64,
    /// The balancer and the tunnel beside it.
    pub(crate) node_cpu_s: f64,
}

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<(Measured, Measured)>,
    address: SocketAddr,
    balancer: Arc<Process>,
    /// The process with the tunnel; it may be the balancer's, too.
    tunnel: Option<Arc<Process>>,
    /// Where the clients are.
    clients: Option<Arc<Namespace>>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> io::Result<Arc<Self>> {
        command.stdin(Stdio::null());
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            io::Error::new(error.kind(), format!("starting {program}: {error}"))
        });
        child.map(|it| Arc::new(Self(it)))
    }

    /// This program again, told to be something else.
    pub(crate) fn this(words: &[&str]) -> io::Result<Arc<Self>> {
        Self::start(Command::new(std::env::current_exe()?).args(words))
    }

    /// What its threads have used so far, apart from those of a tunnel.
    fn cpu_s(&self) -> io::Result<f64> {
        self.cpu_of(|thread| !thread.starts_with(TUNNEL_THREAD))
    }

    fn tunnel_cpu_s(&self) -> io::Result<f64> {
        self.cpu_of(|thread| thread.starts_with(TUNNEL_THREAD))
    }

    /// proc(5), fields 2, 14 and 15 of stat, over the threads so named.
    fn cpu_of(&self, is_counted: impl Fn(&str) -> bool) -> io::Result<f64> {
        let mut ticks = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
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
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Contender {
    /// Waits until it takes connections.
    pub(crate) fn ready(
        name: &'static str,
        address: SocketAddr,
        balancer: Arc<Process>,
        tunnel: Option<Arc<Process>>,
        clients: Option<Arc<Namespace>>,
    ) -> io::Result<Self> {
        let contender = Self {
            name,
            rounds: Vec::new(),
            address,
            balancer,
            tunnel,
            clients,
        };
        let until = Instant::now() + READY_LIMIT;
        loop {
            match contender.measure(1, Duration::ZERO, open_and_close) {
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                Err(error) => {
                    let why = format!("{name} takes no connection: {error}");
                    return Err(io::Error::new(error.kind(), why));
                }
                Ok(_) => return Ok(contender),
            }
        }
    }

    /// Lets so many threads work for a while, each telling how much it did.
    pub(crate) fn measure(
        &self,
        threads: usize,
        span: Duration,
        work: fn(SocketAddr, Instant) -> io::Result<u64>,
    ) -> io::Result<Measured> {
        let (cpu, tunnel_cpu) = (self.balancer.cpu_s()?, self.tunnel_cpu_s()?);
        let (began, address) = (Instant::now(), self.address);
        let until = began + span;
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let clients = self.clients.clone();
                thread::spawn(move || {
                    clients.map_or(Ok(()), |it| it.enter())?;
                    work(address, until)
                })
            })
            .collect();
        let mut done = 0;
        for worker in workers {
            let ended = worker.join();
            done += ended.map_err(|_| io::Error::other("a client panicked"))??;
        }
        let took_s = began.elapsed().as_secs_f64();
        let used_s = self.balancer.cpu_s()? - cpu;
        let node_used_s = used_s + self.tunnel_cpu_s()? - tunnel_cpu;
        let count = done.max(1) as f64;
        Ok(Measured {
            per_s: done as f64 / took_s,
            cpu_s: used_s / count,
            node_cpu_s: node_used_s / count,
        })
    }

    fn tunnel_cpu_s(&self) -> io::Result<f64> {
        let tunnel = self.tunnel.as_ref();
        tunnel.map_or(Ok(0.0), |it| it.tunnel_cpu_s())
    }
}

/// HAProxy at `address`, bound as `bind` says beyond that.
pub(crate) fn haproxy(
    namespace: Option<&Namespace>,
    address: SocketAddr,
    (bind, option): (&str, &str),
    [a, b]: [SocketAddr; 2],
) -> io::Result<Arc<Process>> {
    let config = format!(
        "global\n    maxconn 5000\n    nbthread {THREADS}\ndefaults\n    mode tcp\n{option}    \
         timeout connect 1s\n    timeout client 300s\n    timeout server 300s\n\
         listen x\n    bind {address} backlog {BACKLOG} {bind}\n    balance leastconn\n    \
         server a {a} check inter 2s\n    server b {b} check inter 2s\n"
    );
    let path = std::env::temp_dir().join(format!(
        "bench-{}-{}.cfg",
        std::process::id(),
        address.port()
    ));
    fs::write(&path, config)?;
    let mut command = match namespace {
        None => Command::new("haproxy"),
        Some(namespace) => namespace.command("haproxy"),
    };
    command.args(["-q", "-db", "-f"]).arg(&path);
    Process::start(command.stderr(Stdio::null()))
}

/// As the tunnel names its threads.
const TUNNEL_THREAD: &str = "malha-tunnel";
const READY_LIMIT: Duration = Duration::from_secs(10);
/// `sysconf(_SC_CLK_TCK)` on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;
