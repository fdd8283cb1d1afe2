//! Trust in one authority, known by the SHA-256 of its certificate. No other authority counts, no name but the controller's,
//! and nothing outside its time.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use malha_proto::Fingerprint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

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
    timing: Timing,
}

/// What becomes of a chain that is right but for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    Refused,
    /// It is noted in the verdict, and the connection stands: for looks at a way, which give nothing away.
    Noted,
}

impl PinnedAuthority {
    pub(super) fn new(
        fingerprint: Fingerprint,
        certificate: Option<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
        verdict: Arc<OnceLock<LinkError>>,
        timing: Timing,
    ) -> Self {
        Self {
            fingerprint,
            certificate,
            provider,
            verdict,
            timing,
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
        let verify = |now| self.verify(end_entity, intermediates, server_name, ocsp_response, now);
        let error = match verify(now) {
            Err(error) => error,
            verified => return verified,
        };
        let fault = fault_of(&error);
        let detail = match (fault, issuer(end_entity)) {
            (LinkFault::WrongController, Some(issuer)) => format!("{error}; issued by {issuer}"),
            _ => error.to_string(),
        };
        // Only the first verdict of an attempt is kept: the others say the same.
        let _ = self.verdict.set(LinkError::new(fault, detail));
        match (fault, self.timing) {
            (LinkFault::Clock, Timing::Noted) => verify(within(end_entity, now)),
            _ => Err(error),
        }
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

/// The time of a certificate's life that is nearest to this one.
fn within(certificate: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return now;
    };
    let seconds = |time: ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
    let validity = parsed.validity();
    let from = seconds(validity.not_before);
    let nearest = now
        .as_secs()
        .clamp(from, seconds(validity.not_after).max(from));
    UnixTime::since_unix_epoch(Duration::from_secs(nearest))
}

/// Who made a certificate, as it says itself, safe to show.
fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.issuer().to_string();
    let shown = name.chars().filter(|c| !c.is_control());
    Some(shown.take(MAX_ISSUER_CHARS).collect())
}

const MAX_ISSUER_CHARS: usize = 120;

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
