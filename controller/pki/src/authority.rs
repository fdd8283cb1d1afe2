//! A certificate authority: its certificate, its key in memory, and the sealed form in which both are stored.
//! The key never leaves this type in clear.

use std::fmt;

use aws_lc_rs::rand;
use malha_proto::Fingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::{Zeroize, Zeroizing};

use crate::{MasterKey, PkiError, Sealed, Validity, x509};

/// What makes one authority differ from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityProfile {
    /// The common name, 1 to 64 characters (RFC 5280 A.1), like "Malha overlay authority".
    pub name: String,
    /// 1 to 30; 10 is usual.
    pub years: u8,
}

/// An authority as it may rest on disk: a public certificate and a key that only the master key opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredAuthority {
    pub certificate_pem: String,
    pub sealed_key: Sealed,
}

/// A certificate authority that can sign: P-256, CA:TRUE with path length 0, so that it issues leaves and nothing else.
///
/// There is one per purpose (overlay, edge), shared behind an `Arc`; all methods take `&self`. What it issues is in
/// [`Self::issue_controller`], [`Self::issue_edge`] and [`Self::sign_node_csr`].
pub struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    validity: Validity,
    issuer: Issuer<'static, SecretKey>,
}

impl Authority {
    /// Makes a new authority with a fresh key.
    ///
    /// # Errors
    /// [`PkiError::AuthorityName`] or [`PkiError::AuthorityYears`] for a profile that can't be.
    pub fn create(profile: &AuthorityProfile, now: OffsetDateTime) -> Result<Self, PkiError> {
        let chars = profile.name.chars().count();
        if profile.name.trim().is_empty()
            || chars > MAX_COMMON_NAME_CHARS
            || profile.name.chars().any(char::is_control)
        {
            return Err(PkiError::AuthorityName);
        }
        if !(1..=MAX_YEARS).contains(&profile.years) {
            return Err(PkiError::AuthorityYears {
                years: profile.years,
                max: MAX_YEARS,
            });
        }
        let lifetime = Duration::days(i64::from(profile.years) * DAYS_IN_4_YEARS / 4);
        let validity = Validity::starting(now, lifetime)?;

        let mut params = base_params(&validity)?;
        params
            .distinguished_name
            .push(DnType::CommonName, profile.name.as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = SecretKey::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            issuer: Issuer::from_ca_cert_der(certificate.der(), key)?,
            certificate: certificate.into(),
            validity,
        })
    }

    /// The form to store. The key is sealed for this very certificate: beside another one it does not open.
    ///
    /// # Errors
    /// As [`Sealed::seal`].
    pub fn seal(&self, master: &MasterKey) -> Result<StoredAuthority, PkiError> {
        let purpose = key_purpose(self.fingerprint());
        Ok(StoredAuthority {
            certificate_pem: self.certificate_pem.clone(),
            sealed_key: Sealed::seal(master, &purpose, self.issuer.key().pkcs8())?,
        })
    }

    /// Reads a stored authority back.
    ///
    /// # Errors
    /// [`PkiError::WrongMasterKey`], [`PkiError::SealedDamaged`], or [`PkiError::StoredAuthority`] with what does not fit.
    pub fn open(stored: &StoredAuthority, master: &MasterKey) -> Result<Self, PkiError> {
        let certificate = CertificateDer::from_pem_slice(stored.certificate_pem.as_bytes())
            .map_err(|_| PkiError::StoredAuthority("its certificate is not PEM"))?;
        let parsed = x509::parse_certificate(&certificate)?;
        if !x509::may_issue(&parsed) {
            return Err(PkiError::StoredAuthority(
                "its certificate may not sign others",
            ));
        }
        let purpose = key_purpose(Fingerprint::of(&certificate));
        let key = SecretKey::from_pkcs8(&stored.sealed_key.open(master, &purpose)?)?;
        if key.subject_public_key_info() != parsed.public_key().raw {
            return Err(PkiError::StoredAuthority(
                "its key is not its certificate's",
            ));
        }
        let validity = Validity::between(x509::not_before(&parsed), x509::not_after(&parsed))?;
        Ok(Self {
            certificate_pem: stored.certificate_pem.clone(),
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            validity,
            certificate,
        })
    }

    #[must_use]
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// SHA-256 of the certificate's DER form: what a token carries and a node pins.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    pub(crate) fn key(&self) -> &SecretKey {
        self.issuer.key()
    }

    /// Signs a leaf for `public_key`. Everything in it was decided here, nothing by the requester.
    pub(crate) fn certify(
        &self,
        leaf: Leaf,
        public_key: &impl PublicKeyData,
    ) -> Result<(CertificateDer<'static>, Validity), PkiError> {
        let validity = leaf.validity.within(&self.validity)?;
        let mut params = base_params(&validity)?;
        params.distinguished_name = leaf.subject;
        params.subject_alt_names = leaf.names;
        // Not only "no CA extension": explicit CA:FALSE also brings the subject key identifier.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![leaf.usage];
        let certificate = params.signed_by(public_key, &self.issuer)?;
        Ok((certificate.into(), validity))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &self.fingerprint())
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// The parts of a leaf certificate that differ between profiles.
pub(crate) struct Leaf {
    pub(crate) subject: DistinguishedName,
    pub(crate) names: Vec<SanType>,
    pub(crate) usage: ExtendedKeyUsagePurpose,
    pub(crate) validity: Validity,
}

/// A P-256 signing key; its encoded form is wiped when dropped.
pub(crate) struct SecretKey(KeyPair);

impl SecretKey {
    pub(crate) fn generate() -> Result<Self, PkiError> {
        Ok(Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, PkiError> {
        let mut owned = Zeroizing::new(PrivatePkcs8KeyDer::from(der.to_vec()));
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&owned, &PKCS_ECDSA_P256_SHA256);
        owned.zeroize();
        Ok(Self(key?))
    }

    /// The PKCS#8 form, borrowed: whoever copies it must wipe the copy.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        self.0.serialized_der()
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for SecretKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&self.0)
    }
}

impl SigningKey for SecretKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

fn base_params(validity: &Validity) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = validity.not_before();
    params.not_after = validity.not_after();
    params.serial_number = Some(random_serial()?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// 16 bytes with 126 random bits: positive, and of one length whatever the draw (RFC 5280 §4.1.2.2).
fn random_serial() -> Result<SerialNumber, PkiError> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| PkiError::Random)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}

fn key_purpose(authority: Fingerprint) -> String {
    format!("authority key {authority}")
}

/// Upper bound of X.520 common names (RFC 5280 A.1).
pub(crate) const MAX_COMMON_NAME_CHARS: usize = 64;
const MAX_YEARS: u8 = 30;
const DAYS_IN_4_YEARS: i64 = 1461;

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn profile(name: &str) -> AuthorityProfile {
        AuthorityProfile {
            name: name.to_owned(),
            years: 10,
        }
    }

    fn master() -> MasterKey {
        MasterKey::from_bytes([5; 32])
    }

    #[test]
    fn a_stored_authority_comes_back_the_same_and_its_key_is_nowhere_in_clear() {
        let made = Authority::create(&profile("Malha overlay authority"), NOW).unwrap();
        let stored = made.seal(&master()).unwrap();
        let on_disk = serde_json::to_vec(&stored).unwrap();

        let read: StoredAuthority = serde_json::from_slice(&on_disk).unwrap();
        let opened = Authority::open(&read, &master()).unwrap();

        assert_eq!(opened.fingerprint(), made.fingerprint());
        assert_eq!(opened.validity(), made.validity());
        assert_eq!(opened.issuer.key().pkcs8(), made.issuer.key().pkcs8());
        let secret = made.issuer.key().pkcs8();
        assert!(
            !stored
                .sealed_key
                .as_bytes()
                .windows(16)
                .any(|w| secret.windows(16).any(|s| s == w))
        );
    }

    #[test]
    fn a_wrong_master_key_is_its_own_error() {
        let stored = Authority::create(&profile("a"), NOW)
            .unwrap()
            .seal(&master())
            .unwrap();
        let other = MasterKey::from_bytes([6; 32]);
        assert!(matches!(
            Authority::open(&stored, &other),
            Err(PkiError::WrongMasterKey)
        ));
    }

    #[test]
    fn a_key_stored_beside_another_authoritys_certificate_does_not_open() {
        let a = Authority::create(&profile("a"), NOW)
            .unwrap()
            .seal(&master())
            .unwrap();
        let mut b = Authority::create(&profile("a"), NOW)
            .unwrap()
            .seal(&master())
            .unwrap();
        b.sealed_key = a.sealed_key;
        assert!(matches!(
            Authority::open(&b, &master()),
            Err(PkiError::SealedDamaged { .. })
        ));
    }

    #[test]
    fn profiles_that_can_not_be_are_refused() {
        for name in ["", "  ", "a\nb", &"x".repeat(65)] {
            assert!(matches!(
                Authority::create(&profile(name), NOW),
                Err(PkiError::AuthorityName)
            ));
        }
        for years in [0, 31] {
            let profile = AuthorityProfile {
                name: "a".to_owned(),
                years,
            };
            assert!(matches!(
                Authority::create(&profile, NOW),
                Err(PkiError::AuthorityYears { .. })
            ));
        }
    }

    #[test]
    fn an_authority_lasts_ten_years_and_starts_five_minutes_early() {
        let validity = Authority::create(&profile("São Paulo"), NOW)
            .unwrap()
            .validity();
        assert_eq!(validity.not_before(), datetime!(2026-11-22 11:55 UTC));
        assert_eq!(validity.not_after(), datetime!(2036-11-21 12:00 UTC));
    }

    #[test]
    fn two_certificates_of_one_authority_never_share_a_serial() {
        let serials: std::collections::BTreeSet<_> = (0..1000)
            .map(|_| random_serial().unwrap().to_bytes())
            .collect();
        assert_eq!(serials.len(), 1000);
        assert!(serials.iter().all(|s| s.len() == 16 && s[0] & 0xc0 == 0x40));
    }

    #[test]
    fn debug_shows_the_fingerprint_and_no_key() {
        let authority = Authority::create(&profile("a"), NOW).unwrap();
        let shown = format!("{authority:?}");
        assert!(shown.contains(&authority.fingerprint().to_string()));
        assert!(!shown.contains("issuer"));
    }
}
