//! One QUIC connection with one stream. Its socket is its own, so that a new attempt is not bound to an old network.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{CONTROLLER_TLS_NAME, HEARTBEAT_INTERVAL_MS};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, TransportConfig, VarInt};

use super::{LinkError, LinkFault, Wire, unreachable};

/// Longer than the session's own timeout, which is the one that counts.
const IDLE_LIMIT_MS: u32 = 10_000;
/// For who waits for an answer; in a session heartbeats say more.
const KEEP_ALIVE: Duration = Duration::from_millis(HEARTBEAT_INTERVAL_MS);

pub(super) fn client_config(tls: rustls::ClientConfig) -> Result<ClientConfig, LinkError> {
    let tls =
        QuicClientConfig::try_from(tls).map_err(|error| LinkError::new(LinkFault::Tls, error))?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_LIMIT_MS).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(0_u32.into())
        .max_concurrent_uni_streams(0_u32.into())
        .datagram_receive_buffer_size(None);
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

pub(super) async fn connect(to: SocketAddr, config: ClientConfig) -> Result<Wire, LinkError> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(any).map_err(unreachable)?;
    let connection = endpoint
        .connect_with(config, to, CONTROLLER_TLS_NAME)
        .map_err(unreachable)?
        .await
        .map_err(|error| fault_of(to, &error))?;
    let (writer, reader) = connection
        .open_bi()
        .await
        .map_err(|error| fault_of(to, &error))?;
    Ok(Wire::quic(endpoint, connection, writer, reader))
}

pub(super) fn fault_of(to: SocketAddr, error: &ConnectionError) -> LinkError {
    let fault = match error {
        ConnectionError::TimedOut | ConnectionError::Reset => LinkFault::Unreachable,
        ConnectionError::TransportError(_) | ConnectionError::ConnectionClosed(_) => LinkFault::Tls,
        ConnectionError::VersionMismatch => LinkFault::Protocol,
        _ => LinkFault::Closed,
    };
    LinkError::new(fault, format!("{to}/udp: {error}"))
}

/// How long an ended connection may take to deliver its last words.
pub(super) const LAST_WORDS_LIMIT: Duration = Duration::from_millis(500);
