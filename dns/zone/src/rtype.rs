//! The record types an operator can publish. It never grows by a type whose data we cannot check.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A record type, written as in zone files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    A,
    Ns,
    Cname,
    Soa,
    Ptr,
    Mx,
    Txt,
    Aaaa,
    Srv,
    Caa,
}

/// A text that names no record type of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a record type of this server; write A, AAAA, CNAME, TXT, MX, SRV, CAA, PTR or NS"
)]
pub struct UnknownRecordType(String);

impl RecordType {
    pub const ALL: [Self; 10] = [
        Self::A,
        Self::Ns,
        Self::Cname,
        Self::Soa,
        Self::Ptr,
        Self::Mx,
        Self::Txt,
        Self::Aaaa,
        Self::Srv,
        Self::Caa,
    ];

    /// The number on the wire (IANA DNS parameters).
    pub fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Cname => 5,
            Self::Soa => 6,
            Self::Ptr => 12,
            Self::Mx => 15,
            Self::Txt => 16,
            Self::Aaaa => 28,
            Self::Srv => 33,
            Self::Caa => 257,
        }
    }

    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|rtype| rtype.code() == code)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Ns => "NS",
            Self::Cname => "CNAME",
            Self::Soa => "SOA",
            Self::Ptr => "PTR",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
            Self::Caa => "CAA",
        }
    }

    pub(crate) fn is_address(self) -> bool {
        matches!(self, Self::A | Self::Aaaa)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RecordType {
    type Err = UnknownRecordType;

    fn from_str(text: &str) -> Result<Self, UnknownRecordType> {
        Self::ALL
            .into_iter()
            .find(|rtype| rtype.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownRecordType(crate::name::shown(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_from_its_text_and_its_code() {
        for rtype in RecordType::ALL {
            assert_eq!(rtype.to_string().to_lowercase().parse(), Ok(rtype));
            assert_eq!(RecordType::from_code(rtype.code()), Some(rtype));
            assert_eq!(
                serde_json::to_string(&rtype).unwrap(),
                format!("\"{rtype}\"")
            );
        }
    }

    #[test]
    fn an_unknown_type_is_refused_with_the_known_ones() {
        let error = "HINFO\n".parse::<RecordType>().unwrap_err().to_string();
        assert!(error.starts_with("`HINFO\\n` is not a record type") && error.contains("CAA"));
    }
}
