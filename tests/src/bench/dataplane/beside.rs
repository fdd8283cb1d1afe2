//! A stream of a rootless node to its hub beside the tunnel, over QUIC: the node's own code, and an endpoint like the hub's. Both
//! ends run here, each on a thread in its own namespace, and nothing else does meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use malha::session::{endpoint_at, endpoint_on_tunnel, transport_config};
use malha::streams::prepare;
use malha_node::control::{Credentials, NodeCredentials};
use malha_node::streams::{Contact, HubPeer, Overlay, StreamsView, run_streams};
use malha_pki::{
    Authority, AuthorityProfile, ControlCertificate, NodeIdentity, Validity, server_config_control,
};
use malha_proto::{ALPN_STREAM, Family, NodeId, OverlayAddresses, StreamAnswer, StreamOpen};
use malha_tunnel::{Allow, BoxStream, Engine, PeerConfig, PrivateKey, Tunnel, TunnelConfig};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{RecvStream, SendStream};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::ends::{PORT, SINK, SOURCE};
use super::iperf::Flow;
use super::meter::busy;
use super::stream::Way;
use super::wire::{Side, Wire};

/// The UDP port of the hub's QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HubPort {
    /// A socket of its own.
    Own,
    /// A socket of the hub's tunnel.
    Shared,
}

/// Measures a stream between the hub on the far side and a node on the near side that dials it at `entrance`.
pub(super) fn beside(
    wire: &Wire,
    entrance: SocketAddr,
    port: HubPort,
    way: Way,
    seconds: u64,
) -> Result<Flow> {
    let now = OffsetDateTime::now_utc();
    let profile = AuthorityProfile {
        name: "Benchmark".into(),
        years: 1,
    };
    let overlay = Arc::new(Authority::create(&profile, now)?);
    let credentials = credentials(&overlay, now)?;
    let (done, ended) = oneshot::channel();
    let near = wire.namespace(Side::Near);
    std::thread::scope(|scope| {
        let node = scope.spawn(move || {
            near.within(|| runtime()?.block_on(node(entrance, credentials, ended)))?
        });
        let hub = wire.namespace(Side::Far).within(|| {
            let length = Duration::from_secs(seconds);
            runtime()?.block_on(hub(overlay, now, port, way, length))
        });
        // The node ends when this is dropped, however the hub fared.
        drop(done);
        node.join().map_err(|_| anyhow!("the node panicked"))??;
        hub?
    })
}

/// Listens, and reads from the node's service or writes to it for a while.
async fn hub(
    overlay: Arc<Authority>,
    now: OffsetDateTime,
    port: HubPort,
    way: Way,
    length: Duration,
) -> Result<Flow> {
    let certificate = ControlCertificate::issue(overlay, 1, now)?;
    let mut tls = server_config_control(Arc::new(certificate))?;
    tls.alpn_protocols = vec![ALPN_STREAM.to_vec()];
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport_config()));
    let at = SocketAddr::from((Side::Far.underlay(), PORT));
    let (endpoint, tunnel) = match port {
        HubPort::Own => (endpoint_at(at, config)?, None),
        HubPort::Shared => {
            let tunnel = hub_tunnel(at)?;
            let endpoint = endpoint_on_tunnel(tunnel.take_quic(0).await?, config)?;
            (endpoint, Some(tunnel))
        }
    };
    let incoming = timeout(PATIENCE, endpoint.accept()).await?;
    let connection = incoming.context("the endpoint closed")?.await?;
    prepare(&connection);
    let (mut send, mut receive) = connection.open_bi().await?;
    let open = StreamOpen {
        hub: HUB,
        family: Family::V4,
        port: match way {
            Way::Sends => SOURCE,
            Way::Receives => SINK,
        },
    };
    send.write_all(&open.encode()).await?;
    let mut answer = [0];
    timeout(PATIENCE, receive.read_exact(&mut answer)).await??;
    ensure!(
        StreamAnswer::decode(answer[0]) == Some(StreamAnswer::Open),
        "the node answered {answer:?}"
    );
    let (start, before) = (Instant::now(), busy(std::process::id())?);
    let bytes = match way {
        Way::Sends => read_for(&mut receive, length).await?,
        Way::Receives => write_for(&mut send, length).await?,
    };
    let flow = Flow {
        bytes: bytes as f64,
        seconds: start.elapsed().as_secs_f64(),
        datagrams: 0.0,
        lost_percent: 0.0,
        processor: busy(std::process::id())?.saturating_sub(before),
    };
    connection.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    if let Some(tunnel) = tunnel {
        tunnel.shutdown().await;
    }
    Ok(flow)
}

/// As a hub with privileges has it; nobody speaks WireGuard to this one.
fn hub_tunnel(at: SocketAddr) -> Result<Arc<dyn Tunnel>> {
    let net = format!("{}/24", Side::Far.overlay()).parse()?;
    let mut config = TunnelConfig::new(PrivateKey::generate(), vec![net]);
    config.listen = vec![at];
    config.interface = Side::Far.interface();
    Ok(malha_tunnel::start(Engine::Userspace, config)?)
}

async fn read_for(receive: &mut RecvStream, length: Duration) -> Result<usize> {
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < length {
        let chunk = timeout(PATIENCE, receive.read_chunk(usize::MAX, true)).await??;
        bytes += chunk.context("the stream ended")?.bytes.len();
    }
    Ok(bytes)
}

/// Until all of it was acknowledged.
async fn write_for(send: &mut SendStream, length: Duration) -> Result<usize> {
    let zeros = vec![0; CHUNK_BYTES];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < length {
        timeout(PATIENCE, send.write_all(&zeros)).await??;
        bytes += zeros.len();
    }
    send.finish()?;
    timeout(PATIENCE, send.stopped()).await??;
    Ok(bytes)
}

/// A node with a service that sends without end and one that swallows, until `ended`.
async fn node(
    entrance: SocketAddr,
    credentials: Credentials,
    ended: oneshot::Receiver<()>,
) -> Result<()> {
    let net = format!("{}/24", Side::Near.overlay()).parse()?;
    let tunnel = malha_tunnel::start(
        Engine::Netstack,
        TunnelConfig::new(PrivateKey::generate(), vec![net]),
    )?;
    let key = PrivateKey::generate().public_key();
    let mut peer = PeerConfig::new(key);
    peer.ingress = vec![Allow::tcp(SOURCE..=SOURCE), Allow::tcp(SINK..=SINK)];
    tunnel.set_peer(peer).await?;
    let mut sources = tunnel.listen(([0, 0, 0, 0], SOURCE).into()).await?;
    let mut sinks = tunnel.listen(([0, 0, 0, 0], SINK).into()).await?;
    let hub = HubPeer {
        id: HUB,
        key,
        addresses: addresses(Side::Far),
    };
    let (_overlay, running) = watch::channel(Some(Overlay {
        tunnel: tunnel.clone(),
        me: addresses(Side::Near),
        hubs: vec![hub],
    }));
    let (_contact, wanted) = watch::channel(Some(Contact {
        controller: entrance.to_string().into(),
        credentials: Arc::new(credentials),
    }));
    let (view, _) = watch::channel(StreamsView::default());
    let serving = async {
        loop {
            tokio::select! {
                Ok((stream, _)) = sources.accept() => drop(tokio::spawn(pour(stream))),
                Ok((stream, _)) = sinks.accept() => drop(tokio::spawn(swallow(stream))),
                else => return,
            }
        }
    };
    tokio::select! {
        () = run_streams(wanted, running, view) => {}
        () = serving => {}
        _ = ended => {}
    }
    Ok(())
}

async fn pour(mut stream: BoxStream) {
    let zeros = vec![0; CHUNK_BYTES];
    while stream.write_all(&zeros).await.is_ok() {}
}

async fn swallow(mut stream: BoxStream) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

pub(super) fn credentials(overlay: &Authority, now: OffsetDateTime) -> Result<Credentials> {
    let key = KeyPair::generate()?;
    let csr = CertificateParams::new([])?.serialize_request(&key)?;
    let identity = NodeIdentity {
        node: NodeId(7),
        organization: "bench".parse()?,
        site: "near".parse()?,
        name: "node".parse()?,
    };
    let validity = Validity::starting(now, time::Duration::days(1))?;
    let certificate = overlay.sign_node_csr(csr.der(), &identity, validity)?;
    Ok(Credentials {
        authority: overlay.fingerprint(),
        authority_certificate: Some(overlay.certificate_der().clone()),
        node: Some(NodeCredentials {
            certificate: certificate.der,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }),
    })
}

fn addresses(side: Side) -> OverlayAddresses {
    let v4 = side.overlay();
    OverlayAddresses {
        v4,
        v6: v4.to_ipv6_mapped(),
    }
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    // Its threads are in the namespace of the one that makes it.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

const HUB: NodeId = NodeId(1);
const CHUNK_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
