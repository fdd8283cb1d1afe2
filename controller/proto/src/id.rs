//! Numbers that name things: allocated once by the controller, never reused, opaque to everyone else.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The number of a committed change. It only grows; zero means "before the first change".
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Revision(#[n(0)] pub u64);

impl Revision {
    /// The revision that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} id must look like \"{prefix}12\", not {given:?}")]
pub struct IdError {
    what: &'static str,
    prefix: &'static str,
    given: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_id(text, $prefix).map(Self).ok_or_else(|| IdError {
                    what: $what,
                    prefix: $prefix,
                    given: text.chars().take(MAX_ID_CHARS).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// An órgão, or a company that owns garages.
    OrganizationId, "o", "organization";
    /// A garage, or one environment of an órgão.
    SiteId, "s", "site";
    /// One enrolled machine.
    NodeId, "n", "node";
    /// An enrolment token.
    TokenId, "t", "token";
    /// A named port that a node offers.
    ServiceId, "v", "service";
    /// A public host name and path bound to services.
    RouteId, "r", "route";
    /// A policy rule.
    GrantId, "g", "grant";
    /// A person who operates the overlay.
    OperatorId, "u", "operator";
    /// A key of the HTTP API.
    ApiKeyId, "k", "API key";
    /// A port of a node that is spread over several services.
    BalancerId, "b", "balancer";
}

fn parse_id(text: &str, prefix: &str) -> Option<u64> {
    let digits = text.strip_prefix(prefix)?;
    let canonical = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    canonical.then(|| digits.parse().ok()).flatten()
}

/// How much of a wrong id an error repeats.
const MAX_ID_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints() {
        assert_eq!(NodeId(12).to_string().parse(), Ok(NodeId(12)));
    }

    #[test]
    fn an_id_of_another_kind_is_refused_with_the_right_form() {
        let error = "s12".parse::<NodeId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "node id must look like \"n12\", not \"s12\""
        );
    }

    #[test]
    fn leading_zeros_signs_and_overflow_are_refused() {
        for text in ["n", "n0", "n012", "n+1", "n-1", "n99999999999999999999", ""] {
            assert!(text.parse::<NodeId>().is_err(), "{text:?}");
        }
    }
}
