//! A handshake that records: the chain, whether a client certificate is asked for, and what happens without one. It trusts no
//! chain that the expected issuers don't vouch for, and gives a stream only behind one that they do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore, SignatureScheme,
};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Name};

pub(super) use rustls::pki_types::ServerName;

use super::dial::{self, Dial, Missed, Stream};
use crate::certificate;
use crate::observation::{Der, TlsSeen, WithoutCertificate};

pub(super) struct Handshake {
    pub(super) seen: TlsSeen,
    /// Only behind a chain that the issuers vouch for.
    pub(super) stream: Option<Box<dyn Stream>>,
}

/// Connects and shakes hands without a client certificate.
pub(super) async fn handshake(
    dial: &dyn Dial,
    address: SocketAddr,
    name: ServerName<'static>,
    issuers_pem: &[String],
) -> Result<Handshake, Missed> {
    let tcp = dial::connect(dial, address).await?;
    let recorder = Arc::new(Recorder::new(issuers_pem));
    let config = Arc::clone(&recorder).config().map_err(Missed::local)?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = match timeout(HANDSHAKE_LIMIT, connector.connect(name, tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let mut seen = recorder.seen();
            // A server that has shown all it has, and then ends the connection, does so for want of a certificate.
            if seen.asked_certificate && seen.has_proved_key {
                seen.without_certificate = WithoutCertificate::Refused;
            }
            seen.error = Some(error.to_string());
            return Ok(Handshake { seen, stream: None });
        }
        Err(_) => {
            let mut seen = recorder.seen();
            seen.error = Some(format!(
                "no end of the handshake in {} s",
                HANDSHAKE_LIMIT.as_secs()
            ));
            return Ok(Handshake { seen, stream: None });
        }
    };
    let mut seen = recorder.seen();
    let version = stream.get_ref().1.protocol_version();
    seen.version = version.and_then(|it| it.as_str()).map(str::to_owned);
    if seen.asked_certificate {
        (seen.without_certificate, seen.error) = without_certificate(&mut stream).await;
    }
    let stream = Some(Box::new(stream) as Box<dyn Stream>);
    Ok(Handshake { seen, stream })
}

/// The server's own certificate, whoever issued it: to ask others about it.
pub(super) async fn leaf(dial: &dyn Dial, address: SocketAddr) -> Result<Der, Missed> {
    Ok(chain(dial, address).await?.swap_remove(0))
}

/// The chain, with at least the server's own certificate.
pub(super) async fn chain(dial: &dyn Dial, address: SocketAddr) -> Result<Vec<Der>, Missed> {
    let name = ServerName::from(address.ip());
    let handshake = match handshake(dial, address, name, &[]).await {
        Ok(handshake) => handshake,
        Err(Missed::NoConnection(tcp)) => {
            return Err(Missed::before(format!("{address}: {}", tcp.as_str())));
        }
        Err(failed) => return Err(failed),
    };
    match handshake.seen.chain.is_empty() {
        false => Ok(handshake.seen.chain),
        true => {
            let error = handshake.seen.error.unwrap_or_default();
            Err(Missed::before(format!("{address}: {error}")))
        }
    }
}

/// In TLS 1.3 the client's side is done before the server has seen that the certificate is missing, so its word comes after.
async fn without_certificate(
    stream: &mut TlsStream<Box<dyn Stream>>,
) -> (WithoutCertificate, Option<String>) {
    if stream.get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return (WithoutCertificate::Accepted, None);
    }
    match timeout(REFUSAL_LIMIT, stream.read(&mut [0])).await {
        Ok(Ok(0)) => (WithoutCertificate::Refused, None),
        Ok(Ok(_)) => (WithoutCertificate::Accepted, None),
        Ok(Err(error)) => (WithoutCertificate::Refused, Some(error.to_string())),
        // Tickets are given to clients that were let in.
        Err(_) if stream.get_ref().1.tls13_tickets_received() > 0 => {
            (WithoutCertificate::Accepted, None)
        }
        Err(_) => (WithoutCertificate::Unclear, None),
    }
}

/// Stands in the verifier's and the client certificate's place and writes down what passes.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    anchors: Vec<Vec<u8>>,
    roots: RootCertStore,
    /// Written by callbacks that only have `&self`.
    seen: Mutex<TlsSeen>,
}

impl Recorder {
    fn new(issuers_pem: &[String]) -> Self {
        let anchors = certificate::from_pem(issuers_pem);
        let mut roots = RootCertStore::empty();
        for anchor in &anchors {
            // What webpki can't use as an anchor vouches for nothing.
            let _ = roots.add(CertificateDer::from_slice(anchor));
        }
        Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            anchors,
            roots,
            seen: Mutex::default(),
        }
    }

    fn config(self: Arc<Self>) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let mut config = builder
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(self);
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn seen(&self) -> TlsSeen {
        self.record(|seen| seen.clone())
    }

    fn record<T>(&self, note: impl FnOnce(&mut TlsSeen) -> T) -> T {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.take(MAX_CHAIN).map(|it| Der(it.to_vec())).collect();
        self.record(|seen| seen.chain = chain);
        // One that is declared by itself needs no other to vouch for it.
        if !self.anchors.iter().any(|it| it[..] == end_entity[..]) {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &self.roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = verify_tls12_signature(message, cert, dss, algorithms)?;
        self.record(|seen| seen.has_proved_key = true);
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = verify_tls13_signature(message, cert, dss, algorithms)?;
        self.record(|seen| seen.has_proved_key = true);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Recorder {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let issuers = root_hint_subjects.iter().take(MAX_ASKED_ISSUERS);
        let issuers = issuers.filter_map(|der| X509Name::from_der(der).ok());
        let issuers = issuers.map(|(_, name)| name.to_string()).collect();
        self.record(|seen| {
            seen.asked_certificate = true;
            seen.asked_issuers = issuers;
        });
        None
    }

    /// Asks to be asked.
    fn has_certs(&self) -> bool {
        true
    }
}

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long a server may take to end the connection of a client without a certificate.
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);
/// Certificates kept of a chain.
const MAX_CHAIN: usize = 10;
const MAX_ASKED_ISSUERS: usize = 20;
