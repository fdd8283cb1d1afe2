//! Real TLS 1.3 handshakes in memory: nodes and strangers at the control channel, browsers at the edge.

#![allow(clippy::unwrap_used)] // A test that can not go on must stop.

use std::io::{Read, Write};
use std::sync::Arc;

use malha_pki::{
    Authority, AuthorityProfile, ControlCertificate, EdgeCertificates, IssuedCertificate,
    NodeIdentity, Validity, node_identity, server_config_control,
};
use malha_proto::{ALPN, CONTROLLER_TLS_NAME, HostName, NodeId};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, NamedGroup, RootCertStore,
    ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

#[test]
fn a_node_with_a_certificate_is_known_by_its_id_under_a_post_quantum_key_exchange() {
    let overlay = authority("Overlay");
    let node = node_certificate(&overlay, 7, month());

    let (_, server) = handshake(
        control_client(&overlay, Some(node), &[&TLS13]),
        CONTROLLER_TLS_NAME,
        control_server(&overlay),
    )
    .unwrap();

    let shown = server.peer_certificates().unwrap();
    assert_eq!(node_identity(&shown[0]).unwrap(), NodeId(7));
    assert_eq!(server.alpn_protocol(), Some(ALPN));
    let group = server.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[test]
fn a_machine_without_a_certificate_may_connect_to_enrol_and_is_nobody() {
    let overlay = authority("Overlay");
    let (client, server) = handshake(
        control_client(&overlay, None, &[&TLS13]),
        CONTROLLER_TLS_NAME,
        control_server(&overlay),
    )
    .unwrap();
    assert!(server.peer_certificates().is_none());
    let chain = client.peer_certificates().unwrap();
    assert_eq!(chain.last().unwrap(), overlay.certificate_der());
}

#[test]
fn a_certificate_of_another_authority_even_of_the_same_name_ends_the_handshake() {
    let overlay = authority("Overlay");
    let stranger = node_certificate(&authority("Overlay"), 7, month());
    let error = handshake(
        control_client(&overlay, Some(stranger), &[&TLS13]),
        CONTROLLER_TLS_NAME,
        control_server(&overlay),
    )
    .unwrap_err();
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
}

#[test]
fn an_ended_certificate_ends_the_handshake() {
    let overlay = authority("Overlay");
    let yesterday = Validity::between(NOW, NOW + Duration::seconds(1)).unwrap();
    let ended = node_certificate(&overlay, 7, yesterday);
    let mut server = control_server(&overlay);
    server.time_provider = Arc::new(FixedTime(NOW + Duration::hours(1)));
    let error = handshake(
        control_client(&overlay, Some(ended), &[&TLS13]),
        CONTROLLER_TLS_NAME,
        server,
    )
    .unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn the_controllers_own_certificate_does_not_pass_for_a_nodes() {
    let overlay = authority("Overlay");
    let controller = overlay.issue_controller(&[], NOW, 30).unwrap();
    let error = handshake(
        control_client(&overlay, Some(pair(&controller)), &[&TLS13]),
        CONTROLLER_TLS_NAME,
        control_server(&overlay),
    )
    .unwrap_err();
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
}

#[test]
fn an_edge_certificate_does_not_pass_for_the_controller() {
    let overlay = authority("Overlay");
    let error = handshake(
        control_client(&overlay, None, &[&TLS13]),
        CONTROLLER_TLS_NAME,
        control_server(&authority("Edge")),
    )
    .unwrap_err();
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
}

#[test]
fn tls_1_2_and_foreign_protocols_are_refused_at_the_control_channel() {
    let overlay = authority("Overlay");
    let old = control_client(&overlay, None, &[&TLS12]);
    assert!(handshake(old, CONTROLLER_TLS_NAME, control_server(&overlay)).is_err());

    let mut web = control_client(&overlay, None, &[&TLS13]);
    web.alpn_protocols = vec![b"h2".to_vec()];
    let error = handshake(web, CONTROLLER_TLS_NAME, control_server(&overlay)).unwrap_err();
    assert!(matches!(error, Error::NoApplicationProtocol), "{error}");
}

#[test]
fn a_controller_whose_clock_was_ahead_at_its_start_is_known_once_it_was_set_back() {
    let overlay = authority("Overlay");
    let certificate = control_certificate(&overlay, NOW + Duration::days(365));
    let server = at_now(server_config_control(certificate.clone()).unwrap());
    let comes = || {
        let client = control_client(&overlay, None, &[&TLS13]);
        handshake(client, CONTROLLER_TLS_NAME, server.clone())
    };
    let error = comes().unwrap_err();
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");

    assert!(certificate.renew_due(NOW).unwrap());

    comes().unwrap();
    assert!(!certificate.renew_due(NOW).unwrap());
}

#[test]
fn the_controllers_certificate_is_renewed_with_a_third_of_its_life_left() {
    let certificate = control_certificate(&authority("Overlay"), NOW);
    assert!(!certificate.renew_due(NOW + Duration::days(19)).unwrap());
    assert!(certificate.renew_due(NOW + Duration::days(20)).unwrap());
    assert!(!certificate.renew_due(NOW + Duration::days(39)).unwrap());
}

#[test]
fn the_same_configuration_serves_quic() {
    let config = control_server(&authority("Overlay"));
    quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
}

#[test]
fn the_edge_answers_each_of_its_names_with_its_own_certificate() {
    let (edge, certificates) = edge(&["a.example.org", "*.garagem.example"]);
    for name in ["a.example.org", "A.Example.ORG", "x.garagem.example"] {
        let (client, _) =
            handshake(edge_client(&edge, NOW), name, edge_server(&certificates)).unwrap();
        let shown = &client.peer_certificates().unwrap()[0];
        let expected = certificates
            .certificate_for(&name.to_ascii_lowercase())
            .unwrap();
        assert_eq!(*shown, expected.cert[0]);
    }
}

#[test]
fn an_unknown_name_an_address_and_no_name_get_no_certificate_from_the_edge() {
    let (edge, certificates) = edge(&["a.example.org"]);
    for name in ["b.example.org", "127.0.0.1"] {
        let error =
            handshake(edge_client(&edge, NOW), name, edge_server(&certificates)).unwrap_err();
        assert!(
            error.to_string().contains("no server certificate"),
            "{error}"
        );
    }
    let mut nameless = edge_client(&edge, NOW);
    nameless.enable_sni = false;
    assert!(handshake(nameless, "a.example.org", edge_server(&certificates)).is_err());
}

#[test]
fn a_renewed_certificate_is_served_from_the_next_handshake_on() {
    let (edge, certificates) = edge(&["a.example.org"]);
    let server = edge_server(&certificates);
    let shown = |now: OffsetDateTime| {
        let client = edge_client(&edge, now);
        let (client, _) = handshake(client, "a.example.org", server.clone()).unwrap();
        client.peer_certificates().unwrap()[0].clone()
    };
    let before = shown(NOW);

    let due = certificates.renew_due(NOW).unwrap().next.unwrap();
    assert_eq!(shown(due), before);
    assert_eq!(certificates.renew_due(due).unwrap().renewed, 1);

    assert_ne!(shown(due), before);
}

/// Runs a handshake and one byte each way; the error is the one of the side that refused.
fn handshake(
    client: ClientConfig,
    name: &str,
    server: ServerConfig,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    client.writer().write_all(b"?").unwrap();
    for _ in 0..MAX_FLIGHTS {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        let at_server = server.process_new_packets();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        let at_client = client.process_new_packets();
        // The refusing side knows why; the other one only has its alert.
        match (at_server, at_client) {
            (Err(Error::AlertReceived(_)), Err(error)) | (Err(error), _) => return Err(error),
            (_, Err(error)) => {
                // Carry the client's alert over, so that both sides are seen to fail.
                let mut wire = Vec::new();
                client.write_tls(&mut wire).unwrap();
                server.read_tls(&mut wire.as_slice()).unwrap();
                assert!(server.process_new_packets().is_err());
                return Err(error);
            }
            _ => {}
        }
        let mut byte = [0];
        if let Ok(1) = server.reader().read(&mut byte) {
            return Ok((client, server));
        }
    }
    Err(Error::AlertReceived(AlertDescription::HandshakeFailure))
}

fn authority(name: &str) -> Arc<Authority> {
    let profile = AuthorityProfile {
        name: name.to_owned(),
        years: 10,
    };
    Arc::new(Authority::create(&profile, NOW).unwrap())
}

fn month() -> Validity {
    Validity::starting(NOW, Duration::days(30)).unwrap()
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn node_certificate(overlay: &Authority, node: u64, validity: Validity) -> Pair {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let identity = NodeIdentity {
        node: NodeId(node),
        organization: "orgao".parse().unwrap(),
        site: "producao".parse().unwrap(),
        name: "garagem-01".parse().unwrap(),
    };
    let signed = overlay
        .sign_node_csr(csr.der(), &identity, validity)
        .unwrap();
    (vec![signed.der], key.into())
}

fn pair(issued: &IssuedCertificate) -> Pair {
    let key = PrivateKeyDer::Pkcs8(issued.key().clone_key());
    (issued.chain().to_vec(), key)
}

fn control_server(overlay: &Arc<Authority>) -> ServerConfig {
    at_now(server_config_control(control_certificate(overlay, NOW)).unwrap())
}

fn control_certificate(overlay: &Arc<Authority>, now: OffsetDateTime) -> Arc<ControlCertificate> {
    Arc::new(ControlCertificate::issue(overlay.clone(), 30, now).unwrap())
}

fn at_now(mut config: ServerConfig) -> ServerConfig {
    config.time_provider = Arc::new(FixedTime(NOW));
    config
}

fn control_client(
    overlay: &Authority,
    pair: Option<Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut config = client_config(overlay, NOW, pair, versions);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn edge(names: &[&str]) -> (Arc<Authority>, Arc<EdgeCertificates>) {
    let authority = authority("Edge");
    let certificates = EdgeCertificates::new(authority.clone(), 30);
    let hosts = names.iter().map(|name| name.parse::<HostName>().unwrap());
    certificates.set_hosts(hosts, NOW).unwrap();
    (authority, Arc::new(certificates))
}

fn edge_server(certificates: &Arc<EdgeCertificates>) -> ServerConfig {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certificates.clone());
    at_now(config)
}

fn edge_client(edge: &Authority, now: OffsetDateTime) -> ClientConfig {
    client_config(edge, now, None, &[&TLS12, &TLS13])
}

fn client_config(
    trusted: &Authority,
    now: OffsetDateTime,
    pair: Option<Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.certificate_der().clone()).unwrap();
    let builder =
        ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::new(FixedTime(now)))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
    match pair {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

#[derive(Debug)]
struct FixedTime(OffsetDateTime);

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = self.0 - OffsetDateTime::UNIX_EPOCH;
        Some(UnixTime::since_unix_epoch(since_epoch.try_into().ok()?))
    }
}

const MAX_FLIGHTS: usize = 10;
