//! A record set: all records of one name and type, which DNS serves and caches as one. It is always
//! well-formed on its own; how it fits into a zone is checked by the zone.

use serde::{Deserialize, Serialize};

use crate::name::{RecordName, ZoneName, shown};
use crate::rdata::{DataError, RecordData};
use crate::rtype::RecordType;
use crate::{NameError, SoaData};

pub const DEFAULT_TTL_S: u32 = 300;
/// A week (RFC 8767 section 4 advises resolvers to keep no longer).
pub const MAX_TTL_S: u32 = 604_800;
/// Most records of one set.
pub const MAX_SET_DATA: usize = 64;
/// Most bytes of a set's data: with a full CNAME chain before it, it still fits one TCP message.
pub const MAX_SET_BYTES: usize = 32 * 1_024;

/// Who owns a record set and may change it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Written by an operator or an API client.
    #[default]
    Operator,
    /// Kept in step with a route; changing the route is the only way to change it.
    Route,
}

/// The records of one name and type, sorted and without duplicates.
///
/// In serde it is `{"name", "type", "ttl_s", "data": [text…], "source"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SetText", into = "SetText")]
pub struct RecordSet {
    name: RecordName,
    rtype: RecordType,
    ttl_s: u32,
    data: Vec<RecordData>,
    source: Source,
}

/// Why records do not make a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("the {rtype} set of `{name}` is empty; give it data, or delete the set")]
    Empty { name: RecordName, rtype: RecordType },
    #[error("the {rtype} set of `{name}` has {count} records; at most {MAX_SET_DATA} are allowed")]
    TooMany {
        name: RecordName,
        rtype: RecordType,
        count: usize,
    },
    #[error(
        "the {rtype} set of `{name}` has {bytes} bytes of data; at most {MAX_SET_BYTES} are allowed"
    )]
    TooLarge {
        name: RecordName,
        rtype: RecordType,
        bytes: usize,
    },
    #[error("the {rtype} set of `{name}` has `{data}` twice; write each record once")]
    Duplicate {
        name: RecordName,
        rtype: RecordType,
        data: String,
    },
    #[error("the {rtype} set of `{name}` holds data of type {found}; a set has one type")]
    MixedTypes {
        name: RecordName,
        rtype: RecordType,
        found: RecordType,
    },
    #[error("the {rtype} set of `{name}` has {count} records; this type allows exactly one")]
    NotSingle {
        name: RecordName,
        rtype: RecordType,
        count: usize,
    },
    #[error("a TTL of {ttl_s} s is too long; at most {MAX_TTL_S} s (a week) is allowed")]
    Ttl { ttl_s: u32 },
}

impl RecordSet {
    pub fn new(
        name: RecordName,
        rtype: RecordType,
        ttl_s: u32,
        mut data: Vec<RecordData>,
        source: Source,
    ) -> Result<Self, SetError> {
        if ttl_s > MAX_TTL_S {
            return Err(SetError::Ttl { ttl_s });
        }
        check_data(&name, rtype, &data)?;
        data.sort();
        if let Some(pair) = data.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(SetError::Duplicate {
                name,
                rtype,
                data: shown(&pair[0].to_string()),
            });
        }
        Ok(Self {
            name,
            rtype,
            ttl_s,
            data,
            source,
        })
    }

    /// Reads each text as data of `rtype`.
    pub fn from_text<T: AsRef<str>>(
        name: RecordName,
        rtype: RecordType,
        ttl_s: u32,
        data: impl IntoIterator<Item = T>,
        source: Source,
    ) -> Result<Self, SetError> {
        let data = data
            .into_iter()
            .take(MAX_SET_DATA + 1)
            .map(|text| RecordData::parse(rtype, text.as_ref()))
            .collect::<Result<_, _>>()?;
        Self::new(name, rtype, ttl_s, data, source)
    }

    pub fn name(&self) -> &RecordName {
        &self.name
    }

    pub fn rtype(&self) -> RecordType {
        self.rtype
    }

    pub fn ttl_s(&self) -> u32 {
        self.ttl_s
    }

    pub fn data(&self) -> &[RecordData] {
        &self.data
    }

    pub fn source(&self) -> Source {
        self.source
    }

    /// The same set with its name relative to `zone`.
    pub(crate) fn relative_to(mut self, zone: &ZoneName) -> Result<Self, NameError> {
        self.name = self.name.relative_to(zone)?;
        Ok(self)
    }

    pub(crate) fn of_soa(data: SoaData, ttl_s: u32) -> Self {
        Self {
            name: RecordName::apex(),
            rtype: RecordType::Soa,
            ttl_s,
            data: vec![RecordData::Soa(Box::new(data))],
            source: Source::Operator,
        }
    }
}

fn check_data(name: &RecordName, rtype: RecordType, data: &[RecordData]) -> Result<(), SetError> {
    let name = name.clone();
    let count = data.len();
    if count == 0 {
        return Err(SetError::Empty { name, rtype });
    }
    if count > MAX_SET_DATA {
        return Err(SetError::TooMany { name, rtype, count });
    }
    if count > 1 && matches!(rtype, RecordType::Cname | RecordType::Soa) {
        return Err(SetError::NotSingle { name, rtype, count });
    }
    if let Some(other) = data.iter().find(|data| data.rtype() != rtype) {
        return Err(SetError::MixedTypes {
            name,
            rtype,
            found: other.rtype(),
        });
    }
    let bytes = data.iter().map(RecordData::wire_bytes).sum();
    if bytes > MAX_SET_BYTES {
        return Err(SetError::TooLarge { name, rtype, bytes });
    }
    Ok(())
}

/// The serde form of a record set.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetText {
    name: RecordName,
    #[serde(rename = "type")]
    rtype: RecordType,
    #[serde(default = "default_ttl_s")]
    ttl_s: u32,
    data: Vec<String>,
    #[serde(default)]
    source: Source,
}

impl TryFrom<SetText> for RecordSet {
    type Error = SetError;

    fn try_from(text: SetText) -> Result<Self, SetError> {
        Self::from_text(text.name, text.rtype, text.ttl_s, text.data, text.source)
    }
}

impl From<RecordSet> for SetText {
    fn from(set: RecordSet) -> Self {
        Self {
            name: set.name,
            rtype: set.rtype,
            ttl_s: set.ttl_s,
            data: set.data.iter().map(ToString::to_string).collect(),
            source: set.source,
        }
    }
}

fn default_ttl_s() -> u32 {
    DEFAULT_TTL_S
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rtype: RecordType, ttl_s: u32, data: &[&str]) -> Result<RecordSet, SetError> {
        RecordSet::from_text("www".parse().unwrap(), rtype, ttl_s, data, Source::Operator)
    }

    #[test]
    fn the_order_in_which_records_are_written_makes_no_difference() {
        let one = set(RecordType::A, 60, &["192.0.2.2", "192.0.2.1"]);
        assert_eq!(one, set(RecordType::A, 60, &["192.0.2.1", "192.0.2.2"]));
    }

    #[test]
    fn duplicates_are_refused_however_they_are_written() {
        let error = set(RecordType::Aaaa, 60, &["2001:db8::1", "2001:DB8:0::1"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the AAAA set of `www` has `2001:db8::1` twice; write each record once"
        );
    }

    #[test]
    fn limits_hold_for_ttl_count_and_size() {
        assert!(set(RecordType::A, MAX_TTL_S, &["192.0.2.1"]).is_ok());
        assert!(matches!(
            set(RecordType::A, MAX_TTL_S + 1, &["192.0.2.1"]),
            Err(SetError::Ttl { .. })
        ));
        assert!(matches!(
            set(RecordType::A, 60, &[]),
            Err(SetError::Empty { .. })
        ));
        let many: Vec<String> = (0..65).map(|n| format!("192.0.2.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(set(RecordType::A, 60, &many[..64]).is_ok());
        assert!(matches!(
            set(RecordType::A, 60, &many),
            Err(SetError::TooMany { .. })
        ));
        let long: Vec<String> = (0..9).map(|n| n.to_string().repeat(4_000)).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        assert!(matches!(
            set(RecordType::Txt, 60, &long),
            Err(SetError::TooLarge { .. })
        ));
        let two = ["a.example.", "b.example."];
        assert!(matches!(
            set(RecordType::Cname, 60, &two),
            Err(SetError::NotSingle { .. })
        ));
    }

    #[test]
    fn the_json_form_shows_data_as_text() {
        let json = r#"{"name":"www","type":"MX","ttl_s":300,"data":["10 mail.example."],"source":"operator"}"#;
        let short = r#"{"name":"WWW","type":"MX","data":["10 mail.example."]}"#;
        let set: RecordSet = serde_json::from_str(short).unwrap();
        assert_eq!(serde_json::to_string(&set).unwrap(), json);
        assert!(serde_json::from_str::<RecordSet>(&json.replace("10", "x")).is_err());
        assert!(serde_json::from_str::<RecordSet>(&json.replace("ttl_s", "ttl")).is_err());
    }
}
