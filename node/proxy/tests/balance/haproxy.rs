//! A backend that demands the PROXY protocol and is not ours: HAProxy, which answers with the address that it was told.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use malha_proxy::balance::{Condition, ProxyHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};

use crate::rig::{PATIENCE, Rig, backend, spec};

struct Haproxy {
    address: SocketAddr,
    program: Child,
    _folder: tempfile::TempDir,
}

impl Haproxy {
    /// None where it is not installed.
    async fn start() -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("haproxy.cfg");
        std::fs::write(&config, CONFIG.replace("ADDRESS", &address.to_string())).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-q", "-db", "-f"]).arg(&config);
        let program = match command.stderr(Stdio::null()).spawn() {
            Ok(program) => program,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("skipped: haproxy is not installed (package haproxy)");
                return None;
            }
            Err(error) => panic!("haproxy did not run: {error}"),
        };
        let listens = async {
            let mut looks = interval(std::time::Duration::from_millis(10));
            while TcpStream::connect(address).await.is_err() {
                looks.tick().await;
            }
        };
        timeout(PATIENCE, listens).await.unwrap();
        Some(Self {
            address,
            program,
            _folder: folder,
        })
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// What the backend takes the client for, and what the client is.
async fn asked(haproxy: &Haproxy, header: Option<ProxyHeader>) -> (String, SocketAddr) {
    let mut told = spec(&[]);
    told.backends = vec![backend(1, haproxy.address)];
    told.proxy_header = header;
    let rig = Rig::start(told).await;
    rig.until(|all| all[0].condition == Condition::Up).await;
    let mut client = rig.connect().await;
    let me = client.local_addr().unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut heard = String::new();
    // A backend that understands nothing ends the connection, in whatever way.
    let _ = timeout(PATIENCE, client.read_to_string(&mut heard))
        .await
        .unwrap();
    (heard, me)
}

#[tokio::test]
async fn haproxy_learns_who_the_client_is_from_both_versions() {
    let Some(haproxy) = Haproxy::start().await else {
        return;
    };
    for version in [ProxyHeader::V1, ProxyHeader::V2] {
        let (heard, me) = asked(&haproxy, Some(version)).await;
        assert!(heard.starts_with("HTTP/1.1 200"), "{version:?}: {heard}");
        assert!(
            heard.ends_with(&format!("\r\n\r\n{me}")),
            "{version:?}: {heard}"
        );
    }
}

#[tokio::test]
async fn haproxy_that_demands_the_header_serves_nobody_without_it() {
    let Some(haproxy) = Haproxy::start().await else {
        return;
    };
    let (heard, _) = asked(&haproxy, None).await;
    assert!(!heard.starts_with("HTTP/1.1 200"), "{heard}");
}

const CONFIG: &str = "\
defaults
    mode http
    timeout client 20s
    timeout http-request 20s
frontend told
    bind ADDRESS accept-proxy
    http-request return status 200 content-type text/plain lf-string %[src]:%[src_port]
";
