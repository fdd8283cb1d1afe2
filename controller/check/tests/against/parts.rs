//! Programs that a test starts and that end with it, and a small HTTP server whose answers a test writes.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

/// Longer than any part takes to start; only a defect waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program.
pub(crate) struct Part {
    _child: Child,
    pub(crate) address: SocketAddr,
}

/// None, with a line that says so, where the program is not installed.
pub(crate) fn start(
    program: &str,
    package: &str,
    arguments: &[String],
    folder: &Path,
) -> Option<Child> {
    let child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    match child {
        Ok(child) => Some(child),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: {program} is not installed (package {package})");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// A program that says on its output when it listens.
pub(crate) async fn start_until(
    program: &str,
    arguments: &[String],
    folder: &Path,
    says: &str,
    address: SocketAddr,
) -> Option<Part> {
    let mut child = start(program, program, arguments, folder)?;
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = async {
        loop {
            let line = tokio::select! {
                Ok(Some(line)) = out.next_line() => line,
                Ok(Some(line)) = err.next_line() => line,
                else => panic!("{program} {arguments:?} ended"),
            };
            if line.contains(says) {
                return;
            }
        }
    };
    timeout(PATIENCE, listens).await.unwrap();
    // Somebody has to read on, or the program would block.
    tokio::spawn(async move { while let Ok(Some(_)) = out.next_line().await {} });
    tokio::spawn(async move { while let Ok(Some(_)) = err.next_line().await {} });
    Some(Part {
        _child: child,
        address,
    })
}

/// A program that says nothing when it listens: asked until it accepts a connection.
pub(crate) async fn start_listening(
    program: &str,
    package: &str,
    arguments: &[String],
    folder: &Path,
    address: SocketAddr,
) -> Option<Part> {
    let mut child = start(program, package, arguments, folder)?;
    let mut ticks = interval(Duration::from_millis(20));
    let accepts = async {
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                let mut text = String::new();
                let mut err = child.stderr.take().unwrap();
                err.read_to_string(&mut text).await.unwrap();
                panic!("{program} ended with {status}: {text}");
            }
            ticks.tick().await;
        }
    };
    timeout(PATIENCE, accepts).await.unwrap();
    Some(Part {
        _child: child,
        address,
    })
}

/// An address of loopback that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// An answer: status, content type, body.
pub(crate) type Page = (u16, String, Vec<u8>);

/// Answers each request by its path and body, until the test ends.
pub(crate) async fn serve_pages(
    answer: impl Fn(&str, &[u8]) -> Page + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move { respond(stream, &*answer).await });
        }
    });
    address
}

async fn respond(
    mut stream: TcpStream,
    answer: &(dyn Fn(&str, &[u8]) -> Page + Send + Sync),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(&mut stream);
    let mut first = String::new();
    reader.read_line(&mut first).await?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, content_type, body) = answer(path, &body);
    let head = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}
