//! A committed transaction as watchers see it, and its form in the change log.

use crate::error::StoreError;
use crate::key::{Key, Value};
use crate::layout;
use crate::record::{Entry, StoreRevision, unseal};

/// What one commit changed, in the order of its operations; never split over two answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub revision: StoreRevision,
    pub events: Vec<Event>,
}

/// One changed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Put { key: Key, entry: Entry },
    Deleted { key: Key },
}

impl Event {
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Deleted { key } => key,
        }
    }
}

/// Writes events in the form that [`decode`] reads.
pub(crate) fn encode(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        match event {
            Event::Put { key, entry } => {
                bytes.push(TAG_PUT);
                put_field(&mut bytes, key.as_str().as_bytes());
                bytes.extend_from_slice(&entry.created.0.to_be_bytes());
                put_field(&mut bytes, entry.value.as_bytes());
            }
            Event::Deleted { key } => {
                bytes.push(TAG_DELETED);
                put_field(&mut bytes, key.as_str().as_bytes());
            }
        }
    }
    bytes
}

/// Opens and reads the change log's record of one transaction.
pub(crate) fn decode(log_key: &[u8], sealed: &[u8]) -> Result<Transaction, StoreError> {
    let damaged = || StoreError::damaged(layout::describe(log_key), "its content can't be read");
    let revision = layout::parse_log_key(log_key).ok_or_else(damaged)?;
    let mut rest = unseal(log_key, sealed)?.payload;
    let mut events = Vec::new();
    while !rest.is_empty() {
        events.push(take_event(&mut rest, revision).ok_or_else(damaged)?);
    }
    Ok(Transaction { revision, events })
}

fn put_field(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
    bytes.extend_from_slice(field);
}

fn take_event(rest: &mut &[u8], revision: StoreRevision) -> Option<Event> {
    let (tag, after) = rest.split_first()?;
    *rest = after;
    let key = Key::new(std::str::from_utf8(take_field(rest)?).ok()?).ok()?;
    match *tag {
        TAG_PUT => {
            let created = StoreRevision(take_number(rest)?);
            let value = Value::new(take_field(rest)?).ok()?;
            let entry = Entry {
                value,
                created,
                modified: revision,
            };
            Some(Event::Put { key, entry })
        }
        TAG_DELETED => Some(Event::Deleted { key }),
        _ => None,
    }
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_be_bytes(*number))
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    let (field, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(field)
}

const TAG_PUT: u8 = 1;
const TAG_DELETED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::seal;

    #[test]
    fn a_transaction_reads_as_it_was_written() {
        let revision = StoreRevision(9);
        let put = Event::Put {
            key: Key::new("node/1").unwrap(),
            entry: Entry {
                value: Value::new(b"payload").unwrap(),
                created: StoreRevision(4),
                modified: revision,
            },
        };
        let deleted = Event::Deleted {
            key: Key::new("node/2").unwrap(),
        };
        let events = vec![put, deleted];
        let log_key = layout::log_key(revision);
        let sealed = seal(&log_key, revision, revision, &encode(&events));
        assert_eq!(
            decode(&log_key, &sealed).unwrap(),
            Transaction { revision, events }
        );
    }

    #[test]
    fn a_sealed_record_of_nonsense_is_damage_and_no_panic() {
        let log_key = layout::log_key(StoreRevision(1));
        for nonsense in [
            &[9][..],
            &[TAG_PUT],
            &[TAG_DELETED, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            let sealed = seal(&log_key, StoreRevision(1), StoreRevision(1), nonsense);
            assert!(decode(&log_key, &sealed).is_err());
        }
    }
}
