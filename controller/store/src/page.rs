//! Reading the callers' records in order, a bounded page at a time, from one view.

use std::ops::{Bound, ControlFlow};

use crate::engine::View;
use crate::error::StoreError;
use crate::key::{Key, Prefix};
use crate::layout;
use crate::limits::{MAX_PAGE_BYTES, MAX_PAGE_ENTRIES};
use crate::record::{Entry, StoreRevision, unseal_entry};

/// Entries in the order of their keys, all as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub revision: StoreRevision,
    pub items: Vec<Item>,
    /// Whether there are more entries after the last one.
    pub more: bool,
}

/// A key with its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub key: Key,
    pub entry: Entry,
}

/// Reads one record.
pub(crate) fn read_entry(view: &dyn View, key: &Key) -> Result<Option<Entry>, StoreError> {
    let stored_key = layout::data_key(key);
    match view.get(&stored_key)? {
        Some(sealed) => unseal_entry(&stored_key, &sealed).map(Some),
        None => Ok(None),
    }
}

/// Reads at most `limit` records under `prefix` that follow `after`; fewer if they are big, at least one if there is one.
pub(crate) fn read_page(
    view: &dyn View,
    revision: StoreRevision,
    prefix: &Prefix,
    after: Option<&Key>,
    limit: usize,
) -> Result<Page, StoreError> {
    let limit = limit.clamp(1, MAX_PAGE_ENTRIES);
    let mut page = Page {
        revision,
        items: Vec::new(),
        more: false,
    };
    let mut bytes = 0;
    for_each(view, prefix, after, &mut |key, entry| {
        if page.items.len() == limit || bytes > MAX_PAGE_BYTES {
            page.more = true;
            return ControlFlow::Break(());
        }
        bytes += key.as_str().len() + entry.value.as_bytes().len();
        page.items.push(Item { key, entry });
        ControlFlow::Continue(())
    })?;
    Ok(page)
}

/// Visits the records under `prefix` that follow `after`, in order; ends at the first damaged one.
pub(crate) fn for_each(
    view: &dyn View,
    prefix: &Prefix,
    after: Option<&Key>,
    visit: &mut dyn FnMut(Key, Entry) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let start = layout::data_prefix(prefix);
    let until = layout::end_of(&start);
    let after = after.map(layout::data_key).filter(|after| *after >= start);
    let from = match &after {
        Some(after) if *after >= until => return Ok(()),
        Some(after) => Bound::Excluded(after.as_slice()),
        None => Bound::Included(start.as_slice()),
    };
    let mut damage = None;
    view.scan(
        from,
        &until,
        &mut |stored_key, sealed| match parse(stored_key, sealed) {
            Ok((key, entry)) => visit(key, entry),
            Err(error) => {
                damage = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    damage.map_or(Ok(()), Err)
}

fn parse(stored_key: &[u8], sealed: &[u8]) -> Result<(Key, Entry), StoreError> {
    let entry = unseal_entry(stored_key, sealed)?;
    let key = layout::parse_data_key(stored_key).ok_or_else(|| {
        StoreError::damaged(layout::describe(stored_key), "its key can't be read")
    })?;
    Ok((key, entry))
}

pub(crate) const OUT_OF_ORDER: &str = "it is out of order";
