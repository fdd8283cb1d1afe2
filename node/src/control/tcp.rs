//! One TLS connection over TCP, for networks that drop UDP.

use std::net::SocketAddr;
use std::sync::Arc;

use malha_proto::{ALPN, CONTROLLER_TLS_NAME};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{LinkError, LinkFault, Wire, unreachable};

pub(super) async fn connect(to: SocketAddr, config: Arc<ClientConfig>) -> Result<Wire, LinkError> {
    let plain = TcpStream::connect(to)
        .await
        .map_err(|error| unreachable(format!("{to}/tcp: {error}")))?;
    // Without it a report may wait for the acknowledgement of the one before; it works all the same.
    let _ = plain.set_nodelay(true);
    let tls_failed = |why: String| LinkError::new(LinkFault::Tls, format!("{to}/tcp: {why}"));
    let name =
        ServerName::try_from(CONTROLLER_TLS_NAME).map_err(|error| tls_failed(error.to_string()))?;
    let stream = TlsConnector::from(config)
        .connect(name, plain)
        .await
        .map_err(|error| tls_failed(error.to_string()))?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(tls_failed("it does not speak this protocol".into()));
    }
    let (reader, writer) = tokio::io::split(stream);
    Ok(Wire::tcp(reader, writer))
}
