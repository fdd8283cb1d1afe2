//! Changes of the policy that wait for another operator, as the page shows them: with what they would change now.

use malha_core::State;
use malha_core::policy::{Author, Proposal};
use malha_web::model::{PolicyProposal, ProposedChange};

use super::{later, name, rows};
use crate::clock::now_ms;
use crate::console::moment;

pub(super) fn shown(state: &State, it: &Proposal, viewer: Option<Author>) -> PolicyProposal {
    use malha_core::policy::ProposedChange as Change;
    let seen = state.proposed_difference(it, now_ms());
    // What can't be compared any more can't be approved either.
    let outdated = seen
        .as_ref()
        .is_some_and(|seen| !matches!(seen, Ok((_, true))));
    let difference = seen.and_then(Result::ok).map(|(difference, _)| difference);
    PolicyProposal {
        number: it.number,
        change: match &it.change {
            Change::Text { text } => ProposedChange::Text(text.clone()),
            Change::Return { to, .. } => ProposedChange::Return(*to),
            Change::OneApprover { .. } => ProposedChange::OneApprover,
        },
        author: it.author.clone().into(),
        proposed_at: moment::at(it.proposed_ms),
        expires_at: moment::at(it.expires_ms),
        organizations: it.organizations.iter().map(|id| name(state, *id)).collect(),
        hash: it.difference.to_string(),
        gaining: difference.as_ref().map_or(it.gaining, |it| it.gaining),
        losing: difference.as_ref().map_or(it.losing, |it| it.losing),
        rows: difference.as_ref().map_or_else(|| Vec::new().into(), rows),
        later: difference.as_ref().map_or_else(|| Vec::new().into(), later),
        outdated,
        may_approve: viewer.is_some_and(|author| state.may_approve(it, author)),
    }
}
