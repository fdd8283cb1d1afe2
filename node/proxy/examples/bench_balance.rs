//! `tests/bench/balance`: this balancer and HAProxy before the same two servers in one run, by turns. Compares nothing with
//! figures that somebody else published.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use malha_proxy::balance::{
    Backend, Balancer, Connector, KernelConnector, KernelListener, Link, MAX_CONNECTIONS, Mode,
    Spec, Way,
};
use socket2::{Domain, SockRef, Socket, Type};

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((word, addresses)) = words.split_first() {
        let connector: Arc<dyn Connector> = match word.as_str() {
            "serve" => Arc::new(KernelConnector),
            "serve-bound" => Arc::new(Bound),
            _ => return Err(io::Error::other("it takes no arguments")),
        };
        let addresses = addresses.iter().filter_map(|it| it.parse().ok());
        return serve(&addresses.collect::<Vec<_>>(), connector);
    }
    let servers = [server()?, server()?];
    let mut contenders = vec![
        Contender::malha("malha", "serve", servers)?,
        Contender::malha("malha, bound", "serve-bound", servers)?,
        Contender::haproxy("haproxy", "", servers)?,
        Contender::haproxy("haproxy splice", "    option splice-auto\n", servers)?,
    ];
    for round in 0..ROUNDS {
        // Each begins a round in its turn: what the one before leaves behind falls on nobody alone.
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let contender = &mut contenders[at];
            let bytes = contender.measure(STREAMS, download)?;
            let opened = contender.measure(OPENERS, open_and_close)?;
            contender.rounds.push((bytes, opened));
        }
    }
    print(&contenders);
    Ok(())
}

/// What was done in a second, and the processor seconds that it cost the balancer.
#[derive(Clone, Copy)]
struct Measured {
    per_s: f64,
    cpu_s: f64,
}

struct Contender {
    name: &'static str,
    address: SocketAddr,
    child: Child,
    rounds: Vec<(Measured, Measured)>,
}

impl Contender {
    fn malha(name: &'static str, word: &str, servers: [SocketAddr; 2]) -> io::Result<Self> {
        let address = free()?;
        let words = [address, servers[0], servers[1]].map(|it| it.to_string());
        let child = Command::new(std::env::current_exe()?)
            .arg(word)
            .args(words)
            .spawn()?;
        Self::ready(name, address, child)
    }

    fn haproxy(name: &'static str, option: &str, servers: [SocketAddr; 2]) -> io::Result<Self> {
        let address = free()?;
        let [a, b] = servers;
        let config = format!(
            "global\n    maxconn 5000\n    nbthread {THREADS}\ndefaults\n    mode tcp\n{option}    \
             timeout connect 1s\n    timeout client 300s\n    timeout server 300s\n\
             listen x\n    bind {address} backlog {BACKLOG}\n    balance leastconn\n    \
             server a {a} check inter 2s\n    server b {b} check inter 2s\n"
        );
        let path = std::env::temp_dir().join(format!("bench-{}.cfg", address.port()));
        std::fs::write(&path, config)?;
        let child = Command::new("haproxy")
            .args(["-q", "-db", "-f"])
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), "haproxy must be installed"))?;
        let ready = Self::ready(name, address, child);
        let _ = std::fs::remove_file(&path);
        ready
    }

    /// Waits until it takes connections.
    fn ready(name: &'static str, address: SocketAddr, child: Child) -> io::Result<Self> {
        let contender = Self {
            name,
            address,
            child,
            rounds: Vec::new(),
        };
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match open_and_close(address, Instant::now()) {
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
    fn measure(
        &self,
        threads: usize,
        work: fn(SocketAddr, Instant) -> io::Result<u64>,
    ) -> io::Result<Measured> {
        let cpu_before = self.cpu_s()?;
        let (began, address) = (Instant::now(), self.address);
        let until = began + SPAN;
        let workers: Vec<_> = (0..threads)
            .map(|_| thread::spawn(move || work(address, until)))
            .collect();
        let mut done = 0;
        for worker in workers {
            let ended = worker.join();
            done += ended.map_err(|_| io::Error::other("a client panicked"))??;
        }
        Ok(Measured {
            per_s: done as f64 / began.elapsed().as_secs_f64(),
            cpu_s: (self.cpu_s()? - cpu_before) / done.max(1) as f64,
        })
    }

    /// proc(5), fields 14 and 15 of stat.
    fn cpu_s(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|it| it.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / TICKS_PER_S)
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reaches servers as an agent does through a tunnel's interface: from its own address, and by no other interface.
struct Bound;

#[async_trait]
impl Connector for Bound {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        KernelConnector.connect(address, limit).await
    }

    fn has_ways(&self) -> bool {
        true
    }

    async fn way(&self, _: SocketAddr) -> Option<Way> {
        Some(Way {
            sockets: Box::new(|| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
                socket.bind_device(Some(b"lo"))?;
                socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
                Ok(socket.into())
            }),
            cut: None,
        })
    }
}

/// The balancer on a runtime like the agent's, until it is killed.
fn serve(addresses: &[SocketAddr], connector: Arc<dyn Connector>) -> io::Result<()> {
    let Some((address, servers)) = addresses.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let backends = servers.iter().zip(1..).map(|(address, id)| Backend {
            id,
            address: *address,
            mode: Mode::Serve,
        });
        let mut spec = Spec::new(backends.collect());
        spec.limits.connections_per_source = MAX_CONNECTIONS;
        let listener = KernelListener::bind(*address)?;
        let _balancer =
            Balancer::start(spec, vec![Box::new(listener)], connector).map_err(io::Error::other)?;
        std::future::pending().await
    })
}

/// A server that sends without end to who asks with `d`, and one byte to anybody else. Its threads are there beforehand, so that
/// what is measured is not their making.
fn server() -> io::Result<SocketAddr> {
    let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    let address = listener.local_addr()?;
    for _ in 0..SERVER_THREADS {
        let listener = Arc::clone(&listener);
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                // Every connection ends with a reset.
                let _ = answer(tcp);
            }
        });
    }
    Ok(address)
}

fn answer(mut tcp: TcpStream) -> io::Result<()> {
    let mut asked = [0];
    tcp.read_exact(&mut asked)?;
    if asked != *b"d" {
        tcp.write_all(b"!")?;
        tcp.read_exact(&mut asked)?;
    }
    let block = vec![7; BLOCK_BYTES];
    loop {
        tcp.write_all(&block)?;
    }
}

fn download(address: SocketAddr, until: Instant) -> io::Result<u64> {
    let mut tcp = TcpStream::connect(address)?;
    tcp.write_all(b"d")?;
    let (mut block, mut total) = (vec![0; BLOCK_BYTES], 0);
    while Instant::now() < until {
        total += tcp.read(&mut block)? as u64;
    }
    Ok(total)
}

/// At least one. A reset at the end leaves no port waiting.
fn open_and_close(address: SocketAddr, until: Instant) -> io::Result<u64> {
    let mut opened = 0;
    loop {
        let mut tcp = TcpStream::connect(address)?;
        tcp.write_all(b"c")?;
        tcp.read_exact(&mut [0])?;
        SockRef::from(&tcp).set_linger(Some(Duration::ZERO))?;
        opened += 1;
        if Instant::now() >= until {
            return Ok(opened);
        }
    }
}

fn free() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn print(contenders: &[Contender]) {
    println!("balancer          MB/s  cpu s/GB   conn/s  cpu µs/conn   (medians of {ROUNDS})");
    let rows: Vec<_> = contenders.iter().map(|it| (it.name, row(it))).collect();
    for (name, [rate, cost, opened, opening]) in &rows {
        println!("{name:<15} {rate:>7.0} {cost:>9.3} {opened:>8.0} {opening:>12.1}");
    }
    let (malha, others) = rows.split_at(2);
    for (ours_name, ours) in malha {
        for (name, theirs) in others {
            let [rate, cost, opened, opening] = [0, 1, 2, 3].map(|at| ours[at] / theirs[at]);
            println!(
                "{ours_name} / {name}: throughput {rate:.2}, cpu per byte {cost:.2}, connections {opened:.2}, \
                 cpu per connection {opening:.2}"
            );
        }
    }
}

fn row(it: &Contender) -> [f64; 4] {
    let of = |value: fn(&(Measured, Measured)) -> f64| {
        let mut values: Vec<f64> = it.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    [
        of(|it| it.0.per_s / 1e6),
        of(|it| it.0.cpu_s * 1e9),
        of(|it| it.1.per_s),
        of(|it| it.1.cpu_s * 1e6),
    ]
}

const ROUNDS: usize = 7;
const SPAN: Duration = Duration::from_secs(2);
const STREAMS: usize = 4;
const OPENERS: usize = 8;
/// Of each balancer.
const THREADS: usize = 2;
/// As the balancer's own.
const BACKLOG: usize = 1024;
/// Of each server: more than connections can be open at once, checks included.
const SERVER_THREADS: usize = 24;
const BLOCK_BYTES: usize = 256 * 1024;
/// `sysconf(_SC_CLK_TCK)` on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;
