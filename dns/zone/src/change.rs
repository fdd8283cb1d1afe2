//! One step of a zone's history: what left, what came, and the serials around it. Incremental
//! transfer (RFC 1995) and NOTIFY are driven by it; it never carries a whole zone.

use serde::{Deserialize, Serialize};

use crate::name::ZoneName;
use crate::serial::Serial;
use crate::set::RecordSet;

/// A journal entry. Both lists are in canonical order; a set that changed stands in both.
///
/// The SOA set is listed only when the zone's SOA settings changed; its serial follows from `old_serial`
/// and `new_serial` otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneChange {
    pub zone: ZoneName,
    pub old_serial: Serial,
    pub new_serial: Serial,
    pub removed: Vec<RecordSet>,
    pub added: Vec<RecordSet>,
}

impl ZoneChange {
    /// Whether the edit changed nothing, and so bumped nothing.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}
