//! Names as operators write them: zone names, owner names and targets, lower-cased and ASCII only.
//! It never converts an internationalized name by itself; it names the A-label form to write.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use hickory_proto::rr::Name;
use serde::{Deserialize, Serialize};

use crate::key::NameKey;

/// An absolute name inside record data, such as the target of a CNAME or MX.
///
/// The text form must end with a dot, so that nobody has to guess whether the zone's name is appended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(Name);

/// The name of a zone's apex. Printed without the final dot; parsed with or without it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(DomainName);

/// The owner name of a record set: relative to the zone (`www`, `*.dev`, `@` for the apex), or
/// absolute when it ends with a dot. Inside a [`crate::Zone`] it is always relative.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordName {
    /// Labels joined by dots, without a final dot; empty for the apex.
    labels: Box<str>,
    absolute: bool,
}

/// Why a text is not a name, where, and what would be right. Names are shown escaped and shortened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name is empty; write a name such as `www`, or `@` for the zone itself")]
    Empty,
    #[error("`{name}` has characters outside ASCII; {}", a_label_advice(.a_label))]
    NotAscii {
        name: String,
        a_label: Option<String>,
    },
    #[error(
        "`{name}` has an empty label; labels are separated by one dot and only the end may be a dot"
    )]
    EmptyLabel { name: String },
    #[error("label `{label}` is {bytes} bytes long; a label has at most {MAX_LABEL_BYTES}")]
    LabelTooLong { label: String, bytes: usize },
    #[error(
        "the name starting `{name}` is too long; a full name has at most {MAX_NAME_CHARS} characters"
    )]
    TooLong { name: String },
    #[error("`{name}` has the character `{found}`; allowed are a-z, 0-9, `-` and `_`")]
    BadCharacter { name: String, found: String },
    #[error("label `{label}` begins or ends with `-`; put a letter or digit there")]
    HyphenAtEdge { label: String },
    #[error(
        "`{name}` has `*` in a place where it has no meaning; only the whole first label of an owner name may be `*`"
    )]
    MisplacedWildcard { name: String },
    #[error("`{name}` does not end with a dot; write `{name}.` if that is the full name")]
    NotAbsolute { name: String },
    #[error("`{name}` is an address; this place needs a name, which in turn has an A record")]
    Address { name: String },
    #[error("the root is not a zone this server can hold; write a name such as `example.org`")]
    Root,
    #[error("`{name}` is not in the zone `{zone}`")]
    OutsideZone { name: String, zone: String },
    #[error(
        "`{name}` without a final dot would become `{name}.{zone}`; write `{relative}` or `{name}.`"
    )]
    ZoneRepeated {
        name: String,
        zone: String,
        relative: String,
    },
}

impl DomainName {
    /// The root name, which MX and SRV use to say "none" (RFC 7505, RFC 2782).
    pub fn root() -> Self {
        Self(Name::root())
    }

    pub fn is_root(&self) -> bool {
        self.0.is_root()
    }

    pub(crate) fn wire(&self) -> &Name {
        &self.0
    }

    /// Bytes of the uncompressed wire form.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.0.iter().map(|label| label.len() + 1).sum::<usize>() + 1
    }

    fn from_labels(labels: &str) -> Result<Self, NameError> {
        let parts = labels.split('.').map(str::as_bytes);
        Name::from_labels(parts)
            .map(Self)
            .map_err(|_| NameError::TooLong {
                name: shown(labels),
            })
    }
}

impl ZoneName {
    /// The same name as an absolute name.
    pub fn domain(&self) -> &DomainName {
        &self.0
    }

    pub(crate) fn key(&self) -> NameKey {
        NameKey::of(self.0.wire())
    }

    fn labels(&self) -> String {
        let text = self.0.to_string();
        text.trim_end_matches('.').to_owned()
    }
}

impl RecordName {
    /// The zone's own name, written `@`.
    pub fn apex() -> Self {
        Self {
            labels: "".into(),
            absolute: false,
        }
    }

    pub fn is_apex(&self) -> bool {
        !self.absolute && self.labels.is_empty()
    }

    /// Whether the first label is `*` (RFC 4592).
    pub fn is_wildcard(&self) -> bool {
        self.labels.split('.').next() == Some("*")
    }

    /// The same name relative to `zone`, or why it cannot stand there.
    pub fn relative_to(&self, zone: &ZoneName) -> Result<Self, NameError> {
        let origin = zone.labels();
        if !self.absolute {
            return self.checked_under(&origin);
        }
        if *self.labels == *origin {
            return Ok(Self::apex());
        }
        match strip_origin(&self.labels, &origin) {
            Some(relative) => Ok(Self {
                labels: relative.into(),
                absolute: false,
            }),
            None => Err(NameError::OutsideZone {
                name: shown(&self.to_string()),
                zone: origin,
            }),
        }
    }

    /// The absolute name that this owner has in `zone`.
    pub fn absolute_in(&self, zone: &ZoneName) -> Result<DomainName, NameError> {
        let relative = self.relative_to(zone)?;
        if relative.is_apex() {
            return Ok(zone.0.clone());
        }
        DomainName::from_labels(&format!("{}.{}", relative.labels, zone.labels()))
    }

    /// The lookup key of a relative name below its zone.
    pub(crate) fn key(&self) -> NameKey {
        debug_assert!(!self.absolute, "keys are made of relative names");
        NameKey::of_labels(self.labels.split('.').filter(|label| !label.is_empty()))
    }

    fn checked_under(&self, origin: &str) -> Result<Self, NameError> {
        let relative = if *self.labels == *origin {
            Some("")
        } else {
            strip_origin(&self.labels, origin)
        };
        if let Some(relative) = relative {
            return Err(NameError::ZoneRepeated {
                name: shown(&self.labels),
                zone: origin.to_owned(),
                relative: if relative.is_empty() { "@" } else { relative }.to_owned(),
            });
        }
        if self.labels.len() + 1 + origin.len() > MAX_NAME_CHARS {
            return Err(NameError::TooLong {
                name: shown(&self.labels),
            });
        }
        Ok(self.clone())
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let (labels, absolute) = checked_labels(text, Wildcard::Refused)?;
        if labels.parse::<Ipv4Addr>().is_ok() {
            return Err(NameError::Address { name: labels });
        }
        if !absolute {
            return Err(NameError::NotAbsolute {
                name: shown(&labels),
            });
        }
        Self::from_labels(&labels)
    }
}

impl FromStr for ZoneName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Err(NameError::Root);
        }
        let (labels, _) = checked_labels(text, Wildcard::Refused)?;
        DomainName::from_labels(&labels).map(Self)
    }
}

impl FromStr for RecordName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "@" {
            return Ok(Self::apex());
        }
        let (labels, absolute) = checked_labels(text, Wildcard::First)?;
        Ok(Self {
            labels: labels.into(),
            absolute,
        })
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.0.iter() {
            for byte in label {
                fmt::Write::write_char(f, char::from(*byte))?;
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.labels())
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.labels.is_empty(), self.absolute) {
            (true, _) => f.write_str("@"),
            (false, false) => f.write_str(&self.labels),
            (false, true) => write!(f, "{}.", self.labels),
        }
    }
}

/// Debug as the text form, and conversions through text, for every name type.
macro_rules! through_text {
    ($($name:ty),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    )*};
}

through_text!(DomainName, ZoneName, RecordName);

/// `text` escaped and cut to a length that is safe in an error or a log line.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String = text
        .chars()
        .take(MAX_SHOWN_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        out.push('…');
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wildcard {
    Refused,
    First,
}

/// Lower-cased labels without the final dot, and whether there was one.
fn checked_labels(text: &str, wildcard: Wildcard) -> Result<(String, bool), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(NameError::TooLong { name: shown(text) });
    }
    if !text.is_ascii() {
        return Err(NameError::NotAscii {
            name: shown(text),
            a_label: a_label_of(text),
        });
    }
    let (labels, absolute) = match text.strip_suffix('.') {
        Some(labels) => (labels, true),
        None => (text, false),
    };
    let labels = labels.to_ascii_lowercase();
    for (index, label) in labels.split('.').enumerate() {
        if label == "*" && index == 0 && wildcard == Wildcard::First {
            continue;
        }
        check_label(label, &labels)?;
    }
    if labels.len() > MAX_NAME_CHARS {
        return Err(NameError::TooLong {
            name: shown(&labels),
        });
    }
    Ok((labels, absolute))
}

fn check_label(label: &str, name: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel { name: shown(name) });
    }
    if label.contains('*') {
        return Err(NameError::MisplacedWildcard { name: shown(name) });
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
    if let Some(found) = label.chars().find(|c| !allowed(c)) {
        return Err(NameError::BadCharacter {
            name: shown(name),
            found: found.escape_debug().to_string(),
        });
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err(NameError::LabelTooLong {
            label: shown(label),
            bytes: label.len(),
        });
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::HyphenAtEdge {
            label: shown(label),
        });
    }
    Ok(())
}

fn strip_origin<'a>(labels: &'a str, origin: &str) -> Option<&'a str> {
    labels.strip_suffix(origin)?.strip_suffix('.')
}

fn a_label_of(text: &str) -> Option<String> {
    let converted = idna::domain_to_ascii(text).ok()?;
    checked_labels(&converted, Wildcard::First)
        .is_ok()
        .then_some(converted)
}

fn a_label_advice(a_label: &Option<String>) -> String {
    match a_label {
        Some(a_label) => format!("write its A-label form `{a_label}`"),
        None => "and it has no A-label form; write an ASCII name".to_owned(),
    }
}

/// RFC 1035 section 2.3.4.
const MAX_LABEL_BYTES: usize = 63;
/// 255 bytes on the wire (RFC 1035 section 2.3.4) without the first length byte and the root label.
const MAX_NAME_CHARS: usize = 253;
/// Longest text that is looked at; four bytes for each character of the longest name.
const MAX_TEXT_BYTES: usize = 4 * MAX_NAME_CHARS;
const MAX_SHOWN_CHARS: usize = 64;

#[cfg(test)]
mod tests;
