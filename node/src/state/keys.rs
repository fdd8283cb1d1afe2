//! The node's two private keys and its certificate. They are made here and never leave the machine.

use std::path::Path;

use malha_proto::WgKey;
use malha_tunnel::PrivateKey;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{StateError, atomic};
use crate::agent::FreshKeys;

pub(super) const TLS_KEY: &str = "node.key";
pub(super) const WG_KEY: &str = "wg.key";
pub(super) const CERTIFICATE: &str = "node.crt";

/// Keys in use, or keys that wait for their certificate.
pub struct Keys {
    tls: KeyPair,
    /// None: the WireGuard key in use stays.
    pub wireguard: Option<PrivateKey>,
    /// DER; None while the controller has not answered.
    pub certificate: Option<CertificateDer<'static>>,
}

/// When a certificate is valid, seconds of the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before_s: i64,
    pub not_after_s: i64,
}

impl Keys {
    pub(super) fn generate(wireguard: bool) -> Result<Self, StateError> {
        let tls = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| StateError::Key(error.to_string()))?;
        Ok(Self {
            tls,
            wireguard: wireguard.then(PrivateKey::generate),
            certificate: None,
        })
    }

    /// The keys of a folder; None when it has no TLS key.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, StateError> {
        let path = folder.join(TLS_KEY);
        let Some(pem) = atomic::read_secret(&path)? else {
            return Ok(None);
        };
        let tls = KeyPair::from_pem(&pem).map_err(|e| StateError::damaged(&path, e))?;
        let path = folder.join(WG_KEY);
        let wireguard = match atomic::read_secret(&path)? {
            Some(text) => Some(parse_wg_key(&path, &text)?),
            None => None,
        };
        let path = folder.join(CERTIFICATE);
        let certificate = match atomic::read(&path)? {
            Some(pem) => {
                let certificate = CertificateDer::from_pem_slice(&pem);
                Some(certificate.map_err(|e| StateError::damaged(&path, e))?)
            }
            None => None,
        };
        let keys = Self {
            tls,
            wireguard,
            certificate,
        };
        if let Some(certificate) = &keys.certificate {
            keys.check_certificate(certificate)
                .map_err(|e| StateError::damaged(&path, e))?;
        }
        Ok(Some(keys))
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), StateError> {
        let pem = Zeroizing::new(self.tls.serialize_pem());
        atomic::write(&folder.join(TLS_KEY), pem.as_bytes())?;
        match &self.wireguard {
            Some(key) => atomic::write(&folder.join(WG_KEY), key.to_base64().as_bytes()),
            None => Ok(()),
        }
    }

    /// What the controller may know of keys that wait for their certificate.
    pub fn public(&self) -> Result<FreshKeys, StateError> {
        let key_error = |error: rcgen::Error| StateError::Key(error.to_string());
        let params = CertificateParams::new([]).map_err(key_error)?;
        let csr = params.serialize_request(&self.tls).map_err(key_error)?;
        Ok(FreshKeys {
            csr: csr.der().to_vec(),
            wg_key: self.wg_public_key(),
        })
    }

    #[must_use]
    pub fn wg_public_key(&self) -> Option<WgKey> {
        let private = self.wireguard.as_ref()?;
        Some(WgKey(*private.public_key().as_bytes()))
    }

    /// The TLS private key, PKCS#8.
    #[must_use]
    pub fn tls_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.tls.serialize_der()).into()
    }

    /// When the certificate is valid; None without one.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        Validity::of(self.certificate.as_ref()?)
    }

    /// Refuses a certificate that is not of this TLS key.
    pub fn check_certificate(&self, der: &[u8]) -> Result<(), StateError> {
        let (rest, certificate) = X509Certificate::from_der(der)
            .map_err(|error| StateError::Certificate(error.to_string()))?;
        if !rest.is_empty() {
            return Err(StateError::Certificate("bytes follow its end".into()));
        }
        match certificate.public_key().raw == self.tls.subject_public_key_info() {
            true => Ok(()),
            false => Err(StateError::Certificate("it is of another key".into())),
        }
    }
}

impl Validity {
    /// None for what is no certificate.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            not_before_s: validity.not_before.timestamp(),
            not_after_s: validity.not_after.timestamp(),
        })
    }

    /// When the certificate is due for renewal: after two thirds of its life.
    #[must_use]
    pub fn renew_at_s(&self) -> i64 {
        let life_s = self.not_after_s.saturating_sub(self.not_before_s).max(0);
        self.not_before_s.saturating_add(life_s / 3 * 2)
    }
}

pub(super) fn certificate_pem(der: &[u8]) -> Vec<u8> {
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let body = data_encoding::BASE64.encode(der);
    for at in (0..body.len()).step_by(PEM_LINE_CHARS) {
        pem.push_str(&body[at..body.len().min(at + PEM_LINE_CHARS)]);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem.into_bytes()
}

fn parse_wg_key(path: &Path, text: &str) -> Result<PrivateKey, StateError> {
    let key = text.trim_end().parse();
    key.map_err(|_| StateError::damaged(path, "it holds no WireGuard key"))
}

const PEM_LINE_CHARS: usize = 64;
