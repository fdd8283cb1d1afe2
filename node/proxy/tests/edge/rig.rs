//! An edge with certificates, a dialer that a test can break, and clients for it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use malha_proxy::{
    BackendHealth, BackendSpec, BoxStream, ControlHandoff, Dialer, Edge, EdgeConfig, EdgeCounters,
    Hop, HostName, InternalHosts, LocalAddrs, Protocol, RouteSpec, RouteTable,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::ResolvesServerCertUsingSni;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// The host that every rig routes.
pub(crate) const HOST: &str = "garagem-01.example.org";
/// A second host with a certificate but no route unless a test makes one.
pub(crate) const OTHER: &str = "outra.example.org";
/// Served beside the edge when a test says so.
pub(crate) const PANEL: &str = "painel.example.org";
/// A limit that no test reaches.
pub(crate) const NEVER: Duration = Duration::from_secs(3_600);
/// The overlay address of the first backend.
pub(crate) const BACKEND: SocketAddr = overlay(1);

pub(crate) const fn overlay(host: u8) -> SocketAddr {
    SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(100, 64, 0, host)),
        8080,
    )
}

pub(crate) type ClientBody = BoxBody<Bytes, io::Error>;

/// A running edge.
pub(crate) struct Rig {
    pub(crate) addrs: LocalAddrs,
    pub(crate) counters: Arc<EdgeCounters>,
    pub(crate) dialer: Arc<LoopbackDialer>,
    pub(crate) routes: watch::Sender<Arc<RouteTable>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<()>,
    pub(crate) authority: CertificateDer<'static>,
    pub(crate) authority_pem: String,
}

/// What a test may change before the edge starts.
pub(crate) struct Plan {
    pub(crate) config: EdgeConfig,
    pub(crate) routes: Vec<RouteSpec>,
    pub(crate) control: Option<ControlHandoff>,
    pub(crate) internal: Option<InternalHosts>,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Plan {
    /// One route to [`BACKEND`], generous limits.
    pub(crate) fn new() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = EdgeConfig::new(vec![loopback], 443);
        config.http = vec![loopback];
        Self {
            config,
            routes: vec![route(1, HOST, "/", &[(BACKEND, BackendHealth::Up)])],
            control: None,
            internal: None,
        }
    }

    pub(crate) fn start(self) -> Rig {
        let certificates = Certificates::issue(&[HOST, OTHER, PANEL]);
        let edge = Edge::bind(self.config).unwrap();
        let table = Arc::new(RouteTable::build(self.routes).unwrap());
        let (routes, routes_seen) = watch::channel(table);
        let dialer = Arc::new(LoopbackDialer::default());
        let shutdown = CancellationToken::new();
        let (addrs, counters) = (edge.local_addrs(), edge.counters());
        let run = edge.run(
            routes_seen,
            Arc::new(certificates.resolver),
            Arc::clone(&dialer) as Arc<dyn Dialer>,
            self.control,
            self.internal,
            shutdown.clone(),
        );
        Rig {
            addrs,
            counters,
            dialer,
            routes,
            shutdown,
            running: tokio::spawn(async move { run.await.unwrap() }),
            authority: certificates.authority,
            authority_pem: certificates.authority_pem,
        }
    }

    /// Starts with the backend at the given local address.
    pub(crate) fn start_before(self, origin: SocketAddr) -> Rig {
        let rig = self.start();
        rig.dialer.lead(BACKEND, Way::To(origin));
        rig
    }
}

impl Rig {
    pub(crate) fn https(&self) -> SocketAddr {
        self.addrs.https[0]
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.addrs.http[0]
    }

    pub(crate) fn reroute(&self, routes: Vec<RouteSpec>) {
        let table = RouteTable::build(routes).unwrap();
        self.routes.send_replace(Arc::new(table));
    }

    pub(crate) async fn tls(&self, name: &str, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.https()).await?;
        self.tls_on(tcp, name, alpn).await
    }

    /// The same on a connection that stands already.
    pub(crate) async fn tls_on(
        &self,
        tcp: TcpStream,
        name: &str,
        alpn: &[&[u8]],
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = client_config(&self.authority, alpn);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    /// An HTTP/1.1 connection whose SNI is `name`.
    pub(crate) async fn http1(&self, name: &str) -> http1::SendRequest<ClientBody> {
        http1_on(self.tls(name, &[b"http/1.1"]).await.unwrap()).await
    }

    /// An HTTP/2 connection whose SNI is `name`.
    pub(crate) async fn http2(&self, name: &str) -> http2::SendRequest<ClientBody> {
        let stream = self.tls(name, &[b"h2"]).await.unwrap();
        let io = TokioIo::new(stream);
        let executor = TokioExecutor::new();
        let (sender, connection) = http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: Request<ClientBody>) -> Answer {
        let mut sender = self.http1(HOST).await;
        Answer::of(sender.send_request(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(get(path)).await
    }

    /// Sends bytes as they are, returns everything until the edge closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.tls(HOST, &[b"http/1.1"]).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        read_until_closed(&mut stream).await
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

impl Answer {
    pub(crate) async fn of(response: http::Response<hyper::body::Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: collected.to_bytes(),
            trailers,
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        match self.headers.get(name) {
            Some(value) => value.to_str().unwrap(),
            None => "",
        }
    }
}

/// Everything up to the close, also when the close is abrupt.
pub(crate) async fn read_until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        received.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&received).into_owned()
}

pub(crate) fn get(path: &str) -> Request<ClientBody> {
    request("GET", path, empty())
}

/// For [`HOST`]; a test may replace the header.
pub(crate) fn request(method: &str, path: &str, body: ClientBody) -> Request<ClientBody> {
    let builder = Request::builder().method(method).uri(path);
    builder.header("host", HOST).body(body).unwrap()
}

/// For HTTP/2, where the URI carries the authority.
pub(crate) fn request2(method: &str, path: &str, body: ClientBody) -> Request<ClientBody> {
    let uri = format!("https://{HOST}{path}");
    let builder = Request::builder().method(method).uri(uri);
    builder.version(http::Version::HTTP_2).body(body).unwrap()
}

pub(crate) fn empty() -> ClientBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> ClientBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

pub(crate) fn route(
    id: u64,
    host: &str,
    path: &str,
    backends: &[(SocketAddr, BackendHealth)],
) -> RouteSpec {
    let backends = backends.iter().map(|(address, health)| BackendSpec {
        service: id,
        node: "garagem-01".into(),
        address: *address,
        site_name: "Garagem Sé".into(),
        org_name: "Estacionamentos <b>Unidos</b>".into(),
        health: *health,
        protocol: Protocol::Http,
    });
    RouteSpec {
        id,
        host: HostName::parse(host).unwrap(),
        path_prefix: path.into(),
        backends: backends.collect(),
    }
}

pub(crate) fn down(hop: Hop) -> BackendHealth {
    // 2026-11-22T15:42:00Z
    let since_ms = 1_795_362_120_000;
    BackendHealth::Down { hop, since_ms }
}

/// Where the dialer leads for one overlay address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    To(SocketAddr),
    Fails(io::ErrorKind),
    /// Never answers.
    Hangs,
}

/// The tunnel's stand-in: plain TCP on loopback, or the failure that a tunnel would report.
#[derive(Default)]
pub(crate) struct LoopbackDialer {
    ways: Mutex<BTreeMap<SocketAddr, Way>>,
    dials: AtomicUsize,
}

impl LoopbackDialer {
    pub(crate) fn lead(&self, address: SocketAddr, way: Way) {
        self.ways.lock().unwrap().insert(address, way);
    }

    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Dialer for LoopbackDialer {
    async fn dial(&self, address: SocketAddr, _timeout: Duration) -> io::Result<BoxStream> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let way = self.ways.lock().unwrap().get(&address).copied();
        match way {
            Some(Way::To(local)) => Ok(Box::new(TcpStream::connect(local).await?)),
            Some(Way::Fails(kind)) => Err(kind.into()),
            Some(Way::Hangs) => std::future::pending().await,
            None => Err(io::ErrorKind::HostUnreachable.into()),
        }
    }
}

/// An authority and what it issued.
pub(crate) struct Certificates {
    pub(crate) authority: CertificateDer<'static>,
    pub(crate) authority_pem: String,
    pub(crate) resolver: ResolvesServerCertUsingSni,
}

impl Certificates {
    pub(crate) fn issue(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        // Without a name of its own, every certificate would look self-issued to OpenSSL.
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::CommonName, "Edge test authority");
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let mut resolver = ResolvesServerCertUsingSni::new();
        for name in names {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![(*name).to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
            let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
            resolver.add(name, certified).unwrap();
        }
        Self {
            authority: authority.der().clone(),
            authority_pem: authority.pem(),
            resolver,
        }
    }
}

pub(crate) async fn http1_on(stream: TlsStream<TcpStream>) -> http1::SendRequest<ClientBody> {
    let io = TokioIo::new(stream);
    let (sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub(crate) fn client_config(authority: &CertificateDer<'static>, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}
