//! Host names as the edge compares them: lower-case ASCII, no port, no trailing dot. Never resolves a name.

use std::borrow::Borrow;
use std::fmt;

/// Longest host name in bytes, without the trailing dot (RFC 1035 §2.3.4).
pub const MAX_HOST_BYTES: usize = 253;

/// A host name: exact (`app.example.org`) or a wildcard for one label (`*.example.org`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Box<str>);

/// Why a text is not a host name; always the fault of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the host name is empty; write it like `app.example.org`")]
    Empty,
    #[error("the host name has {bytes} bytes; the limit is {MAX_HOST_BYTES}")]
    TooLong { bytes: usize },
    #[error("label {position} of the host name is empty or longer than {MAX_LABEL_BYTES} bytes")]
    LabelLength { position: usize },
    #[error(
        "label {position} of the host name may hold only a-z, 0-9, `-` and `_`, and no `-` at either end; \
         write other alphabets in their `xn--` form"
    )]
    LabelText { position: usize },
    #[error("`*` may only stand alone as the first label, as in `*.example.org`")]
    Wildcard,
    #[error("the port after the host name is not a number from 0 to 65535")]
    Port,
    #[error("an address in brackets is not a host name")]
    AddressLiteral,
}

impl HostName {
    /// Parses a configured name; capitals and one trailing dot are forgiven.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > MAX_HOST_BYTES {
            return Err(HostError::TooLong { bytes: name.len() });
        }
        let labels = match name.strip_prefix("*.") {
            Some(parent) => parent,
            None => name,
        };
        if labels.contains('*') {
            return Err(HostError::Wildcard);
        }
        for (index, label) in labels.split('.').enumerate() {
            check_label(label, index + 1)?;
        }
        Ok(Self(name.to_ascii_lowercase().into_boxed_str()))
    }

    /// Reads the host out of a `Host` header or `:authority` (RFC 9110 §7.2): the port is checked and dropped.
    pub fn from_authority(authority: &str) -> Result<Self, HostError> {
        if authority.starts_with('[') {
            return Err(HostError::AddressLiteral);
        }
        let host = match authority.split_once(':') {
            None => authority,
            Some((host, port)) => {
                let digits = port.bytes().all(|byte| byte.is_ascii_digit());
                if !digits || !(port.is_empty() || port.parse::<u16>().is_ok()) {
                    return Err(HostError::Port);
                }
                host
            }
        };
        let name = Self::parse(host)?;
        if name.is_wildcard() {
            return Err(HostError::Wildcard);
        }
        Ok(name)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Everything after the first label; `None` for a name of one label.
    pub(crate) fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, parent)| parent)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for HostName {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::parse(text)
    }
}

fn check_label(label: &str, position: usize) -> Result<(), HostError> {
    if label.is_empty() || label.len() > MAX_LABEL_BYTES {
        return Err(HostError::LabelLength { position });
    }
    let field = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !label.bytes().all(field) || label.starts_with('-') || label.ends_with('-') {
        return Err(HostError::LabelText { position });
    }
    Ok(())
}

/// RFC 1035 §2.3.4.
const MAX_LABEL_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn capitals_port_and_trailing_dot_name_the_same_host() {
        for spelling in [
            "app.example.org",
            "APP.Example.ORG",
            "app.example.org.",
            "app.example.org:8443",
            "App.Example.Org.:443",
            "app.example.org:",
        ] {
            let host = HostName::from_authority(spelling).unwrap();
            assert_eq!(host.as_str(), "app.example.org", "{spelling}");
        }
    }

    #[test]
    fn hostile_names_are_refused_with_the_place_of_the_mistake() {
        let cases = [
            ("", HostError::Empty),
            (".", HostError::Empty),
            ("..", HostError::LabelLength { position: 1 }),
            ("a..b", HostError::LabelLength { position: 2 }),
            ("../etc", HostError::LabelLength { position: 1 }),
            ("a.b\u{0}c", HostError::LabelText { position: 2 }),
            ("a b.org", HostError::LabelText { position: 1 }),
            ("user@a.org", HostError::LabelText { position: 1 }),
            ("раypal.org", HostError::LabelText { position: 1 }),
            ("-a.org", HostError::LabelText { position: 1 }),
            ("a.*.org", HostError::Wildcard),
            ("*.a.org", HostError::Wildcard),
            ("a.org:https", HostError::Port),
            ("a.org:70000", HostError::Port),
            ("a.org:80:80", HostError::Port),
            ("[::1]:443", HostError::AddressLiteral),
        ];
        for (text, reason) in cases {
            assert_eq!(HostName::from_authority(text), Err(reason), "{text:?}");
        }
        let huge = "a".repeat(64 * 1024);
        assert_eq!(
            HostName::from_authority(&huge),
            Err(HostError::TooLong { bytes: 64 * 1024 })
        );
    }

    #[test]
    fn a_wildcard_stands_for_a_whole_first_label() {
        assert!(HostName::parse("*.Example.org").unwrap().is_wildcard());
        assert_eq!(HostName::parse("*"), Err(HostError::Wildcard));
        assert_eq!(HostName::parse("a*.example.org"), Err(HostError::Wildcard));
    }

    proptest! {
        #[test]
        fn any_text_parses_to_lower_case_or_is_refused(text in "\\PC{0,80}") {
            if let Ok(host) = HostName::from_authority(&text) {
                let name = host.as_str();
                prop_assert!(name.len() <= MAX_HOST_BYTES);
                prop_assert_eq!(name.to_ascii_lowercase(), name);
                let again = HostName::from_authority(name);
                prop_assert_eq!(again.as_ref(), Ok(&host));
            }
        }
    }
}
