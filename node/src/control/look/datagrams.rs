//! The look over UDP: one QUIC handshake with each address, the size of the packets that arrive whole, and what the controller sees
//! of the socket. All addresses of one family are asked from one socket, so that what they see can be compared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use malha_proto::{ALPN, CONTROLLER_TLS_NAME};
use quinn::{Connection, Endpoint, MtuDiscoveryConfig, TransportConfig, VarInt};
use tokio::time::{Instant, sleep, timeout};

use super::super::tls::ClientTls;
use super::super::{LinkError, Wire, quic, unreachable};
use super::{Authority, Reflection, reflect};

/// A controller that answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    /// The socket as this machine sees it.
    pub(crate) from: SocketAddr,
    pub(crate) round_trip: Duration,
    /// The longest packet that arrived in one piece, IP header included; at most what Ethernet carries.
    pub(crate) packet_bytes: u16,
    /// None from a controller that does not know the question.
    pub(crate) reflection: Option<Reflection>,
    /// The controller's certificate is right, but not at this machine's time.
    pub(crate) is_untimely: bool,
}

/// Looks at all these addresses at the same time.
pub(crate) async fn over_udp(
    addresses: &[SocketAddr],
    authority: &Authority,
) -> Vec<(SocketAddr, Result<Reached, LinkError>)> {
    let v4 = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into());
    let v6 = Endpoint::client((Ipv6Addr::UNSPECIFIED, 0).into());
    let looks = addresses.iter().map(async |to| {
        let endpoint = match to {
            SocketAddr::V4(_) => &v4,
            SocketAddr::V6(_) => &v6,
        };
        let reached = match endpoint {
            Ok(endpoint) => reach(endpoint, *to, authority).await,
            Err(error) => Err(unreachable(format!("{to}/udp: {error}"))),
        };
        (*to, reached)
    });
    join_all(looks).await
}

async fn reach(
    endpoint: &Endpoint,
    to: SocketAddr,
    authority: &Authority,
) -> Result<Reached, LinkError> {
    let tls = ClientTls::for_a_look(authority, ALPN)?;
    let mut config = quic::client_config(tls.config())?;
    config.transport_config(Arc::new(transport(to)));
    let connecting = endpoint
        .connect_with(config, to, CONTROLLER_TLS_NAME)
        .map_err(|error| unreachable(format!("{to}/udp: {error}")))?;
    let connection = match timeout(ANSWER_LIMIT, connecting).await {
        Ok(Ok(connection)) => connection,
        // What the verifier saw says more than the alert that came of it.
        Ok(Err(error)) => {
            let said = quic::fault_of(to, &error);
            return Err(tls.verdict().unwrap_or(said));
        }
        Err(_) => return Err(unreachable(format!("{to}/udp: no answer"))),
    };
    let round_trip = connection.rtt();
    let local = endpoint.local_addr().map_err(unreachable)?;
    let packet_bytes = longest_packet(&connection, to).await;
    let stream = timeout(ANSWER_LIMIT, connection.open_bi()).await;
    let reflection = match stream {
        Ok(Ok((writer, reader))) => {
            reflect(Wire::quic(endpoint.clone(), connection, writer, reader)).await
        }
        _ => None,
    };
    Ok(Reached {
        from: SocketAddr::new(source(to).unwrap_or(local.ip()), local.port()),
        round_trip,
        packet_bytes,
        reflection,
        is_untimely: tls.verdict().is_some(),
    })
}

/// QUIC's own search for the path's MTU (RFC 9000 §14.3) needs no help of routers: a size counts when its packet is acknowledged.
fn transport(to: SocketAddr) -> TransportConfig {
    let mut search = MtuDiscoveryConfig::default();
    search
        .upper_bound(ETHERNET_BYTES - header_bytes(to))
        .minimum_change(SEARCH_STEP_BYTES);
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_LIMIT_MS).into()))
        .max_concurrent_bidi_streams(0_u32.into())
        .max_concurrent_uni_streams(0_u32.into())
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(search));
    transport
}

/// Waits until the search finds nothing more.
async fn longest_packet(connection: &Connection, to: SocketAddr) -> u16 {
    let end = Instant::now() + SEARCH_LIMIT;
    let mut last = (0, 0, 0);
    let mut changed = Instant::now();
    loop {
        let path = connection.stats().path;
        let found = (
            path.current_mtu,
            path.sent_plpmtud_probes,
            path.lost_plpmtud_probes,
        );
        if found != last {
            (last, changed) = (found, Instant::now());
        }
        let packet_bytes = path.current_mtu + header_bytes(to);
        let is_quiet = changed.elapsed() > QUIET.max(path.rtt * 6);
        if packet_bytes >= ETHERNET_BYTES || is_quiet || Instant::now() >= end {
            return packet_bytes;
        }
        sleep(PAUSE).await;
    }
}

/// The address of this machine from which it speaks to another one.
fn source(to: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    // A connected datagram socket only looks up the route.
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// IP and UDP.
fn header_bytes(to: SocketAddr) -> u16 {
    match to {
        SocketAddr::V4(_) => 28,
        SocketAddr::V6(_) => 48,
    }
}

const ETHERNET_BYTES: u16 = 1_500;
const SEARCH_STEP_BYTES: u16 = 1;
const SEARCH_LIMIT: Duration = Duration::from_millis(4_000);
/// A probe that is lost is noticed sooner.
const QUIET: Duration = Duration::from_millis(1_000);
const PAUSE: Duration = Duration::from_millis(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
const IDLE_LIMIT_MS: u32 = 5_000;
