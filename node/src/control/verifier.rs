//! Trust in one authority, known by the SHA-256 of its certificate. No other authority counts, no name but the controller's,
//! and nothing outside its time.

use std::sync::{Arc, OnceLock};

use malha_proto::Fingerprint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::agent::{LinkError, LinkFault};

/// Verifies a controller's certificate chain against the pinned authority.
#[derive(Debug)]
pub(super) struct PinnedAuthority {
    fingerprint: Fingerprint,
    /// The authority's certificate, once it is known.
    certificate: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    /// Why the last chain was refused: the layers above see only an alert.
    verdict: Arc<OnceLock<LinkError>>,
}

impl PinnedAuthority {
    pub(super) fn new(
        fingerprint: Fingerprint,
        certificate: Option<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
        verdict: Arc<OnceLock<LinkError>>,
    ) -> Self {
        Self {
            fingerprint,
            certificate,
            provider,
            verdict,
        }
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = (intermediates.iter())
            .chain(self.certificate.as_ref())
            .find(|certificate| Fingerprint::of(certificate) == self.fingerprint)
            .ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, server_name, ocsp_response, now)
            .inspect_err(|error| {
                // Only the first verdict of an attempt is kept: the others say the same.
                let _ = self.verdict.set(LinkError::new(fault_of(error), error));
            })
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

fn fault_of(error: &Error) -> LinkFault {
    let Error::InvalidCertificate(error) = error else {
        return LinkFault::Tls;
    };
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => LinkFault::Clock,
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::NotValidForName
        | CertificateError::NotValidForNameContext { .. } => LinkFault::WrongController,
        _ => LinkFault::Tls,
    }
}
