//! Walks the public way once, hop by hop, as a stranger would: our DNS, TLS against the edge's authority, HTTP and WebSocket
//! through the tunnel. It trusts nothing that the controller says of itself.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde::Serialize;
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite;

use super::garage;

/// One hop of the check and how it went.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HopResult {
    pub hop: &'static str,
    pub ok: bool,
    pub millis: u64,
    /// What was seen, or what went wrong.
    pub detail: String,
}

/// Where the public side is.
pub(super) struct Target {
    pub host: String,
    pub https: SocketAddr,
    pub dns: SocketAddr,
    /// The authority that the edge's certificates come from.
    pub authority_pem: String,
}

/// Runs one hop and notes its time. Err(result) stops the walk at the broken hop.
pub(super) async fn hop<T>(
    hop: &'static str,
    work: impl Future<Output = anyhow::Result<(T, String)>>,
) -> Result<(T, HopResult), HopResult> {
    let start = Instant::now();
    let outcome = tokio::time::timeout(HOP_TIMEOUT, work).await;
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(Ok((value, detail))) => Ok((
            value,
            HopResult {
                hop,
                ok: true,
                millis,
                detail,
            },
        )),
        Ok(Err(error)) => Err(HopResult {
            hop,
            ok: false,
            millis,
            detail: format!("{error:#}"),
        }),
        Err(_) => Err(HopResult {
            hop,
            ok: false,
            millis,
            detail: format!("no answer within {} s", HOP_TIMEOUT.as_secs()),
        }),
    }
}

/// Asks our DNS server for the name's IPv4 address.
pub(super) async fn resolve(target: &Target) -> anyhow::Result<(IpAddr, String)> {
    let socket = UdpSocket::bind(SocketAddr::new(target.dns.ip(), 0)).await?;
    socket.connect(target.dns).await?;
    let mut query = Message::new(QUERY_ID, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(format!("{}.", target.host))?;
    query.add_query(Query::query(name, RecordType::A));
    socket.send(&query.to_vec()?).await?;
    let mut buffer = [0; MAX_DNS_BYTES];
    let read = socket.recv(&mut buffer).await?;
    let answer = Message::from_vec(&buffer[..read]).context("the answer is not DNS")?;
    ensure!(
        answer.metadata.response_code == ResponseCode::NoError,
        "answered {}",
        answer.metadata.response_code
    );
    ensure!(
        answer.metadata.authoritative,
        "the answer is not authoritative"
    );
    let address = answer.answers.iter().find_map(|record| match &record.data {
        RData::A(a) => Some(a.0),
        _ => None,
    });
    let address = address.with_context(|| format!("no A record for {}", target.host))?;
    Ok((address.into(), format!("{} is {address}", target.host)))
}

/// Opens TLS on the edge and verifies its certificate for the name against the demo's authority alone.
pub(super) async fn open_tls(
    target: &Target,
    address: IpAddr,
) -> anyhow::Result<(TlsStream<TcpStream>, String)> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        target.authority_pem.as_bytes(),
    )?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(SocketAddr::new(address, target.https.port()))
        .await
        .context("TCP to the edge")?;
    let name = ServerName::try_from(target.host.clone())?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .context("TLS to the edge")?;
    let version = tls
        .get_ref()
        .1
        .protocol_version()
        .and_then(|version| version.as_str())
        .unwrap_or("TLS");
    Ok((tls, format!("{version}, certificate verified")))
}

/// Fetches the garage's page and checks that it is the garage's.
pub(super) async fn fetch_page(
    target: &Target,
    tls: TlsStream<TcpStream>,
) -> anyhow::Result<((), String)> {
    let (body, status) = get(target, tls, "/").await?;
    ensure!(
        status == 200,
        "status {status}: {}",
        String::from_utf8_lossy(&body[..body.len().min(200)])
    );
    ensure!(
        String::from_utf8_lossy(&body).contains("Garagem 01"),
        "another page came back"
    );
    Ok(((), format!("200, {} bytes", body.len())))
}

/// Fetches the sample download and checks each byte of it.
pub(super) async fn fetch_download(
    target: &Target,
    tls: TlsStream<TcpStream>,
) -> anyhow::Result<((), String)> {
    let start = Instant::now();
    let (body, status) = get(target, tls, "/relatorio.bin").await?;
    ensure!(status == 200, "status {status}");
    ensure!(
        body.len() == garage::DOWNLOAD_BYTES,
        "{} of {} bytes came",
        body.len(),
        garage::DOWNLOAD_BYTES
    );
    let wrong = body
        .iter()
        .enumerate()
        .find(|(at, byte)| **byte != garage::download_byte(*at));
    ensure!(wrong.is_none(), "a byte is wrong at {wrong:?}");
    let mebibytes_per_s = 10.0 / start.elapsed().as_secs_f64();
    Ok(((), format!("10 MiB right, {mebibytes_per_s:.0} MiB/s")))
}

/// Opens a WebSocket to the garage and gets its echo back.
pub(super) async fn echo(
    target: &Target,
    tls: TlsStream<TcpStream>,
) -> anyhow::Result<((), String)> {
    let url = format!("wss://{}:{}/eco", target.host, target.https.port());
    let (mut socket, _) = tokio_tungstenite::client_async(url, tls)
        .await
        .context("WebSocket handshake")?;
    let said = tungstenite::Message::text("cancela?");
    socket.send(said.clone()).await?;
    let heard = socket
        .next()
        .await
        .context("the WebSocket closed without an echo")??;
    ensure!(heard == said, "another message came back");
    socket.close(None).await.ok();
    Ok(((), "echo came back".to_owned()))
}

async fn get(
    target: &Target,
    tls: TlsStream<TcpStream>,
    path: &str,
) -> anyhow::Result<(Bytes, u16)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
    let request = Request::get(path)
        .header("host", format!("{}:{}", target.host, target.https.port()))
        .header("accept", "text/html")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = http_body_util::Limited::new(response.into_body(), MAX_BODY_BYTES)
            .collect()
            .await;
        let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
        Ok::<_, anyhow::Error>((body, status))
    };
    let mut exchange = pin!(exchange);
    // The connection may end in the same moment in which it hands over the answer.
    tokio::select! {
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

const HOP_TIMEOUT: Duration = Duration::from_secs(15);
const QUERY_ID: u16 = 0x6d61;
const MAX_DNS_BYTES: usize = 1_232;
const MAX_BODY_BYTES: usize = 2 * garage::DOWNLOAD_BYTES;
