//! One port for the web and the control channel, told apart by ALPN.

use std::sync::Arc;

use malha_proxy::{CONTROL_ALPN, ControlHandoff};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::origin::Origin;
use crate::rig::{Certificates, HOST, Plan};

fn control_config() -> Arc<ServerConfig> {
    let certificates = Certificates::issue(&["controller.malha"]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates.resolver));
    config.alpn_protocols = vec![CONTROL_ALPN.to_vec()];
    Arc::new(config)
}

/// Trusts anything: these tests look at who answers, not at whom to trust.
fn control_client() -> tokio_rustls::TlsConnector {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![CONTROL_ALPN.to_vec()];
    Arc::new(config).into()
}

#[tokio::test]
async fn a_control_client_reaches_the_control_channel_on_the_web_port() {
    let origin = Origin::start().await;
    let (streams, mut received) = mpsc::channel(1);
    let mut plan = Plan::new();
    let config = control_config();
    plan.control = Some(ControlHandoff { config, streams });
    let rig = plan.start_before(origin.address);

    let tcp = tokio::net::TcpStream::connect(rig.https()).await.unwrap();
    let local = tcp.local_addr().unwrap();
    let name = "controller.malha".try_into().unwrap();
    let mut client = control_client().connect(name, tcp).await.unwrap();
    let (mut server, peer) = received.recv().await.unwrap();
    assert_eq!(peer, local);
    client.write_all(b"frame").await.unwrap();
    let mut frame = [0; 5];
    server.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"frame");
    assert_eq!(rig.counters.control_handoffs.value(), 1);

    assert_eq!(rig.get("/").await.status, 200, "the web is still there");
}

#[tokio::test]
async fn a_control_channel_that_takes_no_more_drops_the_newest() {
    let (streams, _received) = mpsc::channel(1);
    let mut plan = Plan::new();
    let config = control_config();
    plan.control = Some(ControlHandoff { config, streams });
    let rig = plan.start();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let tcp = tokio::net::TcpStream::connect(rig.https()).await.unwrap();
        let name = "controller.malha".try_into().unwrap();
        clients.push(control_client().connect(name, tcp).await.unwrap());
    }
    let mut dropped = clients.pop().unwrap();
    assert!(!matches!(dropped.read(&mut [0; 1]).await, Ok(1..)));
    assert_eq!(rig.counters.control_dropped.value(), 1);
}

#[tokio::test]
async fn an_unknown_server_name_gets_the_alert_made_for_it() {
    let rig = Plan::new().start();
    let error = rig.tls("unknown.example.org", &[b"h2"]).await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
}

#[tokio::test]
async fn a_client_without_a_common_protocol_is_refused() {
    let rig = Plan::new().start();
    let error = rig.tls(HOST, &[b"spdy/3"]).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("NoApplicationProtocol"), "{text}");
    let error = rig.tls(HOST, &[CONTROL_ALPN]).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("NoApplicationProtocol"),
        "no control channel here: {text}"
    );
}

#[tokio::test]
async fn bytes_that_are_no_tls_end_the_connection() {
    let rig = Plan::new().start();
    let mut tcp = tokio::net::TcpStream::connect(rig.https()).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = crate::rig::read_until_closed(&mut tcp).await;
    assert!(!answer.contains("HTTP"), "{answer:?}");
    assert_eq!(rig.counters.failed_handshakes.value(), 1);
}

#[derive(Debug)]
struct Trusting(rustls::crypto::CryptoProvider);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
