//! Overlay addresses: given out in turn, rested after use. One offset into the pools is one pair of addresses.

use malha_proto::{OverlayAddresses, RefusalCode};

use crate::change::EntityKey;
use crate::command::Rejection;
use crate::draft::Draft;
use crate::limits::ADDRESS_QUARANTINE_MS;
use crate::model::{RetiredAddress, Settings};

/// The next free pair of addresses, searched from where the last one was found.
pub(crate) fn allocate(draft: &mut Draft) -> Result<OverlayAddresses, Rejection> {
    let pools = draft.state.settings.pools;
    let start = draft.state.settings.next_offset.clamp(1, pools.size());
    let offsets = (start..pools.size()).chain(1..start);
    let free = offsets.into_iter().find_map(|offset| {
        let addresses = pools.at(offset)?;
        is_free(draft, offset, &addresses).then_some((offset, addresses))
    });
    let Some((offset, addresses)) = free else {
        return Err(Rejection::Refused {
            code: RefusalCode::PoolExhausted,
            text: format!(
                "no overlay address is free in {}: all are in use or were freed less than {} days ago",
                pools.v4,
                ADDRESS_QUARANTINE_MS / 86_400_000
            ),
        });
    };
    if draft.state.retired.contains_key(&offset) {
        draft.delete(EntityKey::RetiredAddress(offset));
    }
    let settings = Settings {
        next_offset: offset + 1,
        ..(*draft.state.settings).clone()
    };
    draft.put(settings);
    Ok(addresses)
}

/// Rests the addresses of a node that is going.
pub(crate) fn retire(draft: &mut Draft, addresses: &OverlayAddresses) {
    if let Some(offset) = draft.state.settings.pools.offset(addresses) {
        let until_ms = draft.now_ms().saturating_add(ADDRESS_QUARANTINE_MS);
        draft.put(RetiredAddress { offset, until_ms });
    }
}

fn is_free(draft: &Draft, offset: u32, addresses: &OverlayAddresses) -> bool {
    !draft.state.index.node_by_v4.contains_key(&addresses.v4)
        && draft
            .state
            .retired
            .get(&offset)
            .is_none_or(|retired| retired.until_ms <= draft.now_ms())
}
