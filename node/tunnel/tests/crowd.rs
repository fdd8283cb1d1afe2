//! Two thousand connections of kernels to one node without privilege, whole processes with a cable between them: nobody waits for the
//! slow ones, and they hold no more memory than is promised. Needs root and iproute2.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod nodes;

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use malha_tunnel::{BoxStream, Engine};
use nodes::meeting::{start_node, underlay};
use nodes::namespace::{Daemon, Namespace, missing};
use nodes::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

#[test]
fn two_thousand_connections_live_beside_slow_readers_in_bounded_memory() {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let (left, right) = Namespace::joined_pair();
    let mut server = Role::play(&left, SERVER);
    server.says("ready");
    let idle_bytes = server.held_bytes();
    let mut client = Role::play(&right, CLIENT);
    client.says("the quick ones are served");
    server.ask("state");
    let state = server.says("state");
    let held_bytes = server.held_bytes() - idle_bytes;
    println!("{state}; {} MiB held", held_bytes >> 20);
    let [connections, reserved_bytes] = numbers(&state);
    assert_eq!(connections, CONNECTIONS);
    assert!(reserved_bytes <= RESERVED_MOST_BYTES, "{reserved_bytes}");
    assert!(held_bytes <= HELD_MOST_BYTES, "{held_bytes}");
    server.ask("read");
    client.ask("read");
    client.says("all are served");
    let held_bytes = server.held_bytes() - idle_bytes;
    println!("{} MiB held when all were served", held_bytes >> 20);
    assert!(held_bytes <= HELD_MOST_BYTES, "{held_bytes}");
}

/// Not a test: what the test above starts. It does nothing unless it is asked to.
#[test]
fn role_of_another_process() {
    let role = std::env::var(ROLE);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match role.as_deref() {
        Ok(SERVER) => runtime.block_on(serve()),
        Ok(CLIENT) => runtime.block_on(call()),
        _ => println!("nobody asked"),
    }
}

/// This program in another process and a namespace, and what is said between it and the test.
struct Role {
    process: Daemon,
    orders: ChildStdin,
    lines: Receiver<String>,
}

impl Role {
    fn play(namespace: &Namespace, role: &str) -> Self {
        let mut command: Command = namespace.command("sh");
        let program = std::env::current_exe().unwrap();
        // Each connection of a kernel is a file.
        let script =
            format!("ulimit -n {FILES}; exec \"$0\" --exact role_of_another_process --nocapture");
        command.args(["-c", &script]).arg(program).env(ROLE, role);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (orders, spoken) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            process: Daemon(child),
            orders,
            lines: lines(spoken),
        }
    }

    fn ask(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// Waits for a line that contains these words.
    fn says(&self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("never said: {words} ({error})"));
            if line.contains(words) {
                return line;
            }
            println!("{line}");
        }
    }

    /// Its memory that is no file's.
    fn held_bytes(&self) -> usize {
        let path = format!("/proc/{}/smaps_rollup", self.process.0.id());
        let all = std::fs::read_to_string(path).unwrap();
        let line = all.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<usize>().unwrap() * 1024
    }
}

fn lines(spoken: ChildStdout) -> Receiver<String> {
    let (told, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(spoken).lines().map_while(Result::ok) {
            // A test that has failed listens no more.
            let _ = told.send(line);
        }
    });
    lines
}

fn numbers(line: &str) -> [usize; 2] {
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    [numbers.next().unwrap(), numbers.next().unwrap()]
}

/// The node without privilege. Half of its callers are sent a body, the others send one.
async fn serve() {
    let node = start_node(Engine::Netstack, 1);
    node.tunnel.set_peer(peer(2, Vec::new())).await.unwrap();
    let mut listener = node.listen(80).await;
    let (go, read) = watch::channel(false);
    let mut orders = orders();
    println!("ready");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = accepted.unwrap().0;
                tokio::spawn(served(stream, read.clone()));
            }
            order = orders.recv() => match order.as_deref() {
                Some("state") => {
                    let stack = node.tunnel.stats().await.stack;
                    println!("state: {} connections, {} bytes reserved", stack.connections, stack.buffer_bytes);
                }
                Some("read") => _ = go.send(true),
                _ => return,
            },
        }
    }
}

/// One caller, who first says its number.
async fn served(mut stream: BoxStream, mut read: watch::Receiver<bool>) {
    let number = Number(stream.read_u32().await.unwrap());
    if number.is_sent_to() {
        number.send(&mut stream).await;
    } else {
        if number.is_slow() {
            read.wait_for(|go| *go).await.unwrap();
        }
        number.receive(&mut stream).await;
        stream.write_u8(SERVED).await.unwrap();
    }
    // Held until all are served, so that all are there at the same time.
    let _ = stream.read_u8().await;
}

/// The kernel's end: all connections at once, through the interface of a node.
async fn call() {
    let node = start_node(Engine::Userspace, 2);
    let hub = peer(1, vec![underlay(1)]);
    node.tunnel.set_peer(hub).await.unwrap();
    let (go, read) = watch::channel(false);
    let dialling = Arc::new(Semaphore::new(DIALS_AT_ONCE));
    let (mut quick, mut slow) = (JoinSet::new(), JoinSet::new());
    for number in (0..CONNECTIONS as u32).map(Number) {
        let group = match number.is_slow() {
            true => &mut slow,
            false => &mut quick,
        };
        group.spawn(called(number, dialling.clone(), read.clone()));
    }
    let mut held = Vec::new();
    while let Some(stream) = quick.join_next().await {
        held.push(stream.unwrap());
    }
    // The slow ones have all called, too, once there is room to dial for all.
    let _all = dialling.acquire_many(DIALS_AT_ONCE as u32).await.unwrap();
    println!("the quick ones are served");
    assert_eq!(orders().recv().await.as_deref(), Some("read"));
    go.send(true).unwrap();
    while let Some(stream) = slow.join_next().await {
        held.push(stream.unwrap());
    }
    assert_eq!(held.len(), CONNECTIONS);
    println!("all are served");
}

async fn called(
    number: Number,
    dialling: Arc<Semaphore>,
    mut read: watch::Receiver<bool>,
) -> TcpStream {
    let permit = dialling.acquire().await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    if number.is_slow() {
        // So that what it does not read waits at the other end.
        socket.set_recv_buffer_size(SMALL_BUFFER_BYTES).unwrap();
    }
    let connect = timeout(PATIENCE, socket.connect(overlay(1, 80)));
    let mut stream = connect.await.unwrap().unwrap();
    stream.write_u32(number.0).await.unwrap();
    drop(permit);
    if number.is_sent_to() {
        if number.is_slow() {
            read.wait_for(|go| *go).await.unwrap();
        }
        number.receive(&mut stream).await;
    } else {
        number.send(&mut stream).await;
        assert_eq!(stream.read_u8().await.unwrap(), SERVED);
    }
    stream
}

fn orders() -> tokio::sync::mpsc::Receiver<String> {
    let (told, orders) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if told.blocking_send(line).is_err() {
                return;
            }
        }
    });
    orders
}

/// A connection's, of which all the rest follows.
#[derive(Clone, Copy)]
struct Number(u32);

impl Number {
    fn is_slow(self) -> bool {
        self.0.is_multiple_of(4)
    }

    fn is_sent_to(self) -> bool {
        self.0 % 8 < 4
    }

    /// Piece by piece, so that what waits is not with us.
    fn body(self) -> impl Iterator<Item = Vec<u8>> {
        let count = if self.is_slow() { 100 } else { 10 };
        (0..count).map(move |piece| body(PIECE_BYTES, u64::from(self.0) << 8 | piece))
    }

    async fn send(self, stream: &mut (impl AsyncWrite + Unpin)) {
        for piece in self.body() {
            stream.write_all(&piece).await.unwrap();
        }
    }

    async fn receive(self, stream: &mut (impl AsyncRead + Unpin)) {
        let mut came = [0; PIECE_BYTES];
        for piece in self.body() {
            stream.read_exact(&mut came).await.unwrap();
            assert!(piece == came, "connection {}", self.0);
        }
    }
}

const ROLE: &str = "MALHA_CROWD_ROLE";
const SERVER: &str = "server";
const CLIENT: &str = "client";
const CONNECTIONS: usize = 2_000;
const FILES: usize = 4_096;
const DIALS_AT_ONCE: usize = 256;
const SMALL_BUFFER_BYTES: u32 = 8 * 1024;
const SERVED: u8 = 1;
const PIECE_BYTES: usize = 2_000;
/// What the stack may reserve: 128 MiB, and the least buffers of each connection.
const RESERVED_MOST_BYTES: usize = (128 << 20) + CONNECTIONS * 2 * (32 << 10);
/// What of it can be in use, since each connection sends or receives, but not both; and 24 MiB for all the rest.
const HELD_MOST_BYTES: usize = RESERVED_MOST_BYTES / 2 + (24 << 20);
const PATIENCE: Duration = Duration::from_secs(120);
