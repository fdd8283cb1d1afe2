//! Where nodes' connections come in: QUIC on UDP, on the hub's sockets where they can be shared, told apart by application protocol, and TLS streams that the edge hands over
//! from its TCP port; those that chose HTTP want a carrier. It bounds how many there are; what they say is for the session
//! and the streams.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use malha_pki::{certificate_key, node_identity};
use malha_proto::{ALPN, ALPN_STREAM, SESSION_TIMEOUT_MS};
use malha_tunnel::{QuicSide, prepare_carrier_socket};
use quinn::congestion::BbrConfig;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::session::places::{Door, Place, Places, Stranger};
use crate::session::shared_socket::{SharedSocket, endpoint_config};
use crate::session::{Channel, PeerCertificate, Remote, SessionContext, Transport, node};
use crate::streams::STREAM_WINDOW_BYTES;

/// Why the control channel can't listen.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("control channel: UDP {address}: {source}; free the port or change control.listen")]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("control channel: TLS configuration: {0}")]
    Tls(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// The QUIC endpoints of the control channel, bound.
pub struct ControlListener {
    endpoints: Vec<quinn::Endpoint>,
}

impl ControlListener {
    /// On the sockets of the hub's tunnel. To be called on the runtime that will run it.
    pub fn on_tunnel(sides: Vec<QuicSide>, tls: rustls::ServerConfig) -> Result<Self, ListenError> {
        let config = server_config(tls)?;
        let endpoints = sides.into_iter().map(|side| {
            let address = side.local_addr();
            endpoint_on_tunnel(side, config.clone())
                .map_err(|source| ListenError::Bind { address, source })
        });
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
        })
    }

    /// On sockets of its own, opened like those of [`bind_udp`]. Has every address, or none.
    pub fn bind_by(
        addresses: &[SocketAddr],
        tls: rustls::ServerConfig,
        open: impl Fn(SocketAddr) -> std::io::Result<UdpSocket>,
    ) -> Result<Self, ListenError> {
        let config = server_config(tls)?;
        let endpoints = addresses.iter().map(|address| {
            let address = *address;
            let endpoint = open(address).and_then(|socket| endpoint_on(socket, config.clone()));
            endpoint.map_err(|source| ListenError::Bind { address, source })
        });
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
        })
    }

    /// The addresses in use, for port 0.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.endpoints
            .iter()
            .filter_map(|endpoint| endpoint.local_addr().ok())
            .collect()
    }

    /// Accepts from QUIC and from `handed_over` until the context stops, then waits for the sessions' goodbyes. Streams stand until
    /// `visited`: nobody comes by them any more.
    pub async fn run(
        self,
        context: Arc<SessionContext>,
        mut handed_over: mpsc::Receiver<(TlsStream<tokio::net::TcpStream>, SocketAddr)>,
        visited: CancellationToken,
    ) {
        let sessions = TaskTracker::new();
        let _relieving = AbortOnDropHandle::new(tokio::spawn(context.streams.clone().relieve()));
        let places = Places::default();
        for endpoint in &self.endpoints {
            sessions.spawn(accept_quic(
                endpoint.clone(),
                context.clone(),
                places.clone(),
                sessions.clone(),
                visited.clone(),
            ));
        }
        loop {
            let handed = tokio::select! {
                handed = handed_over.recv() => handed,
                () = context.stop.cancelled() => None,
            };
            let Some((stream, remote)) = handed else {
                break;
            };
            let certificate = certificate_of(&stream);
            if let Some(place) = places.for_proved(remote, certificate) {
                sessions.spawn(serve_tls(
                    context.clone(),
                    stream,
                    remote,
                    certificate,
                    place,
                ));
            }
        }
        context.stop.cancelled().await;
        drop(handed_over);
        sessions.close();
        let _ = tokio::time::timeout(DRAIN, sessions.wait()).await;
        visited.cancelled().await;
        for endpoint in &self.endpoints {
            endpoint.close(0_u32.into(), b"shutdown");
        }
        // The sockets may go as soon as we return.
        let closed = async {
            for endpoint in &self.endpoints {
                endpoint.wait_idle().await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, closed).await;
    }
}

/// An endpoint on a socket of the hub's tunnel. To be called on the runtime that will run it.
pub fn endpoint_on_tunnel(
    side: QuicSide,
    config: quinn::ServerConfig,
) -> std::io::Result<quinn::Endpoint> {
    quinn::Endpoint::new_with_abstract_socket(
        endpoint_config(),
        Some(config),
        Arc::new(SharedSocket(side)),
        Arc::new(quinn::TokioRuntime),
    )
}

/// An endpoint on a socket of its own. To be called on the runtime that will run it.
pub fn endpoint_at(
    address: SocketAddr,
    config: quinn::ServerConfig,
) -> std::io::Result<quinn::Endpoint> {
    endpoint_on(bind_udp(address)?, config)
}

fn endpoint_on(socket: UdpSocket, config: quinn::ServerConfig) -> std::io::Result<quinn::Endpoint> {
    quinn::Endpoint::new(
        quinn::EndpointConfig::default(),
        Some(config),
        socket,
        Arc::new(quinn::TokioRuntime),
    )
}

fn server_config(mut tls: rustls::ServerConfig) -> Result<quinn::ServerConfig, ListenError> {
    tls.alpn_protocols.push(ALPN_STREAM.to_vec());
    let tls = QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport_config()));
    Ok(config)
}

async fn accept_quic(
    endpoint: quinn::Endpoint,
    context: Arc<SessionContext>,
    places: Places,
    sessions: TaskTracker,
    visited: CancellationToken,
) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = context.stop.cancelled() => return,
        };
        let Some(incoming) = incoming else { return };
        let door = match incoming.remote_address_validated() {
            true => (places.strangers).proved(incoming.remote_address().ip()),
            false => places.strangers.unproved(),
        };
        match door {
            Door::Open(stranger) => {
                sessions.spawn(serve_quic(
                    context.clone(),
                    incoming,
                    stranger,
                    places.clone(),
                    visited.clone(),
                ));
            }
            // It refuses only who has proved its address, and that one is not asked.
            Door::ProveAddress => drop(incoming.retry()),
            Door::Full => incoming.refuse(),
        }
    }
}

async fn serve_quic(
    context: Arc<SessionContext>,
    incoming: quinn::Incoming,
    stranger: Stranger,
    places: Places,
    visited: CancellationToken,
) {
    let remote = incoming.remote_address();
    let connection = match tokio::time::timeout(HANDSHAKE_TIMEOUT, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, %remote, "QUIC handshake failed"),
        Err(_) => return tracing::debug!(%remote, "QUIC handshake took too long"),
    };
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    let certificate = chain.and_then(|chain| peer_certificate(chain.first()?));
    let place = match certificate {
        Some(member) => places.for_member(member),
        None => stranger.stays(remote.ip()).map(Place::Stranger),
    };
    let Some(_place) = place else {
        return connection.close(0_u32.into(), b"no room");
    };
    if is_for_streams(&connection) {
        serve_streams(context, connection, certificate, visited).await;
    } else {
        serve_session(context, connection, certificate).await;
    }
}

async fn serve_session(
    context: Arc<SessionContext>,
    connection: quinn::Connection,
    certificate: Option<PeerCertificate>,
) {
    let remote = connection.remote_address();
    let opened = tokio::time::timeout(HANDSHAKE_TIMEOUT, connection.accept_bi());
    let (send, receive) = match opened.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return tracing::debug!(%error, %remote, "no control stream"),
        Err(_) => return tracing::debug!(%remote, "the control stream took too long"),
    };
    let path = Remote::Path(connection.clone());
    node::serve(
        context,
        Channel::new(receive, send, path, Transport::Quic, certificate),
    )
    .await;
    connection.close(0_u32.into(), b"");
}

async fn serve_streams(
    context: Arc<SessionContext>,
    connection: quinn::Connection,
    certificate: Option<PeerCertificate>,
    visited: CancellationToken,
) {
    let state = context.handle.state();
    let served =
        context
            .streams
            .clone()
            .serve(connection.clone(), certificate, &context.registry, &state);
    tokio::select! {
        () = served => {}
        () = visited.cancelled() => {}
    }
    connection.close(0_u32.into(), b"");
}

fn is_for_streams(connection: &quinn::Connection) -> bool {
    let agreed = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok());
    agreed.is_some_and(|agreed| agreed.protocol.as_deref() == Some(ALPN_STREAM))
}

async fn serve_tls(
    context: Arc<SessionContext>,
    stream: TlsStream<tokio::net::TcpStream>,
    remote: SocketAddr,
    certificate: Option<PeerCertificate>,
    _place: Place,
) {
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        if let Err(error) = prepare_carrier_socket(stream.get_ref().0) {
            tracing::debug!(%error, %remote, "a carrier's connection keeps its settings");
        }
        return context.carriers.serve(stream, certificate).await;
    }
    let (read, write) = tokio::io::split(stream);
    node::serve(
        context,
        Channel::new(
            read,
            write,
            Remote::Fixed(remote),
            Transport::Tls,
            certificate,
        ),
    )
    .await;
}

fn certificate_of(stream: &TlsStream<tokio::net::TcpStream>) -> Option<PeerCertificate> {
    let chain = stream.get_ref().1.peer_certificates()?;
    peer_certificate(chain.first()?)
}

/// Who a verified certificate names; None for one that is no node's, which then may only enrol.
fn peer_certificate(certificate: &CertificateDer<'_>) -> Option<PeerCertificate> {
    let node = node_identity(certificate).ok()?;
    let key = certificate_key(certificate).ok()?;
    Some(PeerCertificate { node, key })
}

/// How QUIC behaves here, for sessions and streams alike.
#[must_use]
pub fn transport_config() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    let idle = quinn::VarInt::from_u32(u32::try_from(SESSION_TIMEOUT_MS).unwrap_or(u32::MAX));
    transport
        .congestion_controller_factory(Arc::new(BbrConfig::default()))
        .max_idle_timeout(Some(idle.into()))
        .max_concurrent_bidi_streams(1_u32.into())
        .max_concurrent_uni_streams(0_u32.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into());
    transport
}

/// A UDP socket of one family: an IPv6 one takes no IPv4, so that both can be bound on one port.
pub fn bind_udp(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        None,
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(3);
/// For what tells the other sides that we are gone.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// One transport configuration serves both protocols: this holds sessions down, and only a stream connection gets it raised.
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// For storms of reconnections; best effort.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests;
