//! Both engines against wireguard-go and a kernel's TCP. Needs root, iproute2, wireguard-go and wireguard-tools.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod nodes;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;

use malha_tunnel::{Engine, PresharedKey};
use nodes::namespace::{Daemon, Namespace, missing};
use nodes::*;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

const MIB: usize = 1024 * 1024;
const OURS: u8 = 1;
const THEIRS: u8 = 2;

fn underlay(number: u8) -> SocketAddr {
    ([192, 168, 77, number], 51820).into()
}

/// A running wireguard-go and its control socket, both gone when dropped.
struct WireguardGo {
    _daemon: Daemon,
    socket: PathBuf,
}

impl Drop for WireguardGo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Starts wireguard-go in the namespace and configures it.
fn wireguard_go(namespace: &Namespace, interface: &str, shared: &PresharedKey) -> WireguardGo {
    let mut command = namespace.command("wireguard-go");
    command
        .args(["-f", interface])
        .env("LOG_LEVEL", "verbose")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut daemon = Daemon(command.spawn().unwrap());
    let spoken = daemon.0.stdout.take().unwrap();
    // wg removes a socket on which nobody listens yet, so it must not be asked before.
    let (told, listens) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(spoken).lines().map_while(Result::ok) {
            if line.contains("UAPI listener started") {
                // Only the first is waited for. The rest is read so that it can go on talking.
                let _ = told.send(());
            }
        }
    });
    let running = WireguardGo {
        _daemon: daemon,
        socket: PathBuf::from(format!("/var/run/wireguard/{interface}.sock")),
    };
    listens
        .recv_timeout(LIMIT)
        .expect("wireguard-go never listened, or has ended");
    let configuration = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = 51820\n\
         [Peer]\nPublicKey = {}\nPresharedKey = {}\nAllowedIPs = 100.64.0.{OURS}/32, fd00::{OURS}/128\n",
        *key(THEIRS).to_base64(),
        key(OURS).public_key(),
        *shared.to_base64(),
    );
    configure(namespace, interface, &configuration);
    namespace.ip(&[
        "address",
        "add",
        &format!("100.64.0.{THEIRS}/10"),
        "dev",
        interface,
    ]);
    namespace.ip(&[
        "address",
        "add",
        &format!("fd00::{THEIRS}/48"),
        "dev",
        interface,
    ]);
    namespace.ip(&["link", "set", interface, "mtu", "1280", "up"]);
    running
}

fn configure(namespace: &Namespace, interface: &str, configuration: &str) {
    let mut command = namespace.command("wg");
    command
        .args(["setconf", interface, "/dev/stdin"])
        .stdin(Stdio::piped());
    let mut wg = command.spawn().unwrap();
    wg.stdin
        .take()
        .unwrap()
        .write_all(configuration.as_bytes())
        .unwrap();
    assert!(wg.wait().unwrap().success());
}

/// We dial it, it dials us, in both families, with a preshared key.
fn meets_wireguard_go(engine: Engine) {
    let tools = [
        ("ip", "iproute2"),
        ("wireguard-go", "wireguard-go"),
        ("wg", "wireguard-tools"),
    ];
    if let Some(reason) = missing(&tools) {
        println!("{reason}");
        return;
    }
    let (left, right) = Namespace::joined_pair();
    // Control sockets are shared by all namespaces, so the name must be unique on the machine.
    let interface = format!(
        "m{}{}",
        if engine == Engine::Netstack { "n" } else { "u" },
        std::process::id()
    );
    let shared = PresharedKey::generate();
    let _daemon = wireguard_go(&right, &interface, &shared);
    let (answered, question) = std::sync::mpsc::channel();
    let (listening, ready) = tokio::sync::oneshot::channel();
    let theirs = right.run(async move || {
        let listener = tokio::net::TcpListener::bind("[::]:80").await.unwrap();
        listening.send(()).unwrap();
        for _ in 0..2 {
            let (mut stream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        }
        for address in [overlay(OURS, 81), overlay6(OURS, 81)] {
            let stream = timeout(LIMIT, tokio::net::TcpStream::connect(address))
                .await
                .unwrap()
                .unwrap();
            assert_kernel_echoes(stream, body(MIB, 13)).await;
        }
        answered.send(()).unwrap();
    });
    let ours = left.run(async move || {
        ready.await.unwrap();
        let mut config = config(OURS);
        config.listen = vec![underlay(OURS)];
        config.interface = interface;
        let node = Node::start(engine, config, OURS);
        echo(node.listen(81).await);
        let mut peer = peer(THEIRS, vec![underlay(THEIRS)]);
        peer.preshared_key = Some(shared);
        node.tunnel.set_peer(peer).await.unwrap();
        for address in [overlay(THEIRS, 80), overlay6(THEIRS, 80)] {
            let stream = node
                .tunnel
                .dial(address, Instant::now() + LIMIT)
                .await
                .unwrap();
            assert_echoes(stream, body(MIB, 17)).await;
        }
        let finished = tokio::task::spawn_blocking(move || question.recv_timeout(LIMIT));
        finished.await.unwrap().unwrap();
        let status = node.tunnel.peers().await.remove(0);
        assert!(status.rx_bytes > 4 * MIB as u64 && status.tx_bytes > 4 * MIB as u64);
        node.tunnel.shutdown().await;
    });
    ours.join().unwrap();
    theirs.join().unwrap();
}

async fn assert_kernel_echoes(mut stream: tokio::net::TcpStream, sent: Vec<u8>) {
    let (mut read, mut write) = stream.split();
    let mut came = Vec::new();
    let writing = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut came);
    let both = async { tokio::join!(writing, reading) };
    timeout(LIMIT, both).await.unwrap().1.unwrap();
    assert_eq!(hash(&came), hash(&sent));
}

#[test]
fn netstack_meets_wireguard_go() {
    meets_wireguard_go(Engine::Netstack);
}

#[test]
fn userspace_meets_wireguard_go() {
    meets_wireguard_go(Engine::Userspace);
}
