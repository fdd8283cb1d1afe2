//! Zones and their record sets.

use crate::untrusted::Untrusted;

/// One zone as a row.
#[derive(Clone, Debug)]
pub struct ZoneRow {
    pub name: Untrusted,
    pub serial: u32,
    /// Without the SOA, which nobody writes.
    pub record_sets: u32,
}

/// A zone with its record sets.
#[derive(Clone, Debug)]
pub struct ZoneDetail {
    pub name: Untrusted,
    pub serial: u32,
    pub record_sets: super::Listing<RecordSetRow>,
}

/// One record set as a row.
#[derive(Clone, Debug)]
pub struct RecordSetRow {
    /// Relative to the zone, `@` for its top.
    pub name: Untrusted,
    /// `A`, `AAAA`, `TXT`, …
    pub record_type: Untrusted,
    pub ttl_s: u32,
    pub values: Vec<Untrusted>,
    pub source: RecordSource,
}

/// Who keeps a record set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordSource {
    /// An operator wrote it and may change it.
    Operator,
    /// It follows from a route, a node or the zone itself; not editable.
    Automatic,
}

/// Names a record set.
#[derive(Clone, Debug)]
pub struct RecordSetKey {
    pub zone: String,
    pub name: String,
    pub record_type: String,
}

/// What the form "record set" asks for (fields `name`, `record_type`, `ttl_s`, `values`: one value
/// a line).
#[derive(Clone, Debug)]
pub struct NewRecordSet {
    pub key: RecordSetKey,
    pub ttl_s: u32,
    pub values: Vec<String>,
}
