//! Reading certificates that came from outside: whole or not at all, and only signatures that still prove something.

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AlgorithmIdentifier;

use crate::PkiError;

/// Parses one certificate; trailing bytes are an error.
pub(crate) fn parse_certificate(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(PkiError::CertificateMalformed),
    }
}

/// Whether a signature made today with this algorithm is worth anything; SHA-1 and older are not.
pub(crate) fn is_strong(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    [
        OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384,
        OID_SIG_ED25519,
        OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA,
        OID_PKCS1_SHA512WITHRSA,
        OID_PKCS1_RSASSAPSS,
    ]
    .contains(&algorithm.algorithm)
}

/// The subject alternative names; none when the extension is absent, an error when it is malformed or doubled.
pub(crate) fn alternative_names<'c>(
    certificate: &'c X509Certificate<'_>,
) -> Result<&'c [GeneralName<'c>], PkiError> {
    match certificate.subject_alternative_name() {
        Ok(Some(names)) => Ok(&names.value.general_names),
        Ok(None) => Ok(&[]),
        Err(_) => Err(PkiError::CertificateMalformed),
    }
}

/// The subject key identifier (RFC 5280 §4.2.1.2).
pub(crate) fn subject_key_id<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c [u8]> {
    certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        })
}

/// The identifier of the issuer's key (RFC 5280 §4.2.1.1).
pub(crate) fn authority_key_id<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c [u8]> {
    certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|k| k.0),
            _ => None,
        })
}

/// Whether this certificate may sign others: CA:TRUE and keyCertSign (RFC 5280 §4.2.1.3, §4.2.1.9).
pub(crate) fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.key_usage().ok().flatten();
    certificate.is_ca() && usage.is_some_and(|usage| usage.value.key_cert_sign())
}

pub(crate) fn not_before(certificate: &X509Certificate<'_>) -> OffsetDateTime {
    certificate.validity().not_before.to_datetime()
}

pub(crate) fn not_after(certificate: &X509Certificate<'_>) -> OffsetDateTime {
    certificate.validity().not_after.to_datetime()
}
