//! Programs on the machines of a test, and a small HTTP server whose answers the test writes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use crate::net::{Host, Net};

/// Longer than any part takes to start; only a defect waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(host: &Host, program: &str, arguments: &[&str], folder: &Path) -> Child {
    Command::from(host.command(program))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Starts OpenSSL as a server, which says when it listens.
pub(crate) async fn start_openssl(net: &Net, host: &Host, arguments: &[&str], folder: &Path) {
    let mut child = start(host, "openssl", arguments, folder);
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = async {
        loop {
            let line = tokio::select! {
                Ok(Some(line)) = out.next_line() => line,
                Ok(Some(line)) = err.next_line() => line,
                else => panic!("openssl {arguments:?} ended"),
            };
            if line.contains("ACCEPT") {
                return;
            }
        }
    };
    timeout(PATIENCE, listens).await.unwrap();
    // Somebody has to read on, or the program would block.
    tokio::spawn(async move { while let Ok(Some(_)) = out.next_line().await {} });
    tokio::spawn(async move { while let Ok(Some(_)) = err.next_line().await {} });
    net.keep(child);
}

/// Starts a program that says nothing when it listens: asked until it accepts a connection.
pub(crate) async fn start_listening(
    net: &Net,
    (host, port): (&Host, u16),
    program: &str,
    arguments: &[&str],
    folder: &Path,
) {
    let mut child = start(host, program, arguments, folder);
    let mut ticks = interval(Duration::from_millis(20));
    let accepts = async {
        while TcpStream::connect(host.at(port)).await.is_err() {
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
    net.keep(child);
}

/// An answer: status, content type, body.
pub(crate) type Page = (u16, String, Vec<u8>);

/// Answers each request to a port by its path and body, until the test ends.
pub(crate) fn serve_pages(
    host: &Host,
    port: u16,
    answer: impl Fn(&str, &[u8]) -> Page + Send + Sync + 'static,
) -> SocketAddr {
    let listener = host.listen(port);
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move { respond(stream, &*answer).await });
        }
    });
    host.at(port)
}

/// The same page for everybody.
pub(crate) fn serve_page(host: &Host, port: u16, status: u16) -> SocketAddr {
    serve_pages(host, port, move |_, _| {
        (status, "text/plain".to_owned(), Vec::new())
    })
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
