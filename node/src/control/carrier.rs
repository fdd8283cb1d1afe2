//! Opening the byte stream that carries the tunnel's datagrams where only TCP passes: TLS to the controller's TCP port, then
//! an HTTP upgrade, so that it looks to a proxy like what it lets through. What it carries is not its business.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{CARRIER_PATH, CARRIER_PROTOCOL, CONTROLLER_TLS_NAME};
use malha_tunnel::{CarrierStream, prepare_carrier_socket};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{Credentials, LinkError, LinkFault, head, tcp, tls};

/// Dials `controller` (`host:port`), which must know this node's certificate.
pub async fn dial_carrier(
    controller: &str,
    credentials: &Credentials,
) -> Result<CarrierStream, LinkError> {
    let tls = tls::ClientTls::new(credentials, HTTP_ALPN)?;
    let opened = timeout(OPEN_LIMIT, open(controller, &tls)).await;
    let opened = opened.unwrap_or_else(|_| {
        let detail = format!("{controller}/tcp: the carrier is not open in time");
        Err(LinkError::new(LinkFault::Silent, detail))
    });
    // What the verifier saw says more than the alert that came of it.
    opened.map_err(|error| tls.verdict().unwrap_or(error))
}

/// Whether the controller answers who asks for a carrier without a certificate, as it should: with a refusal.
pub(super) async fn answers(controller: &str, tls: &tls::ClientTls) -> Result<(), LinkError> {
    match ask(controller, tls).await? {
        (_, head) if head.status == FORBIDDEN => Ok(()),
        (_, head) => Err(refused(controller, head.status)),
    }
}

async fn open(controller: &str, tls: &tls::ClientTls) -> Result<CarrierStream, LinkError> {
    let (stream, answer) = ask(controller, tls).await?;
    match (answer.status, answer.upgrade.as_deref()) {
        (101, Some(CARRIER_PROTOCOL)) => {
            if let Err(error) = prepare_carrier_socket(stream.get_ref().0) {
                tracing::debug!(%error, "the carrier's connection keeps its settings");
            }
            Ok(Box::new(stream))
        }
        (status, _) => Err(refused(controller, status)),
    }
}

async fn ask(
    controller: &str,
    tls: &tls::ClientTls,
) -> Result<(TlsStream<TcpStream>, head::Head), LinkError> {
    let connected = tcp::connect(controller, Arc::new(tls.config()), HTTP_ALPN).await?;
    let mut stream = connected.stream;
    let question = format!(
        "GET {CARRIER_PATH} HTTP/1.1\r\nHost: {CONTROLLER_TLS_NAME}\r\nConnection: Upgrade\r\nUpgrade: {CARRIER_PROTOCOL}\r\n\r\n"
    );
    let asked = async {
        stream.write_all(question.as_bytes()).await?;
        stream.flush().await?;
        head::read(&mut stream).await
    };
    match asked.await {
        Ok(answer) => Ok((stream, answer)),
        Err(why) => Err(fault(controller, LinkFault::Closed, why)),
    }
}

fn refused(controller: &str, status: u16) -> LinkError {
    let why = match status {
        NOT_IMPLEMENTED => "the hub takes none, since its engine is the kernel's".to_owned(),
        _ => format!("the controller answers {status}"),
    };
    fault(controller, LinkFault::Refused, why)
}

fn fault(controller: &str, fault: LinkFault, why: impl Display) -> LinkError {
    LinkError::new(fault, format!("{controller}/tcp: the carrier: {why}"))
}

pub(super) const HTTP_ALPN: &[u8] = b"http/1.1";
/// No certificate, no carrier.
const FORBIDDEN: u16 = 403;
/// UDP is the hub's only way.
const NOT_IMPLEMENTED: u16 = 501;
const OPEN_LIMIT: Duration = Duration::from_secs(10);
