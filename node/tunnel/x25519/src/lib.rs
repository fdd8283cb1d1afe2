//! X25519 (RFC 7748) by AWS-LC, with the items of x25519-dalek 2 that boringtun uses, so that it stands in that crate's place. A
//! Diffie-Hellman costs half as much, and handshakes are little else.

#![forbid(unsafe_code)]

use std::sync::Arc;

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use rand_core::{CryptoRng, RngCore};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A point as it goes over the wire. Every 32 bytes are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Zeroize)]
pub struct PublicKey([u8; KEY_BYTES]);

/// A secret scalar. Its copies share one place in memory, which AWS-LC wipes when the last is gone.
#[derive(Clone)]
pub struct Secret(Arc<agreement::PrivateKey>);

/// Of a node: used for all its handshakes.
pub type StaticSecret = Secret;
/// Of one handshake.
pub type ReusableSecret = Secret;
/// Of one Diffie-Hellman.
pub type EphemeralSecret = Secret;

/// What both sides come to.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret([u8; KEY_BYTES]);

impl PublicKey {
    pub fn to_bytes(&self) -> [u8; KEY_BYTES] {
        self.0
    }

    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl From<[u8; KEY_BYTES]> for PublicKey {
    fn from(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl From<&Secret> for PublicKey {
    fn from(secret: &Secret) -> Self {
        let public = secret.0.compute_public_key().ok();
        let bytes = public.and_then(|public| public.as_ref().try_into().ok());
        Self(bytes.expect("AWS-LC made the public key with the secret one, 32 bytes long"))
    }
}

impl Secret {
    pub fn random_from_rng(mut random: impl RngCore + CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random.fill_bytes(bytes.as_mut());
        Self::new(&bytes)
    }

    /// The X25519 function. What it makes of a point of low order is zero, as with x25519-dalek (RFC 7748, section 6.1): who sends such a
    /// point chooses to have no secret, and learns none of ours.
    pub fn diffie_hellman(&self, theirs: &PublicKey) -> SharedSecret {
        let theirs = UnparsedPublicKey::new(&X25519, theirs.0);
        let mut shared = SharedSecret([0; KEY_BYTES]);
        let _low_order = agreement::agree(&self.0, theirs, (), |bytes| {
            shared.0.copy_from_slice(bytes);
            Ok(())
        });
        shared
    }

    fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let key = agreement::PrivateKey::from_private_key(&X25519, bytes);
        Self(Arc::new(
            key.expect("every 32 bytes are a secret of X25519"),
        ))
    }
}

impl From<[u8; KEY_BYTES]> for Secret {
    fn from(bytes: [u8; KEY_BYTES]) -> Self {
        Self::new(&Zeroizing::new(bytes))
    }
}

impl SharedSecret {
    pub fn to_bytes(&self) -> [u8; KEY_BYTES] {
        self.0
    }

    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

const KEY_BYTES: usize = 32;

#[cfg(test)]
mod tests;
