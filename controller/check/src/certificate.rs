//! Certificates as evidence: whether a chain ends at an expected issuer, what a certificate may be used for, until when. It is
//! pure, and its answers are for people to read, not to open a connection by.

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::x509::AlgorithmIdentifier;

use crate::verdict::Fault;

/// A broken rule: which, and what was seen.
pub(crate) type Broken = (Fault, String);

/// A signature that can't be judged, or one that was and is bad.
pub(crate) enum Signature {
    Good,
    Bad,
    Unsupported,
}

pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

/// The certificates of PEM texts, DER; what is none is left out.
pub(crate) fn from_pem(texts: &[String]) -> Vec<Vec<u8>> {
    let blocks = texts.iter().flat_map(|text| {
        let blocks = Pem::iter_from_buffer(text.as_bytes());
        blocks.map_while(Result::ok).collect::<Vec<_>>()
    });
    blocks
        .filter(|block| block.label == "CERTIFICATE" && parse(&block.contents).is_some())
        .map(|block| block.contents)
        .collect()
}

/// Follows signatures from `leaf` over `between` to one of `anchors`, which may be `leaf` itself. Gives the subjects passed; none
/// where a signature can't be judged here.
pub(crate) fn chain(
    leaf: &[u8],
    between: &[&[u8]],
    anchors: &[Vec<u8>],
    now: OffsetDateTime,
) -> Result<Option<String>, Broken> {
    let malformed = || (Fault::CertificateMalformed, "not X.509".to_owned());
    let mut current = parse(leaf).ok_or_else(malformed)?;
    let anchors: Vec<X509Certificate<'_>> = anchors.iter().filter_map(|it| parse(it)).collect();
    let between: Vec<X509Certificate<'_>> = between.iter().filter_map(|it| parse(it)).collect();
    let mut passed = current.subject().to_string();
    for _ in 0..MAX_CHAIN {
        if anchors.iter().any(|it| it.as_raw() == current.as_raw()) {
            return Ok(Some(passed));
        }
        match issuer_among(&current, &anchors)? {
            Found::Issuer(anchor) => {
                may_issue_now(anchor, now)?;
                return Ok(Some(format!("{passed} < {}", anchor.subject())));
            }
            Found::Unsupported => return Ok(None),
            Found::Nobody => {}
        }
        let next = match issuer_among(&current, &between)? {
            Found::Issuer(next) => next,
            Found::Unsupported => return Ok(None),
            Found::Nobody => break,
        };
        may_issue_now(next, now)?;
        passed = format!("{passed} < {}", next.subject());
        current = next.clone();
    }
    let issuer = current.issuer();
    Err((
        Fault::UnknownIssuer,
        format!("{passed}, issued by {issuer}"),
    ))
}

enum Found<'c, 'd> {
    Issuer(&'c X509Certificate<'d>),
    Nobody,
    /// Somebody bears the name, and the signature can't be judged.
    Unsupported,
}

/// Who signed `certificate`; an error when only impostors bear the issuer's name.
fn issuer_among<'c, 'd>(
    certificate: &X509Certificate<'_>,
    among: &'c [X509Certificate<'d>],
) -> Result<Found<'c, 'd>, Broken> {
    let named = among.iter().filter(|it| {
        it.subject().as_raw() == certificate.issuer().as_raw()
            && it.as_raw() != certificate.as_raw()
    });
    let algorithm = &certificate.signature_algorithm;
    let signature = &certificate.signature_value.data;
    let signed = certificate.tbs_certificate.as_ref();
    let mut bad = None;
    for issuer in named {
        if is_weak(algorithm) {
            return Err((Fault::WeakSignature, algorithm.algorithm.to_string()));
        }
        match verify(issuer, algorithm, signature, signed) {
            Signature::Good => return Ok(Found::Issuer(issuer)),
            Signature::Unsupported => return Ok(Found::Unsupported),
            Signature::Bad => {
                let names = format!("{} by {}", certificate.subject(), issuer.subject());
                bad = Some((Fault::ChainSignatureBad, names));
            }
        }
    }
    bad.map_or(Ok(Found::Nobody), Err)
}

fn may_issue_now(issuer: &X509Certificate<'_>, now: OffsetDateTime) -> Result<(), Broken> {
    let usage = issuer.key_usage().ok().flatten();
    if !issuer.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err((Fault::IssuerMayNotIssue, issuer.subject().to_string()));
    }
    if now < not_before(issuer) || now > not_after(issuer) {
        let span = format!("{} to {}", not_before(issuer), not_after(issuer));
        return Err((
            Fault::IssuerExpired,
            format!("{}: {span}", issuer.subject()),
        ));
    }
    Ok(())
}

/// Whether `signature` (a BIT STRING's element or the bare bytes) over `data` was made by this certificate's key.
pub(crate) fn verify(
    certificate: &X509Certificate<'_>,
    algorithm: &AlgorithmIdentifier<'_>,
    signature: &[u8],
    data: &[u8],
) -> Signature {
    let bits = x509_parser::asn1_rs::BitString::new(0, signature);
    let key = certificate.public_key();
    match x509_parser::verify::verify_signature(key, algorithm, &bits, data) {
        Ok(()) => Signature::Good,
        Err(X509Error::SignatureUnsupportedAlgorithm) => Signature::Unsupported,
        Err(_) => Signature::Bad,
    }
}

/// Whether a signature made with this algorithm proves nothing any more: MD5 and SHA-1.
pub(crate) fn is_weak(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    WEAK.contains(&algorithm.algorithm.as_bytes())
}

/// The extended key usage and whether it is critical.
pub(crate) fn extended_usage<'c>(
    certificate: &'c X509Certificate<'_>,
) -> Option<(&'c ExtendedKeyUsage<'c>, bool)> {
    let usage = certificate.extended_key_usage().ok().flatten()?;
    Some((usage.value, usage.critical))
}

/// The subject key identifier (RFC 5280 §4.2.1.2).
pub(crate) fn key_id<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c [u8]> {
    certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        })
}

/// The DNS names and addresses that a certificate is for (RFC 9525: the common name does not count).
pub(crate) fn host_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names
        .map(|it| &it.value.general_names[..])
        .unwrap_or_default();
    let shown = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    shown.take(MAX_SHOWN_NAMES).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(v6).to_string())
}

/// Whether one of the certificate's names covers `host`; a wildcard stands for one label.
pub(crate) fn covers(names: &[String], host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let parent = host.split_once('.').map(|(_, parent)| parent);
    names.iter().any(|name| {
        *name == host
            || parent.is_some_and(|parent| {
                parent.contains('.') && name.strip_prefix("*.") == Some(parent)
            })
    })
}

pub(crate) fn not_before(certificate: &X509Certificate<'_>) -> OffsetDateTime {
    certificate.validity().not_before.to_datetime()
}

pub(crate) fn not_after(certificate: &X509Certificate<'_>) -> OffsetDateTime {
    certificate.validity().not_after.to_datetime()
}

/// Certificates that one chain is followed over.
const MAX_CHAIN: usize = 8;
const MAX_SHOWN_NAMES: usize = 20;

/// md5WithRSAEncryption, sha1WithRSAEncryption in both of its numbers, ecdsa-with-SHA1, dsa-with-sha1.
const WEAK: [&[u8]; 5] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
    &[0x2b, 0x0e, 0x03, 0x02, 0x1d],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01],
    &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03],
];
