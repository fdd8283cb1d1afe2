//! Where things lie in an engine's one ordered space of bytes: data under `d/`, the change log under `l/`, the store's
//! own records under `m/`. It never reads or writes them.

use crate::key::{Key, Prefix};
use crate::record::StoreRevision;

pub(crate) const DATA: &[u8] = b"d/";
pub(crate) const LOG: &[u8] = b"l/";
pub(crate) const EPOCH: &[u8] = b"m/epoch";
pub(crate) const HEAD: &[u8] = b"m/head";
pub(crate) const SCHEMA: &[u8] = b"m/schema";

/// Where the record of `key` lies.
pub(crate) fn data_key(key: &Key) -> Vec<u8> {
    [DATA, key.as_str().as_bytes()].concat()
}

/// Where the records under `prefix` begin.
pub(crate) fn data_prefix(prefix: &Prefix) -> Vec<u8> {
    [DATA, prefix.as_str().as_bytes()].concat()
}

/// Where the transaction of `revision` lies in the change log.
pub(crate) fn log_key(revision: StoreRevision) -> Vec<u8> {
    [LOG, &revision.0.to_be_bytes()].concat()
}

/// The caller's key of a data record, if the bytes are one.
pub(crate) fn parse_data_key(stored: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(stored.strip_prefix(DATA)?).ok()?;
    Key::new(text).ok()
}

/// The revision of a log record, if the bytes are the key of one.
pub(crate) fn parse_log_key(stored: &[u8]) -> Option<StoreRevision> {
    let revision = stored.strip_prefix(LOG)?.try_into().ok()?;
    Some(StoreRevision(u64::from_be_bytes(revision)))
}

/// The first bytes after everything that starts with `prefix`.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(following) = last.checked_add(1) {
            end.push(following);
            break;
        }
    }
    end
}

/// The record's name for people.
pub(crate) fn describe(stored: &[u8]) -> String {
    if let Some(key) = parse_data_key(stored) {
        format!("record {key}")
    } else if let Some(revision) = parse_log_key(stored) {
        format!("change {revision}")
    } else {
        format!("record {}", stored.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_lies_after_its_last_key_and_before_the_next_prefix() {
        let end = end_of(b"d/node");
        assert!(b"d/node\xff\xff".as_slice() < end.as_slice());
        assert!(end.as_slice() <= b"d/nodf".as_slice());
    }

    #[test]
    fn change_log_keys_sort_by_revision() {
        assert!(log_key(StoreRevision(255)) < log_key(StoreRevision(256)));
    }

    #[test]
    fn a_record_of_each_kind_has_a_name() {
        let key = Key::new("node/1").unwrap();
        assert_eq!(describe(&data_key(&key)), "record node/1");
        assert_eq!(describe(&log_key(StoreRevision(7))), "change 7");
        assert_eq!(describe(HEAD), "record m/head");
    }
}
