//! Sealed records: AES-256-GCM under a key of their own, derived from the master key by HKDF-SHA256 over a random salt.
//! A record opens only with its master key and for its purpose, and never yields a part of itself.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::master_key::KEY_ID_BYTES;
use crate::{MasterKey, PkiError};

/// A record that may rest on disk. Its bytes are: version (1), master key id (8), salt (32), nonce (12), ciphertext, tag
/// (16). Version, key id, salt and purpose are authenticated with the ciphertext. As text it is base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Seals `plaintext`. `purpose` names the record it belongs to ("authority 12ab…"): a record copied elsewhere does not
    /// open there.
    ///
    /// # Errors
    /// [`PkiError::PlaintextTooLong`] above 1 MiB; [`PkiError::Random`] when the system has no randomness.
    pub fn seal(master: &MasterKey, purpose: &str, plaintext: &[u8]) -> Result<Self, PkiError> {
        if plaintext.len() > MAX_PLAINTEXT_BYTES {
            return Err(PkiError::PlaintextTooLong {
                len: plaintext.len(),
            });
        }
        let mut random = [0; SALT_BYTES + NONCE_LEN];
        rand::fill(&mut random).map_err(|_| PkiError::Random)?;
        let (salt, nonce) = random.split_at(SALT_BYTES);

        // Reserved whole, so that no copy of the plaintext is left behind by a growing buffer.
        let mut bytes = Vec::with_capacity(OVERHEAD_BYTES + plaintext.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&master.id());
        bytes.extend_from_slice(&random);
        bytes.extend_from_slice(plaintext);

        let aad = associated_data(&bytes[..AUTHENTICATED_BYTES], purpose);
        let damaged = || sealed_damaged(purpose);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let tag = record_key(master, salt, purpose)?
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut bytes[HEADER_BYTES..])
            .map_err(|_| damaged())?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(Self(bytes))
    }

    /// Opens the record. The plaintext is wiped when dropped.
    ///
    /// # Errors
    /// [`PkiError::WrongMasterKey`] when another master key sealed it; [`PkiError::SealedDamaged`] when any byte was
    /// altered or the purpose is another one.
    pub fn open(&self, master: &MasterKey, purpose: &str) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        let (header, ciphertext) = self.0.split_at(HEADER_BYTES);
        let (authenticated, nonce) = header.split_at(AUTHENTICATED_BYTES);
        let (key_id, salt) = authenticated[1..].split_at(KEY_ID_BYTES);
        if key_id != master.id() {
            return Err(PkiError::WrongMasterKey);
        }
        let damaged = || sealed_damaged(purpose);
        let aad = associated_data(authenticated, purpose);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        let len = record_key(master, salt, purpose)?
            .open_in_place(nonce, Aad::from(aad), &mut plaintext)
            .map_err(|_| damaged())?
            .len();
        plaintext.truncate(len);
        Ok(plaintext)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for Sealed {
    type Error = PkiError;

    /// Takes bytes as they were stored; refuses an unknown version or a length that can't be a record.
    fn try_from(bytes: Vec<u8>) -> Result<Self, PkiError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&found) => {
                return Err(PkiError::SealedVersion {
                    found,
                    known: VERSION,
                });
            }
            None => return Err(PkiError::SealedForm),
        }
        if bytes.len() < OVERHEAD_BYTES || bytes.len() > OVERHEAD_BYTES + MAX_PLAINTEXT_BYTES {
            return Err(PkiError::SealedForm);
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sealed {
    type Error = PkiError;

    fn try_from(text: String) -> Result<Self, PkiError> {
        let bytes = BASE64
            .decode(text.as_bytes())
            .map_err(|_| PkiError::SealedForm)?;
        Self::try_from(bytes)
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        BASE64.encode(&sealed.0)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

fn record_key(master: &MasterKey, salt: &[u8], purpose: &str) -> Result<LessSafeKey, PkiError> {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(master.bytes());
    let info = [b"malha sealed record key".as_slice()];
    let okm = prk
        .expand(&info, &AES_256_GCM)
        .map_err(|_| sealed_damaged(purpose))?;
    Ok(LessSafeKey::new(UnboundKey::from(okm)))
}

fn associated_data(authenticated: &[u8], purpose: &str) -> Vec<u8> {
    [authenticated, purpose.as_bytes()].concat()
}

fn sealed_damaged(purpose: &str) -> PkiError {
    PkiError::SealedDamaged {
        purpose: purpose.to_owned(),
    }
}

/// The longest record; keys and secrets are far shorter.
pub(crate) const MAX_PLAINTEXT_BYTES: usize = 1024 * 1024;
const VERSION: u8 = 1;
const SALT_BYTES: usize = 32;
const AUTHENTICATED_BYTES: usize = 1 + KEY_ID_BYTES + SALT_BYTES;
const HEADER_BYTES: usize = AUTHENTICATED_BYTES + NONCE_LEN;
const TAG_BYTES: usize = 16;
const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn master() -> MasterKey {
        MasterKey::from_bytes([5; 32])
    }

    #[test]
    fn a_record_with_any_byte_altered_does_not_open() {
        let sealed = Sealed::seal(&master(), "authority 1", b"the key").unwrap();
        for at in 0..sealed.0.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = sealed.0.clone();
                bytes[at] ^= flip;
                let opened = Sealed::try_from(bytes).and_then(|s| s.open(&master(), "authority 1"));
                assert!(opened.is_err(), "byte {at} flipped by {flip:#x}");
            }
        }
    }

    #[test]
    fn a_record_cut_or_grown_does_not_open() {
        let sealed = Sealed::seal(&master(), "authority 1", b"the key").unwrap();
        for len in 0..sealed.0.len() {
            let opened = Sealed::try_from(sealed.0[..len].to_vec())
                .and_then(|s| s.open(&master(), "authority 1"));
            assert!(opened.is_err(), "cut to {len}");
        }
        let mut grown = sealed.0;
        grown.push(0);
        assert!(
            Sealed::try_from(grown)
                .unwrap()
                .open(&master(), "authority 1")
                .is_err()
        );
    }

    #[test]
    fn another_master_key_another_purpose_and_another_version_are_told_apart() {
        let sealed = Sealed::seal(&master(), "authority 1", b"the key").unwrap();
        let other = MasterKey::from_bytes([6; 32]);
        assert!(matches!(
            sealed.open(&other, "authority 1"),
            Err(PkiError::WrongMasterKey)
        ));
        assert!(matches!(
            sealed.open(&master(), "authority 2"),
            Err(PkiError::SealedDamaged { purpose }) if purpose == "authority 2"
        ));
        let mut newer = sealed.0;
        newer[0] = 2;
        assert!(matches!(
            Sealed::try_from(newer),
            Err(PkiError::SealedVersion { found: 2, known: 1 })
        ));
    }

    #[test]
    fn neither_the_bytes_nor_debug_show_the_plaintext() {
        let sealed = Sealed::seal(&master(), "p", b"a very secret text").unwrap();
        assert!(
            !sealed
                .0
                .windows(6)
                .any(|w| b"a very secret text".windows(6).any(|s| s == w))
        );
        assert_eq!(format!("{sealed:?}"), "Sealed(87 bytes)");
    }

    #[test]
    fn the_same_plaintext_sealed_twice_shares_no_salt_and_no_ciphertext() {
        let a = Sealed::seal(&master(), "p", b"the key").unwrap();
        let b = Sealed::seal(&master(), "p", b"the key").unwrap();
        assert_ne!(a.0[9..41], b.0[9..41]);
        assert_ne!(a.0[HEADER_BYTES..], b.0[HEADER_BYTES..]);
    }

    #[test]
    fn a_record_over_the_limit_is_refused() {
        assert!(matches!(
            Sealed::seal(&master(), "p", &vec![0; MAX_PLAINTEXT_BYTES + 1]),
            Err(PkiError::PlaintextTooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_after_a_trip_through_text(
            key: [u8; 32], purpose in ".{0,40}", plaintext in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let master = MasterKey::from_bytes(key);
            let sealed = Sealed::seal(&master, &purpose, &plaintext).unwrap();
            let text = serde_json::to_string(&sealed).unwrap();
            let read: Sealed = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&*read.open(&master, &purpose).unwrap(), &plaintext);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(sealed) = Sealed::try_from([vec![1], bytes].concat()) {
                prop_assert!(sealed.open(&master(), "p").is_err());
            }
        }
    }
}
