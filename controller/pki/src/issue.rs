//! Server certificates with their keys: for the controller's control channel and for the edge's public names.
//! The keys are made here, live in memory only, and are wiped when dropped.

use std::fmt;
use std::sync::Arc;

use malha_proto::{CONTROLLER_TLS_NAME, HostName};
use rcgen::string::Ia5String;
use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, SanType};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::authority::{Leaf, MAX_COMMON_NAME_CHARS, SecretKey};
use crate::{Authority, PkiError, Validity};

/// A server certificate with its chain and its private key.
pub struct IssuedCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<PrivatePkcs8KeyDer<'static>>,
    validity: Validity,
}

impl IssuedCertificate {
    /// The certificate, then its issuers as far as the peer needs them.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key as PKCS#8. Whoever copies it must seal or wipe the copy.
    #[must_use]
    pub fn key(&self) -> &PrivatePkcs8KeyDer<'static> {
        &self.key
    }

    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The pair as rustls takes it, with the key checked against the certificate.
    ///
    /// # Errors
    /// [`PkiError::Tls`] when rustls refuses the key.
    pub fn certified_key(&self) -> Result<Arc<CertifiedKey>, PkiError> {
        let der = Zeroizing::new(PrivateKeyDer::Pkcs8(self.key.clone_key()));
        let certified = CertifiedKey::new(self.chain.clone(), any_supported_type(&der)?);
        certified.keys_match()?;
        Ok(Arc::new(certified))
    }
}

impl fmt::Debug for IssuedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedCertificate")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A server certificate for the control channel: [`CONTROLLER_TLS_NAME`] and `also`. Its chain ends with the authority
    /// itself, because a node that enrols knows only the authority's fingerprint.
    ///
    /// # Errors
    /// [`PkiError::AuthorityEnded`] when the authority is over; [`PkiError::WideWildcard`].
    pub fn issue_controller(
        &self,
        also: &[HostName],
        now: OffsetDateTime,
        days: u16,
    ) -> Result<IssuedCertificate, PkiError> {
        let names: Vec<&str> = std::iter::once(CONTROLLER_TLS_NAME)
            .chain(also.iter().map(HostName::as_str))
            .collect();
        refuse_wide_wildcards(also)?;
        let mut issued = self.issue_server(&names, now, days)?;
        issued.chain.push(self.certificate_der().clone());
        Ok(issued)
    }

    /// A server certificate for public names of the edge; the first one is also the common name.
    ///
    /// # Errors
    /// [`PkiError::NoHostName`], [`PkiError::AuthorityEnded`], [`PkiError::WideWildcard`].
    pub fn issue_edge(
        &self,
        names: &[HostName],
        now: OffsetDateTime,
        days: u16,
    ) -> Result<IssuedCertificate, PkiError> {
        refuse_wide_wildcards(names)?;
        let names: Vec<&str> = names.iter().map(HostName::as_str).collect();
        self.issue_server(&names, now, days)
    }

    fn issue_server(
        &self,
        names: &[&str],
        now: OffsetDateTime,
        days: u16,
    ) -> Result<IssuedCertificate, PkiError> {
        let first = names.first().ok_or(PkiError::NoHostName)?;
        let mut subject = DistinguishedName::new();
        // A longer name stands in the alternative names alone, which rcgen then marks critical (RFC 5280 §4.1.2.6).
        if first.len() <= MAX_COMMON_NAME_CHARS {
            subject.push(DnType::CommonName, *first);
        }
        let mut alternative: Vec<SanType> = Vec::with_capacity(names.len());
        for name in names {
            let san = SanType::DnsName(Ia5String::try_from(*name)?);
            if !alternative.contains(&san) {
                alternative.push(san);
            }
        }
        let leaf = Leaf {
            subject,
            names: alternative,
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            validity: Validity::starting(now, Duration::days(i64::from(days)))?,
        };
        let key = SecretKey::generate()?;
        let (certificate, validity) = self.certify(leaf, &key)?;
        Ok(IssuedCertificate {
            chain: vec![certificate],
            key: Zeroizing::new(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec())),
            validity,
        })
    }
}

/// Browsers and OpenSSL ignore `*.tld`; issuing it would only hide the mistake.
fn refuse_wide_wildcards(names: &[HostName]) -> Result<(), PkiError> {
    match names.iter().find(|name| is_wide_wildcard(name)) {
        Some(name) => Err(PkiError::WideWildcard(name.clone())),
        None => Ok(()),
    }
}

fn is_wide_wildcard(name: &HostName) -> bool {
    name.is_wildcard() && name.as_str().matches('.').count() < 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AuthorityProfile, x509};
    use time::macros::datetime;
    use x509_parser::extensions::GeneralName;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn authority() -> Authority {
        let profile = AuthorityProfile {
            name: "Edge".to_owned(),
            years: 1,
        };
        Authority::create(&profile, NOW).unwrap()
    }

    fn host(name: &str) -> HostName {
        name.parse().unwrap()
    }

    #[test]
    fn the_first_name_is_the_common_name_and_all_are_alternative_names_once() {
        let names = [host("a.example"), host("b.example"), host("A.example")];
        let issued = authority().issue_edge(&names, NOW, 30).unwrap();
        let parsed = x509::parse_certificate(&issued.chain()[0]).unwrap();
        assert_eq!(parsed.subject().to_string(), "CN=a.example");
        assert_eq!(
            x509::alternative_names(&parsed).unwrap(),
            [
                GeneralName::DNSName("a.example"),
                GeneralName::DNSName("b.example")
            ]
        );
    }

    #[test]
    fn a_name_too_long_for_a_common_name_stands_in_the_alternative_names_alone() {
        let name = format!("{}.example", "a".repeat(60));
        let issued = authority().issue_edge(&[host(&name)], NOW, 30).unwrap();
        let parsed = x509::parse_certificate(&issued.chain()[0]).unwrap();
        assert_eq!(parsed.subject().to_string(), "");
        assert!(parsed.subject_alternative_name().unwrap().unwrap().critical);
    }

    #[test]
    fn the_controllers_chain_ends_with_the_pinned_authority_and_the_edges_does_not() {
        let authority = authority();
        let controller = authority.issue_controller(&[], NOW, 30).unwrap();
        let edge = authority.issue_edge(&[host("a.example")], NOW, 30).unwrap();
        assert_eq!(controller.chain().len(), 2);
        assert_eq!(&controller.chain()[1], authority.certificate_der());
        assert_eq!(edge.chain().len(), 1);
    }

    #[test]
    fn requests_that_make_no_server_certificate_are_refused() {
        let authority = authority();
        assert!(matches!(
            authority.issue_edge(&[], NOW, 30),
            Err(PkiError::NoHostName)
        ));
        assert!(matches!(
            authority.issue_edge(&[host("*.example")], NOW, 30),
            Err(PkiError::WideWildcard(_))
        ));
        assert!(matches!(
            authority.issue_edge(&[host("a.example")], NOW, 0),
            Err(PkiError::Lifetime)
        ));
        assert!(matches!(
            authority.issue_controller(&[], NOW + Duration::days(400), 30),
            Err(PkiError::AuthorityEnded { .. })
        ));
    }

    #[test]
    fn debug_shows_no_key() {
        let issued = authority()
            .issue_edge(&[host("a.example")], NOW, 30)
            .unwrap();
        let shown = format!("{issued:?}");
        assert!(shown.starts_with("IssuedCertificate { validity"), "{shown}");
        assert!(!shown.contains("key"), "{shown}");
    }
}
