//! Keys, fingerprints and secrets with one text form each. A secret's `Debug` shows nothing.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("a WireGuard key is 44 base64 characters that hold 32 bytes")]
    WgKey,
    #[error("a fingerprint is 64 lower-case hexadecimal digits")]
    Fingerprint,
    #[error("a machine id is 32 lower-case hexadecimal digits")]
    MachineId,
}

/// A WireGuard public key (Curve25519), 44 base64 characters as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WgKey(pub [u8; 32]);

/// SHA-256 of a certificate's DER form, 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// A hash that stays the same for one machine and differs between two; it names no one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER form.
    #[must_use]
    pub fn of(certificate_der: &[u8]) -> Self {
        Self(Sha256::digest(certificate_der).into())
    }
}

macro_rules! public_bytes {
    ($name:ident, $len:literal, $encoding:ident, $error:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$encoding.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                let bytes = $encoding
                    .decode(text.as_bytes())
                    .map_err(|_| KeyError::$error)?;
                bytes.try_into().map(Self).map_err(|_| KeyError::$error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        fixed_bytes!($name, $len);
    };
}

/// CBOR byte strings of one length; any other length is a decoding error.
macro_rules! fixed_bytes {
    ($name:ident, $len:literal) => {
        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let at = d.position();
                let bytes = d.bytes()?;
                <[u8; $len]>::try_from(bytes).map(Self).map_err(|_| {
                    minicbor::decode::Error::message(concat!(
                        stringify!($name),
                        " of another length"
                    ))
                    .at(at)
                })
            }
        }
    };
}

public_bytes!(WgKey, 32, BASE64, WgKey);
public_bytes!(Fingerprint, 32, HEXLOWER, Fingerprint);
public_bytes!(MachineId, 16, HEXLOWER, MachineId);

/// Thirty-two secret bytes: wiped when dropped, compared in constant time, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret32(pub [u8; 32]);

/// What a node must show to prove that it is the newest holder of its identity: a fresh one is handed out at each
/// session, so that of two copies of one disk only one can keep up.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Lease(pub [u8; 16]);

impl Secret32 {
    /// What the controller keeps instead of the secret: SHA-256, enough for 256 random bits.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl Lease {
    /// What the controller keeps instead of the lease.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

macro_rules! secret_bytes {
    ($name:ident, $len:literal) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        fixed_bytes!($name, $len);
    };
}

secret_bytes!(Secret32, 32);
secret_bytes!(Lease, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows_in_debug() {
        assert_eq!(
            format!("{:?} {:?}", Secret32([7; 32]), Lease([7; 16])),
            "Secret32(..) Lease(..)"
        );
    }

    #[test]
    fn public_keys_read_back_what_they_print() {
        let key = WgKey([9; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        let fingerprint = Fingerprint::of(b"certificate");
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert_eq!("AAAA".parse::<WgKey>(), Err(KeyError::WgKey));
        assert!(
            minicbor::decode::<WgKey>(
                &minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![0; 31])).unwrap()
            )
            .is_err()
        );
    }
}
