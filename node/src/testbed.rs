//! A small real controller for tests: QUIC and TLS over TCP on one port number of the loopback, certificates of its own
//! authority, and each session handed to the test. It keeps no rules.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{
    ALPN, CONTROLLER_TLS_NAME, EnrolReply, EnrolRequest, EnrolToken, Exposure, Fingerprint,
    FrameDecoder, Label, Lease, MAX_FRAME_TO_CONTROLLER_BYTES, MAX_FRAME_TO_NODE_BYTES,
    MachineFacts, MachineId, Me, Netmap, NodeId, OverlayAddresses, Peer, Port, Profile, Revision,
    Secret32, Service, ServiceId, ServiceKind, ToController, ToNode, TokenId, Welcome, WgKey,
    encode_frame,
};
use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use malha_node::agent::Transport;
use malha_node::control::{Credentials, NodeCredentials};
use malha_node::state::{Identity, Keys, StateFolder};

/// Longer than anything that works needs.
pub(crate) const TEST_LIMIT: Duration = Duration::from_secs(20);

/// An overlay authority.
pub(crate) struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
}

/// When a certificate is valid, from now.
#[derive(Clone, Copy)]
pub(crate) enum Lifetime {
    Now,
    Over,
    NotYet,
}

/// Which transports work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    Open,
    /// UDP is swallowed without an answer.
    UdpBlocked,
}

pub(crate) struct TestController {
    pub(crate) port: u16,
    sessions: mpsc::Receiver<TestSession>,
    tasks: JoinSet<()>,
}

/// One node's connection, from the controller's side. Dropping it ends the connection.
pub(crate) struct TestSession {
    pub(crate) transport: Transport,
    pub(crate) node_certificate: Option<CertificateDer<'static>>,
    heard: mpsc::Receiver<ToController>,
    say: mpsc::Sender<ToNode>,
}

impl TestAuthority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self {
            issuer,
            certificate,
        }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    pub(crate) fn token(&self, port: u16) -> EnrolToken {
        EnrolToken {
            id: TokenId(7),
            secret: Secret32([3; 32]),
            authority: self.fingerprint(),
            controllers: vec![format!("127.0.0.1:{port}")],
        }
    }

    /// The answer to an enrolment, with the map of revision 10.
    pub(crate) fn reply(&self, request: &EnrolRequest) -> EnrolReply {
        EnrolReply {
            node: NodeId(1),
            certificate: self.sign(&request.csr),
            authority: self.certificate.to_vec(),
            lease: Lease([4; 16]),
            netmap: netmap(10),
            controllers: vec![],
        }
    }

    /// A node's certificate for the key of a CSR.
    pub(crate) fn sign(&self, csr: &[u8]) -> Vec<u8> {
        self.sign_for(csr, Lifetime::Now)
    }

    fn sign_for(&self, csr: &[u8], lifetime: Lifetime) -> Vec<u8> {
        let csr = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        lifetime.give_to(&mut params);
        let certificate = params.signed_by(&csr.public_key, &self.issuer).unwrap();
        certificate.der().to_vec()
    }

    /// What a node holds once it is enrolled.
    pub(crate) fn node_credentials(&self) -> Credentials {
        self.node_credentials_of(Lifetime::Now)
    }

    pub(crate) fn node_credentials_of(&self, lifetime: Lifetime) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::new([]).unwrap();
        let csr = csr.serialize_request(&key).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Credentials {
            authority: self.fingerprint(),
            authority_certificate: Some(self.certificate.clone()),
            node: Some(NodeCredentials {
                certificate: self.sign_for(csr.der(), lifetime).into(),
                key: key.into(),
            }),
        }
    }

    /// TLS of a controller whose certificate is good.
    pub(crate) fn controller_config(&self) -> ServerConfig {
        self.server_config(Lifetime::Now)
    }

    fn server_config(&self, lifetime: Lifetime) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([CONTROLLER_TLS_NAME.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        lifetime.give_to(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let nodes = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(nodes)
            .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config
    }
}

impl Lifetime {
    fn give_to(self, params: &mut CertificateParams) {
        let now = OffsetDateTime::now_utc();
        let (from, to) = match self {
            Self::Now => (-1, 1),
            Self::Over => (-9, -1),
            Self::NotYet => (1, 9),
        };
        params.not_before = now + time::Duration::days(from);
        params.not_after = now + time::Duration::days(to);
    }
}

impl TestController {
    pub(crate) async fn start(
        authority: &TestAuthority,
        lifetime: Lifetime,
        network: Network,
    ) -> Self {
        let config = authority.server_config(lifetime);
        let (sender, sessions) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        let (tcp, udp) = same_port().await;
        let port = tcp.local_addr().unwrap().port();
        match network {
            Network::UdpBlocked => {
                tasks.spawn(async move { while udp.recv(&mut [0; 2_048]).await.is_ok() {} });
            }
            Network::Open => {
                let quic = QuicServerConfig::try_from(config.clone()).unwrap();
                let quic = quinn::ServerConfig::with_crypto(Arc::new(quic));
                let endpoint = quinn::Endpoint::new(
                    quinn::EndpointConfig::default(),
                    Some(quic),
                    udp.into_std().unwrap(),
                    Arc::new(quinn::TokioRuntime),
                )
                .unwrap();
                tasks.spawn(accept_quic(endpoint, sender.clone()));
            }
        }
        tasks.spawn(accept_tcp(tcp, TlsAcceptor::from(Arc::new(config)), sender));
        Self {
            port,
            sessions,
            tasks,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) async fn session(&mut self) -> TestSession {
        let session = timeout(TEST_LIMIT, self.sessions.recv()).await;
        session.expect("a node should connect").unwrap()
    }

    /// Gone, with all its connections.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl TestSession {
    pub(crate) async fn hear(&mut self) -> ToController {
        let heard = timeout(TEST_LIMIT, self.heard.recv()).await;
        heard
            .expect("the node should say something")
            .expect("the node should be there")
    }

    /// The next message that is of interest.
    pub(crate) async fn hear_until<T>(&mut self, of: impl Fn(ToController) -> Option<T>) -> T {
        loop {
            if let Some(found) = of(self.hear().await) {
                return found;
            }
        }
    }

    /// Waits for the end of the connection.
    pub(crate) async fn end(&mut self) -> Vec<ToController> {
        let mut rest = vec![];
        while let Some(message) = timeout(TEST_LIMIT, self.heard.recv()).await.unwrap() {
            rest.push(message);
        }
        rest
    }

    pub(crate) async fn say(&self, message: ToNode) {
        self.say.send(message).await.unwrap();
    }
}

pub(crate) fn welcome() -> ToNode {
    ToNode::Welcome(Box::new(Welcome {
        lease: Lease([1; 16]),
        revision: Revision(10),
        seen_as: None,
        controllers: vec![],
        rekey: None,
    }))
}

/// A data plane without privilege, on the loopback.
pub(crate) fn plane_config() -> malha_node::plane::PlaneConfig {
    malha_node::plane::PlaneConfig {
        engine: malha_tunnel::Engine::Netstack,
        listen: vec![([127, 0, 0, 1], 0).into()],
        interface: "malha0".into(),
        mtu_bytes: 1_280,
        offload: malha_tunnel::Offload::default(),
        shards: None,
        guard: no_guard(),
        former: malha_node::plane::Former::default(),
    }
}

/// What a machine with these keys asks for.
pub(crate) fn enrol_request(keys: &Keys) -> EnrolRequest {
    let public = keys.public().unwrap();
    EnrolRequest {
        token: TokenId(7),
        secret: Secret32([3; 32]),
        wg_key: public.wg_key.unwrap(),
        csr: public.csr,
        name: None,
        facts: MachineFacts {
            host_name: String::new(),
            machine: MachineId([0; 16]),
            agent_version: String::new(),
            os: String::new(),
            engine: None,
        },
    }
}

/// Makes a folder that of a node.
pub(crate) fn enrol(folder: &StateFolder, authority: &TestAuthority) -> Identity {
    let token = authority.token(443);
    let keys = folder.keys_for_enrolment(&token).unwrap();
    let reply = authority.reply(&enrol_request(&keys));
    folder.adopt_enrolment(&token, &reply).unwrap()
}

/// Tests must not close ports of the machine that runs them.
pub(crate) fn no_guard() -> malha_node::guard::GuardConfig {
    malha_node::guard::GuardConfig {
        choice: malha_node::guard::GuardChoice::Off,
        except: [].into(),
    }
}

/// A map whose content depends on its revision.
pub(crate) fn netmap(revision: u64) -> Netmap {
    let addresses = |n: u8| OverlayAddresses {
        v4: [100, 64, 0, n].into(),
        v6: [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)].into(),
    };
    let peer = Peer {
        id: NodeId(2),
        name: "hub.org".parse().unwrap(),
        key: WgKey([2; 32]),
        addresses: addresses(2),
        endpoints: vec![([198, 51, 100, 1], 1_000 + revision as u16).into()],
        keepalive_s: Some(25),
        allow: vec![],
        hub: true,
        former: None,
        names: vec![],
    };
    let service = Service {
        id: ServiceId(3),
        name: "web".parse::<Label>().unwrap(),
        port: Port::new(80).unwrap(),
        target: ([127, 0, 0, 1], 8080).into(),
        kind: ServiceKind::Http,
        exposure: Exposure::Public,
    };
    Netmap {
        revision: Revision(revision),
        me: Me {
            id: NodeId(1),
            name: "servidor.garagem.org".parse().unwrap(),
            addresses: addresses(1),
            prefix_v4: 10,
            prefix_v6: 48,
            profile: Profile::Garage,
            quarantined: false,
            names: vec![],
        },
        peers: [(peer.id, peer)].into(),
        services: [(service.id, service)].into(),
        balancers: [].into(),
        closed: None,
        zone: Some("malha.internal".parse().unwrap()),
    }
}

/// A balancer of the node on an overlay port, before services of the hub.
pub(crate) fn balancer(port: u16, backends: &[SocketAddr]) -> malha_proto::Balancer {
    let numbered = backends.iter().zip(10..);
    malha_proto::Balancer {
        id: malha_proto::BalancerId(9),
        name: "xroad".parse().unwrap(),
        port: malha_proto::Port::new(port).unwrap(),
        exposure: malha_proto::Exposure::Tunnel,
        algorithm: malha_proto::Algorithm::LeastConnections,
        backends: numbered
            .map(|(address, id)| malha_proto::Backend {
                service: malha_proto::ServiceId(id),
                address: *address,
                mode: malha_proto::BackendMode::Serve,
            })
            .collect(),
        health: None,
        proxy_protocol: None,
        check_interval_ms: 500,
        connect_ms: 5_000,
        idle_s: 300,
        slow_start_s: 0,
        connections: 100,
        connections_per_source: 100,
        allowed_sources: vec![],
    }
}

/// One port number that is free for both.
async fn same_port() -> (TcpListener, UdpSocket) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address: SocketAddr = tcp.local_addr().unwrap();
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (tcp, udp);
        }
    }
    panic!("no port number is free for TCP and UDP");
}

async fn accept_quic(endpoint: quinn::Endpoint, sessions: mpsc::Sender<TestSession>) {
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let sessions = sessions.clone();
        tasks.spawn(async move {
            let Ok(connection) = incoming.await else {
                return;
            };
            let identity = connection.peer_identity();
            let chain = identity.and_then(|i| i.downcast::<Vec<CertificateDer<'static>>>().ok());
            let node = chain.and_then(|chain| chain.first().cloned());
            if let Ok((writer, reader)) = connection.accept_bi().await {
                carry(Transport::Quic, node, reader, writer, sessions).await;
            }
            connection.close(0_u32.into(), b"");
        });
    }
}

async fn accept_tcp(tcp: TcpListener, tls: TlsAcceptor, sessions: mpsc::Sender<TestSession>) {
    let mut tasks = JoinSet::new();
    while let Ok((stream, _)) = tcp.accept().await {
        let (sessions, tls) = (sessions.clone(), tls.clone());
        tasks.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let chain = stream.get_ref().1.peer_certificates();
            let node = chain.and_then(|chain| Some(chain.first()?.clone().into_owned()));
            let (reader, writer) = tokio::io::split(stream);
            carry(Transport::Tcp, node, reader, writer, sessions).await;
        });
    }
}

async fn carry(
    transport: Transport,
    node_certificate: Option<CertificateDer<'static>>,
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    sessions: mpsc::Sender<TestSession>,
) {
    let (heard, inbox) = mpsc::channel(1_024);
    let (say, mut outbox) = mpsc::channel::<ToNode>(64);
    let session = TestSession {
        transport,
        node_certificate,
        heard: inbox,
        say,
    };
    if sessions.send(session).await.is_err() {
        return;
    }
    let mut decoder = FrameDecoder::new(MAX_FRAME_TO_CONTROLLER_BYTES);
    let mut piece = vec![0; 4_096];
    loop {
        tokio::select! {
            read = reader.read(&mut piece) => match read {
                Ok(0) | Err(_) => return,
                Ok(bytes) => {
                    decoder.push(&piece[..bytes]);
                    while let Some(message) = decoder.next_message().unwrap() {
                        // The test may have heard enough.
                        let _ = heard.send(message).await;
                    }
                }
            },
            message = outbox.recv() => {
                let Some(message) = message else {
                    let _ = writer.shutdown().await;
                    return;
                };
                let frame = encode_frame(&message, MAX_FRAME_TO_NODE_BYTES).unwrap();
                if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}
