//! Forgetting what is past. Each call takes a bounded number of each kind; the next call takes the next ones.

use malha_proto::{Fingerprint, TokenId};

use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{MAX_SWEPT, REQUEST_MEMORY_MS, TOKEN_MEMORY_MS};
use crate::policy;

pub(crate) fn sweep(draft: &mut Draft) -> Result<Answer, Rejection> {
    let now_ms = draft.now_ms();
    let index = &draft.state.index;
    let tokens: Vec<TokenId> = oldest(index.tokens_by_expiry.iter(), now_ms, TOKEN_MEMORY_MS);
    let requests: Vec<Fingerprint> =
        oldest(index.requests_by_age.iter(), now_ms, REQUEST_MEMORY_MS);
    let retired: Vec<u32> = oldest(index.retired_by_expiry.iter(), now_ms, 0);
    let keys = tokens.into_iter().map(EntityKey::Token);
    let keys = keys.chain(requests.into_iter().map(EntityKey::Request));
    for key in keys.chain(retired.into_iter().map(EntityKey::RetiredAddress)) {
        draft.delete(key);
    }
    policy::sweep(draft)
}

/// The first entries whose time plus `memory_ms` is past.
fn oldest<'a, T: Copy + 'a>(
    entries: impl Iterator<Item = &'a (u64, T)>,
    now_ms: u64,
    memory_ms: u64,
) -> Vec<T> {
    let past = entries.take_while(|(at_ms, _)| at_ms.saturating_add(memory_ms) <= now_ms);
    past.take(MAX_SWEPT).map(|(_, id)| *id).collect()
}
