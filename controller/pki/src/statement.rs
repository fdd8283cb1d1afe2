//! Statements that an authority signs beside certificates, like evidence of checks. What is signed starts with the statement's
//! purpose, so that it can be taken for no other statement and for no certificate.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::SigningKey;

use crate::{Authority, PkiError, x509};

impl Authority {
    /// Signs a statement: ECDSA with P-256 and SHA-256, in DER. `purpose` is a constant of the caller.
    ///
    /// # Errors
    /// [`PkiError::Issue`] if the key can't sign.
    pub fn sign_statement(&self, purpose: &str, statement: &[u8]) -> Result<Vec<u8>, PkiError> {
        Ok(self.key().sign(&signed_bytes(purpose, statement))?)
    }
}

/// Whether the authority with this certificate (DER) signed this statement for this purpose. The certificate's validity is not
/// looked at: a statement outlives it.
///
/// # Errors
/// [`PkiError::CertificateMalformed`].
pub fn is_signed_statement(
    authority: &[u8],
    purpose: &str,
    statement: &[u8],
    signature: &[u8],
) -> Result<bool, PkiError> {
    let certificate = x509::parse_certificate(authority)?;
    let key = &certificate.public_key().subject_public_key.data;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
    let message = signed_bytes(purpose, statement);
    Ok(key.verify(&message, signature).is_ok())
}

/// A certificate's signed part starts with the byte 0x30, this with a letter.
fn signed_bytes(purpose: &str, statement: &[u8]) -> Vec<u8> {
    let length = u64::try_from(purpose.len()).unwrap_or(u64::MAX);
    [PREFIX, &length.to_be_bytes(), purpose.as_bytes(), statement].concat()
}

const PREFIX: &[u8] = b"malha statement 1\n";

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::AuthorityProfile;

    fn authority(name: &str) -> Authority {
        let profile = AuthorityProfile {
            name: name.to_owned(),
            years: 10,
        };
        Authority::create(&profile, datetime!(2026-11-22 12:00 UTC)).unwrap()
    }

    #[test]
    fn a_statement_verifies_with_its_authority_purpose_and_words_only() {
        let (signer, other) = (authority("overlay"), authority("edge"));
        let signature = signer.sign_statement("evidence", b"words").unwrap();
        let is_signed = |authority: &Authority, purpose, statement: &[u8], signature: &[u8]| {
            is_signed_statement(authority.certificate_der(), purpose, statement, signature).unwrap()
        };
        assert!(is_signed(&signer, "evidence", b"words", &signature));
        assert!(!is_signed(&other, "evidence", b"words", &signature));
        assert!(!is_signed(&signer, "backup", b"words", &signature));
        assert!(!is_signed(&signer, "evidence", b"other words", &signature));
        assert!(!is_signed(&signer, "evidencew", b"ords", &signature));
        assert!(!is_signed(&signer, "evidence", b"words", &signature[1..]));
        assert!(!is_signed(&signer, "evidence", b"words", b""));
        assert!(is_signed_statement(b"no certificate", "evidence", b"words", &signature).is_err());
    }
}
