//! A release of X-Road, as far as ports depend on it: major and minor number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// Written like `7.4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    pub major: u16,
    pub minor: u16,
}

impl FromStr for Release {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        };
        let parts = text.split_once('.');
        parts
            .and_then(|(major, minor)| {
                Some(Self {
                    major: number(major)?,
                    minor: number(minor)?,
                })
            })
            .ok_or_else(|| Reason::NoRelease {
                text: text.chars().take(MAX_SHOWN_CHARS).collect(),
            })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Serialize for Release {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Release {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

const MAX_SHOWN_CHARS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number() {
        let release = |text: &str| text.parse::<Release>().unwrap();
        assert!(release("7.4") < release("7.10"));
        assert!(release("6.26") < release("7.0"));
        for wrong in ["7", "7.", ".4", "7.4.1", "+7.4", "v7.4", "7.99999"] {
            assert!(wrong.parse::<Release>().is_err(), "{wrong}");
        }
    }
}
