//! Curve25519 and preshared keys with their base64 text form. Secrets never appear in Debug output and are wiped when
//! dropped; reading and writing key files is the caller's job.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of every WireGuard key in bytes.
pub(crate) const KEY_BYTES: usize = 32;

/// A node's Curve25519 private key; it never leaves the machine that made it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; KEY_BYTES]);

/// A node's Curve25519 public key: its identity on the overlay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

/// A symmetric key mixed into the handshake of one pair of nodes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; KEY_BYTES]);

/// What one end of a relay channel proves itself with; known to that node and to the relay, to nobody else.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RelayKey([u8; KEY_BYTES]);

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 44 characters of base64 (32 bytes); this text has {characters} characters")]
pub struct KeyError {
    characters: usize,
}

impl PrivateKey {
    /// A new key from the operating system's random source.
    pub fn generate() -> Self {
        Self(random_bytes())
    }

    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.secret()).to_bytes())
    }

    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(&self.0))
    }

    pub(crate) fn secret(&self) -> StaticSecret {
        StaticSecret::from(self.0)
    }
}

impl PublicKey {
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.0)
    }
}

impl PresharedKey {
    /// A new key from the operating system's random source.
    pub fn generate() -> Self {
        Self(random_bytes())
    }

    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(&self.0))
    }
}

impl RelayKey {
    /// A new key from the operating system's random source.
    pub fn generate() -> Self {
        Self(random_bytes())
    }

    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        parse(text).map(Self)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        parse(text).map(Self)
    }
}

impl FromStr for PresharedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        parse(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(redacted)")
    }
}

impl fmt::Debug for RelayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayKey(redacted)")
    }
}

fn parse(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    let wrong = KeyError {
        characters: text.chars().count(),
    };
    let mut decoded = BASE64.decode(text.as_bytes()).map_err(|_| wrong)?;
    let bytes = decoded.as_slice().try_into().map_err(|_| wrong);
    decoded.zeroize();
    bytes
}

fn random_bytes() -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).expect(
        "a machine without a random source can have no keys, so there is nothing to go on with",
    );
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let key = PrivateKey::generate();
        let again: PrivateKey = key.to_base64().parse().unwrap();
        assert_eq!(again.public_key(), key.public_key());
    }

    #[test]
    fn a_short_key_is_refused_with_its_length() {
        let error = "AAAA".parse::<PublicKey>().unwrap_err();
        assert!(error.to_string().contains("this text has 4 characters"));
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let key = PrivateKey::from_bytes([7; KEY_BYTES]);
        let shared = PresharedKey::from_bytes([7; KEY_BYTES]);
        let relay = RelayKey::from_bytes([7; KEY_BYTES]);
        assert_eq!(
            format!("{key:?} {shared:?} {relay:?}"),
            "PrivateKey(redacted) PresharedKey(redacted) RelayKey(redacted)"
        );
    }

    #[test]
    fn public_key_is_the_one_wg_pubkey_prints() {
        let key = PrivateKey::from_bytes([7; KEY_BYTES]);
        assert_eq!(
            key.public_key().to_base64(),
            "E75P6uryBMf9M1j8nAByGIHRdCeBKCJ+xnTzf3/pe20="
        );
    }
}
