//! Statements that an authority signs beside certificates, like the evidence of checks. They begin with words, so that none can
//! be taken for a certificate; who reads them checks the rest.

use rcgen::SigningKey;

use crate::{Authority, PkiError};

impl Authority {
    /// Signs a statement: ECDSA with P-256 and SHA-256, in DER.
    ///
    /// # Errors
    /// [`PkiError::NotAStatement`] if it does not begin with [`STATEMENT_BEGIN`], [`PkiError::Issue`] if the key can't sign.
    pub fn sign_statement(&self, statement: &[u8]) -> Result<Vec<u8>, PkiError> {
        if !statement.starts_with(STATEMENT_BEGIN) {
            return Err(PkiError::NotAStatement);
        }
        Ok(self.key().sign(statement)?)
    }
}

/// What a certificate's signed part never begins with: that is a SEQUENCE, 0x30.
pub const STATEMENT_BEGIN: &[u8] = b"malha ";

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    use time::macros::datetime;

    use super::*;
    use crate::{AuthorityProfile, x509};

    fn authority() -> Authority {
        let profile = AuthorityProfile {
            name: "overlay".to_owned(),
            years: 10,
        };
        Authority::create(&profile, datetime!(2026-11-22 12:00 UTC)).unwrap()
    }

    #[test]
    fn a_statement_verifies_with_its_authoritys_certificate() {
        let authority = authority();
        let signature = authority.sign_statement(b"malha evidence").unwrap();
        let certificate = x509::parse_certificate(authority.certificate_der()).unwrap();
        let key = &certificate.public_key().subject_public_key.data;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
        assert!(key.verify(b"malha evidence", &signature).is_ok());
        assert!(key.verify(b"malha other", &signature).is_err());
    }

    #[test]
    fn nothing_else_is_signed() {
        let authority = authority();
        let certificate = authority.certificate_der().to_vec();
        for other in [&certificate[..], b"", b"malha", b"Malha evidence"] {
            let refused = authority.sign_statement(other);
            assert!(matches!(refused, Err(PkiError::NotAStatement)));
        }
    }
}
