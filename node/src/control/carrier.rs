//! Opening the byte stream that carries the tunnel's datagrams where only TCP passes: TLS to the controller's TCP port, then
//! an HTTP upgrade, so that it looks to a proxy like what it lets through. What it carries is not its business.

use std::sync::Arc;
use std::time::Duration;

use malha_proto::{CARRIER_PATH, CARRIER_PROTOCOL, CONTROLLER_TLS_NAME};
use malha_tunnel::CarrierStream;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

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

async fn open(controller: &str, tls: &tls::ClientTls) -> Result<CarrierStream, LinkError> {
    let mut stream = tcp::connect(controller, Arc::new(tls.config()), HTTP_ALPN).await?;
    let fault = |fault, why: &dyn std::fmt::Display| {
        LinkError::new(fault, format!("{controller}/tcp: the carrier: {why}"))
    };
    let question = format!(
        "GET {CARRIER_PATH} HTTP/1.1\r\nHost: {CONTROLLER_TLS_NAME}\r\nConnection: Upgrade\r\nUpgrade: {CARRIER_PROTOCOL}\r\n\r\n"
    );
    let asked = async {
        stream.write_all(question.as_bytes()).await?;
        stream.flush().await?;
        head::read(&mut stream).await
    };
    let answer = asked.await.map_err(|why| fault(LinkFault::Closed, &why))?;
    match (answer.status, answer.upgrade.as_deref()) {
        (101, Some(CARRIER_PROTOCOL)) => Ok(Box::new(stream)),
        (status, _) => {
            let why = format!("the controller answers {status}");
            Err(fault(LinkFault::Refused, &why))
        }
    }
}

const HTTP_ALPN: &[u8] = b"http/1.1";
const OPEN_LIMIT: Duration = Duration::from_secs(10);
