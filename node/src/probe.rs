//! One look at a service's local target: does it answer what its kind promises? It never sends anything but a plain request.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use malha_proto::{ServiceKind, ServiceState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A target that needs longer is in time-out, milliseconds: short enough to be seen within 5 s.
pub const PROBE_LIMIT: Duration = Duration::from_millis(2_000);

/// How long a target may take to close a connection that it accepted for show.
const CLOSE_LIMIT: Duration = Duration::from_millis(100);

pub async fn probe(target: SocketAddr, kind: ServiceKind) -> ServiceState {
    let looked = timeout(PROBE_LIMIT, async {
        let stream = match TcpStream::connect(target).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return ServiceState::Refused;
            }
            Err(_) => return ServiceState::Timeout,
        };
        let works = match kind {
            ServiceKind::Http => answers_http(stream, target).await.unwrap_or(false),
            ServiceKind::Tcp => stays_open(stream).await,
        };
        match works {
            true => ServiceState::Up,
            false => ServiceState::Broken,
        }
    });
    looked.await.unwrap_or(ServiceState::Timeout)
}

/// Any status below 500 is an answer: the page may want a login or be elsewhere.
async fn answers_http(mut stream: TcpStream, target: SocketAddr) -> io::Result<bool> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {target}\r\nUser-Agent: malha-node\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = [0; STATUS_LINE_BYTES];
    stream.read_exact(&mut line).await?;
    Ok(status_of(&line).is_some_and(|status| (100..500).contains(&status)))
}

async fn stays_open(stream: TcpStream) -> bool {
    match timeout(CLOSE_LIMIT, stream.peek(&mut [0])).await {
        Ok(Ok(bytes)) => bytes > 0,
        Ok(Err(_)) => false,
        Err(_) => true,
    }
}

/// The number in `HTTP/1.x NNN` (RFC 9112 §4).
fn status_of(line: &[u8; STATUS_LINE_BYTES]) -> Option<u16> {
    let text = std::str::from_utf8(line).ok()?;
    let (_minor, status) = text.strip_prefix("HTTP/1.")?.split_once(' ')?;
    status.parse().ok()
}

/// `HTTP/1.1 200`.
const STATUS_LINE_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A target that reads a little, says `answer` and closes.
    async fn target(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1_024]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn any_answer_below_500_is_up() {
        for answer in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 401 No\r\n\r\n",
            "HTTP/1.1 302 \r\n",
        ] {
            let target = target(answer).await;
            assert_eq!(probe(target, ServiceKind::Http).await, ServiceState::Up);
        }
    }

    #[tokio::test]
    async fn server_errors_closed_connections_and_other_protocols_are_broken() {
        for answer in [
            "HTTP/1.1 503 Off\r\n\r\n",
            "",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 xyz\r\n",
        ] {
            let target = target(answer).await;
            assert_eq!(probe(target, ServiceKind::Http).await, ServiceState::Broken);
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        for kind in [ServiceKind::Http, ServiceKind::Tcp] {
            assert_eq!(probe(address, kind).await, ServiceState::Refused);
        }
    }

    #[tokio::test]
    async fn a_tcp_service_that_waits_for_its_client_is_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(probe(address, ServiceKind::Tcp).await, ServiceState::Up);
    }

    #[tokio::test]
    async fn a_tcp_service_that_hangs_up_is_broken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        assert_eq!(probe(address, ServiceKind::Tcp).await, ServiceState::Broken);
    }

    #[tokio::test(start_paused = true)]
    async fn an_http_service_that_says_nothing_is_in_time_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(
            probe(address, ServiceKind::Http).await,
            ServiceState::Timeout
        );
    }
}
