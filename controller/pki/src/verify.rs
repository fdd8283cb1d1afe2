//! Checks a certificate against an authority and says each finding by itself, for people who must mend it.
//! It is pure: no clock, no files, no network, and it grants nothing.

use malha_proto::Fingerprint;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::PrivateKeyDer;
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::{PkiError, x509};

/// What to check. Only `certificate` and `authority` are required; what is absent is reported as not checked.
#[derive(Clone, Copy, Debug)]
pub struct VerifyRequest<'a> {
    /// The entity's certificate, DER.
    pub certificate: &'a [u8],
    /// The authority that this side trusts, DER.
    pub authority: &'a [u8],
    /// The authority that the other side trusts, DER.
    pub other_authority: Option<&'a [u8]>,
    /// The entity's private key.
    pub key: Option<&'a PrivateKeyDer<'a>>,
    /// The host name that clients will ask for.
    pub name: Option<&'a str>,
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail(Fault),
    /// The request did not hold what this check needs.
    NotChecked,
}

/// What is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("the two sides trust different authorities ({ours} and {theirs})")]
    OtherAuthority {
        ours: Fingerprint,
        theirs: Fingerprint,
    },
    #[error("the private key can't be read; it must be PKCS#8, PKCS#1 or SEC1")]
    KeyUnreadable,
    #[error("the private key belongs to another certificate")]
    KeyMismatch,
    #[error("the certificate is not valid before {0}")]
    NotYetValid(OffsetDateTime),
    #[error("the certificate ended at {0}")]
    Expired(OffsetDateTime),
    #[error("the authority is not valid before {0}")]
    AuthorityNotYetValid(OffsetDateTime),
    #[error("the authority ended at {0}")]
    AuthorityExpired(OffsetDateTime),
    #[error("the authority's certificate may not sign others (needs CA:TRUE and keyCertSign)")]
    NotAnAuthority,
    #[error("the certificate names another issuer")]
    OtherIssuer,
    #[error("the certificate names another key of its issuer")]
    OtherIssuerKey,
    #[error("the certificate is signed with a broken algorithm; use SHA-256 or better")]
    WeakSignature,
    #[error("the authority's signature on the certificate does not verify")]
    BadSignature,
    #[error("the certificate signed itself: anyone could have made it")]
    SelfSigned,
    #[error("the certificate is not for {wanted:?}; its names are: {found}")]
    NameMismatch { wanted: String, found: String },
}

/// The verdicts, in the order in which a person should look at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Both sides trust one authority: the same certificate, or the same key in a renewed one. Names don't count.
    pub same_authority: Verdict,
    pub key_matches: Verdict,
    pub validity: Verdict,
    pub issued_by_authority: Verdict,
    pub not_self_signed: Verdict,
    pub name_matches: Verdict,
}

impl VerifyReport {
    /// Each check with its field's name.
    #[must_use]
    pub fn verdicts(&self) -> [(&'static str, &Verdict); 6] {
        [
            ("same_authority", &self.same_authority),
            ("key_matches", &self.key_matches),
            ("validity", &self.validity),
            ("issued_by_authority", &self.issued_by_authority),
            ("not_self_signed", &self.not_self_signed),
            ("name_matches", &self.name_matches),
        ]
    }

    /// Whether nothing that was checked failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdicts()
            .iter()
            .all(|(_, verdict)| !matches!(verdict, Verdict::Fail(_)))
    }
}

/// Runs all checks; one that fails hides no other.
///
/// # Errors
/// [`PkiError::CertificateMalformed`] when a certificate can't be read at all.
pub fn verify(request: &VerifyRequest<'_>, now: OffsetDateTime) -> Result<VerifyReport, PkiError> {
    let certificate = x509::parse_certificate(request.certificate)?;
    let authority = x509::parse_certificate(request.authority)?;
    let other = request
        .other_authority
        .map(x509::parse_certificate)
        .transpose()?;
    Ok(VerifyReport {
        same_authority: checked(other, |other| same_authority(&authority, &other)),
        key_matches: checked(request.key, |key| key_matches(&certificate, key)),
        validity: validity(&certificate, &authority, now).into(),
        issued_by_authority: issued_by(&certificate, &authority).into(),
        not_self_signed: not_self_signed(&certificate, &authority).into(),
        name_matches: checked(request.name, |name| name_matches(&certificate, name)),
    })
}

fn checked<T>(given: Option<T>, check: impl FnOnce(T) -> Result<(), Fault>) -> Verdict {
    given.map_or(Verdict::NotChecked, |given| check(given).into())
}

impl From<Result<(), Fault>> for Verdict {
    fn from(outcome: Result<(), Fault>) -> Self {
        outcome.map_or_else(Self::Fail, |()| Self::Pass)
    }
}

fn same_authority(ours: &X509Certificate<'_>, theirs: &X509Certificate<'_>) -> Result<(), Fault> {
    // A certificate has one key, so equal keys cover equal certificates.
    if ours.public_key().raw == theirs.public_key().raw {
        return Ok(());
    }
    Err(Fault::OtherAuthority {
        ours: Fingerprint::of(ours.as_raw()),
        theirs: Fingerprint::of(theirs.as_raw()),
    })
}

fn key_matches(certificate: &X509Certificate<'_>, key: &PrivateKeyDer<'_>) -> Result<(), Fault> {
    let public_key = any_supported_type(key)
        .ok()
        .and_then(|key| Some(key.public_key()?.as_ref().to_vec()))
        .ok_or(Fault::KeyUnreadable)?;
    if public_key == certificate.public_key().raw {
        Ok(())
    } else {
        Err(Fault::KeyMismatch)
    }
}

fn validity(
    certificate: &X509Certificate<'_>,
    authority: &X509Certificate<'_>,
    now: OffsetDateTime,
) -> Result<(), Fault> {
    if now < x509::not_before(certificate) {
        Err(Fault::NotYetValid(x509::not_before(certificate)))
    } else if now > x509::not_after(certificate) {
        Err(Fault::Expired(x509::not_after(certificate)))
    } else if now < x509::not_before(authority) {
        Err(Fault::AuthorityNotYetValid(x509::not_before(authority)))
    } else if now > x509::not_after(authority) {
        Err(Fault::AuthorityExpired(x509::not_after(authority)))
    } else {
        Ok(())
    }
}

fn issued_by(
    certificate: &X509Certificate<'_>,
    authority: &X509Certificate<'_>,
) -> Result<(), Fault> {
    if !x509::may_issue(authority) {
        return Err(Fault::NotAnAuthority);
    }
    if certificate.issuer().as_raw() != authority.subject().as_raw() {
        return Err(Fault::OtherIssuer);
    }
    let named = x509::authority_key_id(certificate);
    let held = x509::subject_key_id(authority);
    if named.is_some() && held.is_some() && named != held {
        return Err(Fault::OtherIssuerKey);
    }
    if !x509::is_strong(&certificate.signature_algorithm) {
        return Err(Fault::WeakSignature);
    }
    certificate
        .verify_signature(Some(authority.public_key()))
        .map_err(|_| Fault::BadSignature)
}

/// An entity that bears its issuer's name is self-signed unless the authority's signature proves otherwise.
fn not_self_signed(
    certificate: &X509Certificate<'_>,
    authority: &X509Certificate<'_>,
) -> Result<(), Fault> {
    let same_key = certificate.public_key().raw == authority.public_key().raw;
    let by_authority = certificate
        .verify_signature(Some(authority.public_key()))
        .is_ok();
    let own_name = certificate.subject().as_raw() == certificate.issuer().as_raw();
    if certificate.verify_signature(None).is_ok() || own_name && (same_key || !by_authority) {
        Err(Fault::SelfSigned)
    } else {
        Ok(())
    }
}

/// Only the alternative names count: clients stopped reading the common name (RFC 9525 §2).
fn name_matches(certificate: &X509Certificate<'_>, wanted: &str) -> Result<(), Fault> {
    let folded = wanted.trim_end_matches('.').to_ascii_lowercase();
    let names = x509::alternative_names(certificate).unwrap_or_default();
    let dns: Vec<String> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    let parent = folded.split_once('.').map(|(_, parent)| parent);
    let matches = |dns: &String| {
        *dns == folded
            || parent.is_some_and(|parent| {
                parent.contains('.') && dns.strip_prefix("*.") == Some(parent)
            })
    };
    if dns.iter().any(matches) {
        return Ok(());
    }
    Err(Fault::NameMismatch {
        wanted: wanted.chars().take(MAX_SHOWN_CHARS).collect(),
        found: shown(&dns),
    })
}

fn shown(names: &[String]) -> String {
    if names.is_empty() {
        return "none (a common name alone does not count)".to_owned();
    }
    let listed: Vec<String> = names
        .iter()
        .take(MAX_SHOWN_NAMES)
        .map(|name| {
            format!(
                "{:?}",
                name.chars().take(MAX_SHOWN_CHARS).collect::<String>()
            )
        })
        .collect();
    let more = names.len() - listed.len();
    let tail = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    listed.join(", ") + &tail
}

/// How much a fault repeats of a certificate that may be hostile.
const MAX_SHOWN_CHARS: usize = 253;
const MAX_SHOWN_NAMES: usize = 10;

#[cfg(test)]
mod tests;
