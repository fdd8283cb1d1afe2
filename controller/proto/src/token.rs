//! The enrolment token: where the controller is, how to know it is the right one, and the secret that lets one machine in.

use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{Fingerprint, Secret32, TokenId};

/// The longest token text that is looked at.
pub const MAX_TOKEN_CHARS: usize = 2_048;

/// How many controller addresses a token may carry.
pub const MAX_TOKEN_ADDRESSES: usize = 8;

/// An enrolment token as the operator hands it to a machine. Its `Debug` shows no secret; [`EnrolToken::expose`] is the
/// only way to its text.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EnrolToken {
    /// Which token this is; public.
    #[n(0)]
    pub id: TokenId,
    /// Proves the right to enrol; the controller keeps only its hash.
    #[n(1)]
    pub secret: Secret32,
    /// The overlay authority's certificate: the first connection is already authenticated.
    #[n(2)]
    pub authority: Fingerprint,
    /// Controllers as `host:port`, tried in order; UDP and TCP on the same port.
    #[n(3)]
    pub controllers: Vec<String>,
}

/// Why a text is not a token. None of these repeats the text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error("this is not an enrolment token: it must start with \"{PREFIX}\"")]
    Prefix,
    #[error("the token is longer than {MAX_TOKEN_CHARS} characters")]
    TooLong,
    #[error("the token was cut or mistyped: copy it again whole, on one line")]
    Damaged,
    #[error("the token is of a newer version of Malha: update malha-node")]
    Newer,
    #[error(
        "the token carries no usable controller address (host:port, 1 to {MAX_TOKEN_ADDRESSES} of them)"
    )]
    Addresses,
}

impl EnrolToken {
    /// The text of the token, with its secret: for the person it is made for, never for a log.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut body = vec![VERSION];
        match minicbor::encode(self, &mut body) {
            Ok(()) => {}
            Err(infallible) => unreachable!("a Vec takes every write: {infallible}"),
        }
        text_of(body)
    }
}

/// A version and a message as the text of a token. Whatever they are, the text is whole.
pub(crate) fn text_of(mut body: Vec<u8>) -> String {
    let sum = checksum(&body);
    body.extend_from_slice(&sum);
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&body))
}

impl FromStr for EnrolToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > MAX_TOKEN_CHARS {
            return Err(TokenError::TooLong);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        let bytes = BASE64URL_NOPAD
            .decode(encoded.as_bytes())
            .map_err(|_| TokenError::Damaged)?;
        let (body, sum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(TokenError::Damaged)?;
        if *sum != checksum(body) {
            return Err(TokenError::Damaged);
        }
        let (version, message) = body.split_first().ok_or(TokenError::Damaged)?;
        if *version != VERSION {
            return Err(TokenError::Newer);
        }
        let token: Self = minicbor::decode(message).map_err(|_| TokenError::Damaged)?;
        let usable = (1..=MAX_TOKEN_ADDRESSES).contains(&token.controllers.len())
            && token
                .controllers
                .iter()
                .all(|address| is_host_and_port(address));
        usable.then_some(token).ok_or(TokenError::Addresses)
    }
}

/// `host:port` or `[IPv6]:port`, without anything a resolver or a terminal could stumble on.
fn is_host_and_port(address: &str) -> bool {
    if address
        .parse::<std::net::SocketAddr>()
        .is_ok_and(|address| address.port() != 0)
    {
        return true;
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let plain = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    plain
        && !host.is_empty()
        && host.len() <= 253
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    [digest[0], digest[1], digest[2], digest[3]]
}

const PREFIX: &str = "malha_";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> EnrolToken {
        EnrolToken {
            id: TokenId(7),
            secret: Secret32([42; 32]),
            authority: Fingerprint([1; 32]),
            controllers: vec!["hub.example:443".into(), "[2001:db8::1]:443".into()],
        }
    }

    #[test]
    fn a_token_reads_back_what_it_exposes_even_with_blanks_around() {
        let text = token().expose();
        assert_eq!(format!("  {text}\n").parse(), Ok(token()));
    }

    #[test]
    fn debug_hides_the_secret() {
        assert!(format!("{:?}", token()).contains("Secret32(..)"));
    }

    #[test]
    fn each_fault_has_its_own_error() {
        let text = token().expose();
        assert_eq!("garagem".parse::<EnrolToken>(), Err(TokenError::Prefix));
        assert_eq!(
            text[..text.len() - 4].parse::<EnrolToken>(),
            Err(TokenError::Damaged)
        );
        assert_eq!(
            "a".repeat(MAX_TOKEN_CHARS + 1).parse::<EnrolToken>(),
            Err(TokenError::TooLong)
        );
        let nowhere = EnrolToken {
            controllers: vec![],
            ..token()
        };
        assert_eq!(
            nowhere.expose().parse::<EnrolToken>(),
            Err(TokenError::Addresses)
        );
        let hostile = EnrolToken {
            controllers: vec!["a b:443".into()],
            ..token()
        };
        assert_eq!(
            hostile.expose().parse::<EnrolToken>(),
            Err(TokenError::Addresses)
        );
    }

    proptest! {
        #[test]
        fn one_changed_character_is_noticed(at in 0_usize..100, with in "[A-Za-z0-9_-]") {
            let text = token().expose();
            let at = PREFIX.len() + at % (text.len() - PREFIX.len());
            let mut changed = text.clone();
            changed.replace_range(at..=at, &with);
            if changed != text {
                prop_assert!(changed.parse::<EnrolToken>().is_err());
            }
        }

        #[test]
        fn no_text_makes_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            crate::fuzz::token(&bytes);
        }
    }
}
