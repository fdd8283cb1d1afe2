//! Names that are safe in DNS, in URLs and on a terminal: lower-case ASCII only, so that no two look alike.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not a name. The text is repeated shortened and with control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("the name is empty; use 1 to 63 of a-z, 0-9 and '-'")]
    Empty,
    #[error("{0:?} has {1} characters; a name has at most {MAX_LABEL_CHARS}")]
    LabelTooLong(String, usize),
    #[error("a host name has at most {MAX_HOST_CHARS} characters, this one has {0}")]
    HostTooLong(usize),
    #[error(
        "{0:?} has {1:?}; a name is made of a-z, 0-9 and '-' (an accented name in its \"xn--\" form)"
    )]
    Character(String, char),
    #[error("{0:?} starts or ends with '-'")]
    Hyphen(String),
    #[error("{0:?} is not a valid internationalized label (IDNA 2008)")]
    Punycode(String),
    #[error("{0:?} has an empty label; remove the extra '.'")]
    EmptyLabel(String),
    #[error("{0:?} must have at least two labels, like \"garagem.example\"")]
    OneLabel(String),
    #[error("{0:?}: '*' may only stand alone as the first label, like \"*.example.com\"")]
    Wildcard(String),
    #[error("{0:?} is an IP address; use a host name")]
    Address(String),
}

/// One DNS label: 1 to 63 of `a-z`, `0-9` and `-`, no hyphen at either end (RFC 1123 §2.1). Names organizations, sites,
/// nodes and services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Serialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Label(#[n(0)] String);

/// A fully qualified host name without the final dot, at least two labels, at most 253 characters; the first label may be
/// `*`. Input in capitals is folded, everything else must be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Serialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct HostName(#[n(0)] String);

impl Label {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl HostName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Whether this name is `zone` or stands below it.
    #[must_use]
    pub fn is_within(&self, zone: &str) -> bool {
        self.0
            .strip_suffix(zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_label(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_HOST_CHARS + 1 {
            return Err(NameError::HostTooLong(text.len()));
        }
        let folded = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if folded.is_empty() {
            return Err(NameError::Empty);
        }
        if folded.len() > MAX_HOST_CHARS {
            return Err(NameError::HostTooLong(folded.len()));
        }
        if folded.parse::<std::net::IpAddr>().is_ok() {
            return Err(NameError::Address(folded));
        }
        let mut labels = folded.split('.').enumerate().peekable();
        let mut count = 0;
        while let Some((at, label)) = labels.next() {
            count += 1;
            match label {
                "" => return Err(NameError::EmptyLabel(folded)),
                "*" if at == 0 && labels.peek().is_some() => {}
                label if label.contains('*') => return Err(NameError::Wildcard(folded)),
                label => check_label(label)?,
            }
        }
        if count < 2 {
            return Err(NameError::OneLabel(folded));
        }
        Ok(Self(folded))
    }
}

fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let shown = || text.chars().take(MAX_SHOWN_CHARS).collect::<String>();
    if let Some(wrong) = text
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))
    {
        return Err(NameError::Character(shown(), wrong));
    }
    if text.len() > MAX_LABEL_CHARS {
        return Err(NameError::LabelTooLong(shown(), text.len()));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Hyphen(shown()));
    }
    if text.starts_with("xn--") && idna::domain_to_unicode(text).1.is_err() {
        return Err(NameError::Punycode(shown()));
    }
    Ok(())
}

macro_rules! text_form {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let at = d.position();
                d.str()?
                    .parse()
                    .map_err(|e: NameError| minicbor::decode::Error::message(e).at(at))
            }
        }
    };
}

text_form!(Label);
text_form!(HostName);

const MAX_LABEL_CHARS: usize = 63;
const MAX_HOST_CHARS: usize = 253;
/// How much of a wrong name an error repeats.
const MAX_SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_labels_are_refused() {
        let long = "a".repeat(65_536);
        for text in [
            "",
            "-a",
            "a-",
            "a.b",
            "..",
            "A",
            "a b",
            "a\n",
            "a\u{202e}b",
            "раураl",
            "ção",
            "*",
            "xn--\u{7f}",
            "xn--zzzzzz99999",
            &long,
        ] {
            assert!(text.parse::<Label>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_character_and_the_right_form() {
        let error = "garagem_01".parse::<Label>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"garagem_01\" has '_'; a name is made of a-z, 0-9 and '-' (an accented name in its \"xn--\" form)"
        );
    }

    #[test]
    fn a_host_name_is_folded_and_loses_its_final_dot() {
        assert_eq!(
            "Garagem-01.Example.".parse::<HostName>().unwrap().as_str(),
            "garagem-01.example"
        );
    }

    #[test]
    fn wrong_host_names_are_refused() {
        let long = format!("{}com", "abc.".repeat(70));
        for text in [
            "",
            ".",
            "a",
            "a..b",
            ".a.b",
            "127.0.0.1",
            "*",
            "*.",
            "a.*.b",
            "a*.b",
            "[::1]",
            "a/b.c",
            &long,
        ] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn within_respects_label_borders() {
        let host: HostName = "a.example.org".parse().unwrap();
        assert!(host.is_within("example.org") && host.is_within("a.example.org"));
        assert!(!host.is_within("ample.org"));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_reads_back_the_same(text in ".{0,80}") {
            if let Ok(host) = text.parse::<HostName>() {
                prop_assert_eq!(host.to_string().parse::<HostName>().unwrap(), host);
            }
            if let Ok(label) = text.parse::<Label>() {
                prop_assert_eq!(label.as_str(), text.as_str());
            }
        }
    }
}
