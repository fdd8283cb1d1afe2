//! Opens the stream connection: the control channel's certificates, another application protocol, BBR, larger windows.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{ALPN_STREAM, CONTROLLER_TLS_NAME, MAX_STREAMS, SESSION_TIMEOUT_MS};
use quinn::congestion::BbrConfig;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig, VarInt};
use socket2::{Domain, Socket, Type};

use crate::agent::{LinkError, LinkFault};
use crate::control::{ClientTls, Credentials, reach, unreachable};

/// A connection to the controller on which the hub opens streams. The endpoint must live as long.
pub(super) async fn connect(
    controller: &str,
    credentials: &Credentials,
) -> Result<(Endpoint, Connection), LinkError> {
    let tls = ClientTls::new(credentials, ALPN_STREAM)?;
    let config = client_config(tls.config())?;
    let connected = reach(controller, |to| connect_to(to, config.clone())).await;
    connected.map_err(|error| tls.verdict().unwrap_or(error))
}

async fn connect_to(
    to: SocketAddr,
    config: ClientConfig,
) -> Result<(Endpoint, Connection), LinkError> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = endpoint(any).map_err(unreachable)?;
    let connecting = endpoint
        .connect_with(config, to, CONTROLLER_TLS_NAME)
        .map_err(unreachable)?;
    let connection = connecting.await.map_err(unreachable)?;
    Ok((endpoint, connection))
}

/// An endpoint of its own for each attempt, with a socket that holds what a fast path has under way.
fn endpoint(any: SocketAddr) -> io::Result<Endpoint> {
    let socket = Socket::new(Domain::for_address(any), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // Best effort: the kernel's own limit may be lower.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&any.into())?;
    let config = quinn::EndpointConfig::default();
    Endpoint::new(config, None, socket.into(), Arc::new(quinn::TokioRuntime))
}

fn client_config(tls: rustls::ClientConfig) -> Result<ClientConfig, LinkError> {
    let tls =
        QuicClientConfig::try_from(tls).map_err(|error| LinkError::new(LinkFault::Tls, error))?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = VarInt::from_u32(u32::try_from(SESSION_TIMEOUT_MS).unwrap_or(u32::MAX));
    transport
        .congestion_controller_factory(Arc::new(BbrConfig::default()))
        .max_idle_timeout(Some(idle.into()))
        .keep_alive_interval(Some(KEEPALIVE_INTERVAL))
        .max_concurrent_bidi_streams(MAX_STREAMS.into())
        .max_concurrent_uni_streams(0_u32.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES);
    transport
}

const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Keeps a NAT's mapping, and shows within a session's timeout that the path is dead.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(SESSION_TIMEOUT_MS / 3);
/// What one visitor may have uploaded that a local service has not taken yet.
pub(super) const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same over all streams.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// What local services may have sent without an acknowledgement, over all streams.
const SEND_WINDOW_BYTES: u64 = 8 * 1024 * 1024;
