//! The start-of-authority settings of a zone (RFC 1035 section 3.3.13), without its serial, which the
//! zone itself keeps.

use serde::{Deserialize, Serialize};

use crate::name::DomainName;
use crate::rdata::SoaData;
use crate::serial::Serial;

/// What secondaries and resolvers are told about the zone. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Soa {
    /// The primary name server.
    pub mname: DomainName,
    /// The mailbox of the person in charge, its `@` written as a dot.
    pub rname: DomainName,
    #[serde(default = "default_refresh_s")]
    pub refresh_s: u32,
    #[serde(default = "default_retry_s")]
    pub retry_s: u32,
    #[serde(default = "default_expire_s")]
    pub expire_s: u32,
    /// How long a resolver may remember that a name does not exist (RFC 2308), together with `ttl_s`.
    #[serde(default = "default_minimum_s")]
    pub minimum_s: u32,
    #[serde(default = "default_ttl_s")]
    pub ttl_s: u32,
}

impl Soa {
    /// Settings with defaults for a zone whose changes are announced by NOTIFY.
    pub fn new(mname: DomainName, rname: DomainName) -> Self {
        Self {
            mname,
            rname,
            refresh_s: default_refresh_s(),
            retry_s: default_retry_s(),
            expire_s: default_expire_s(),
            minimum_s: default_minimum_s(),
            ttl_s: default_ttl_s(),
        }
    }

    /// The TTL of a negative answer (RFC 2308 section 5).
    pub fn negative_ttl_s(&self) -> u32 {
        self.minimum_s.min(self.ttl_s)
    }

    pub(crate) fn data(&self, serial: Serial) -> SoaData {
        SoaData {
            mname: self.mname.clone(),
            rname: self.rname.clone(),
            serial,
            refresh_s: self.refresh_s,
            retry_s: self.retry_s,
            expire_s: self.expire_s,
            minimum_s: self.minimum_s,
        }
    }

    pub(crate) fn from_data(data: &SoaData, ttl_s: u32) -> Self {
        Self {
            mname: data.mname.clone(),
            rname: data.rname.clone(),
            refresh_s: data.refresh_s,
            retry_s: data.retry_s,
            expire_s: data.expire_s,
            minimum_s: data.minimum_s,
            ttl_s,
        }
    }

    /// Every time with its field's name and its largest sensible value.
    pub(crate) fn times(&self) -> [(&'static str, u32, u32); 5] {
        [
            ("refresh_s", self.refresh_s, MAX_TIME_S),
            ("retry_s", self.retry_s, MAX_TIME_S),
            ("expire_s", self.expire_s, MAX_TIME_S),
            ("minimum_s", self.minimum_s, crate::set::MAX_TTL_S),
            ("ttl_s", self.ttl_s, crate::set::MAX_TTL_S),
        ]
    }
}

const fn default_refresh_s() -> u32 {
    3_600
}

const fn default_retry_s() -> u32 {
    600
}

const fn default_expire_s() -> u32 {
    14 * 86_400
}

const fn default_minimum_s() -> u32 {
    300
}

const fn default_ttl_s() -> u32 {
    3_600
}

/// A year: a secondary that waits longer is lost.
const MAX_TIME_S: u32 = 365 * 86_400;
