//! Two pairs of eyes: a change of the policy that concerns an organization with a second approver waits as a proposal until
//! another operator approves exactly what its author saw. It never lets an author approve, by whatever key.

use std::collections::BTreeSet;

use malha_proto::{Fingerprint, OperatorId, OrganizationId};
use serde::{Deserialize, Serialize};

use super::author::Author;
use super::diff::Difference;
use super::document::Policy;
use super::in_force::VersionOrigin;
use super::{Step, invalid, put_in_force, refuse_while_pending};
use crate::apply::{check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{APPROVAL_WITHIN_MS, MAX_PROPOSALS};
use crate::model::{Organization, Role};
use crate::noun::{Noun, Plenty};
use crate::reason::Reason;
use crate::state::State;

/// A change that waits for another operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    pub number: u64,
    pub change: ProposedChange,
    /// The hash of what its author saw: only that is approved.
    pub difference: Fingerprint,
    /// As the audit log names who proposed it.
    pub author: String,
    /// The person, who may not approve it.
    pub operator: OperatorId,
    pub proposed_ms: u64,
    /// It is forgotten then.
    pub expires_ms: u64,
    /// Counted from the approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_ms: Option<u64>,
    /// Those that ask for the second approver.
    pub organizations: BTreeSet<OrganizationId>,
    /// Pairs of nodes, as its author saw them.
    pub gaining: u64,
    pub losing: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProposedChange {
    /// A text comes in force.
    Text { text: String },
    /// The text of a former version comes back. It is kept here: the version may be forgotten meanwhile.
    Return { to: u64, text: String },
    /// The organization asks for no second approver any longer.
    OneApprover { organization: OrganizationId },
}

impl ProposedChange {
    /// What would come in force.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text } | Self::Return { text, .. } => Some(text),
            Self::OneApprover { .. } => None,
        }
    }
}

/// What a proposal is made of, beside what it changes.
pub(super) struct Asked {
    pub(super) change: ProposedChange,
    pub(super) difference: Fingerprint,
    pub(super) confirm_within_ms: Option<u64>,
    pub(super) organizations: BTreeSet<OrganizationId>,
    pub(super) gaining: u64,
    pub(super) losing: u64,
}

pub(super) fn propose(
    draft: &mut Draft,
    asked: Asked,
    author: Author,
) -> Result<Answer, Rejection> {
    let name = author.name(&draft.state)?;
    let operator = author.person(&draft.state)?.id;
    let same = |it: &&Proposal| it.change == asked.change && it.difference == asked.difference;
    if let Some(same) = draft.state.proposals().find(same) {
        return Err(Rejection::Exists {
            what: Noun::Proposal,
            name: same.number.to_string(),
        });
    }
    check_limit(
        Plenty::Proposals,
        draft.state.proposals.len(),
        MAX_PROPOSALS,
    )?;
    let number = draft.next_id();
    let proposed_ms = draft.now_ms();
    draft.put(Proposal {
        number,
        change: asked.change,
        difference: asked.difference,
        author: name,
        operator,
        proposed_ms,
        expires_ms: proposed_ms.saturating_add(APPROVAL_WITHIN_MS),
        confirm_within_ms: asked.confirm_within_ms,
        organizations: asked.organizations,
        gaining: asked.gaining,
        losing: asked.losing,
    });
    Ok(Answer::Proposed { proposal: number })
}

/// Does what was proposed, if it is still what its author saw and what this approver saw.
pub(crate) fn approve(
    draft: &mut Draft,
    number: u64,
    difference: Fingerprint,
    author: Author,
) -> Result<Answer, Rejection> {
    let proposal = found(draft.state.proposal(number), Noun::Proposal, number)?.clone();
    check_approver(&draft.state, &proposal, author)?;
    if proposal.expires_ms <= draft.now_ms() {
        return Err(invalid("proposal", Reason::ProposalExpired { number }));
    }
    let approver = author.name(&draft.state)?;
    let answer = match &proposal.change {
        ProposedChange::OneApprover { organization } => {
            if difference != proposal.difference {
                return Err(changed(number));
            }
            let it = found(
                draft.state.organization(*organization),
                Noun::Organization,
                organization,
            )?;
            let it = Organization {
                second_approver: false,
                ..it.clone()
            };
            draft.put(it);
            Answer::Done
        }
        ProposedChange::Text { text } => {
            let policy = Policy::parse(text)?;
            let seen = still_as_seen(draft, &proposal, &policy, text, difference)?;
            draft.state.check_tests(&policy, draft.now_ms())?;
            let step = step(&proposal, text, VersionOrigin::Applied, &seen, approver);
            put_in_force(draft, step, proposal.confirm_within_ms, None)
        }
        ProposedChange::Return { to, text } => {
            let policy = Policy::parse(text)?;
            let seen = still_as_seen(draft, &proposal, &policy, text, difference)?;
            let origin = VersionOrigin::Returned { to: *to };
            let step = step(&proposal, text, origin, &seen, approver);
            put_in_force(draft, step, proposal.confirm_within_ms, None)
        }
    };
    draft.delete(EntityKey::Proposal(number));
    Ok(answer)
}

/// Anyone who may change the policy says no, its author too: nothing has changed yet.
pub(crate) fn reject(draft: &mut Draft, number: u64) -> Result<Answer, Rejection> {
    found(draft.state.proposal(number), Noun::Proposal, number)?;
    draft.delete(EntityKey::Proposal(number));
    Ok(Answer::Done)
}

/// To ask for a second approver harms nobody and holds at once. To ask no longer is what the first of two wants who would be
/// alone: it takes the second one.
pub(crate) fn set_second_approver(
    draft: &mut Draft,
    organization: OrganizationId,
    on: bool,
    author: Author,
) -> Result<Answer, Rejection> {
    let state = &draft.state;
    let it = found(
        state.organization(organization),
        Noun::Organization,
        organization,
    )?
    .clone();
    if it.second_approver == on {
        return Ok(Answer::Done);
    }
    if !on {
        let said = format!("{organization} asks for no second approver");
        let asked = Asked {
            change: ProposedChange::OneApprover { organization },
            difference: Fingerprint::of(said.as_bytes()),
            confirm_within_ms: None,
            organizations: [organization].into(),
            gaining: 0,
            losing: 0,
        };
        return propose(draft, asked, author);
    }
    let able = state.operators().filter(|it| it.role >= Role::Operator);
    if able.count() < 2 {
        return Err(invalid("second_approver", Reason::SecondApproverNobody));
    }
    draft.put(Organization {
        second_approver: true,
        ..it
    });
    Ok(Answer::Done)
}

/// Forgets the first proposal whose time is over.
pub(super) fn expire(draft: &mut Draft) -> Option<Answer> {
    let now_ms = draft.now_ms();
    let over = draft.state.proposals().find(|it| it.expires_ms <= now_ms)?;
    let proposal = over.number;
    draft.delete(EntityKey::Proposal(proposal));
    Some(Answer::ProposalExpired { proposal })
}

/// What is proposed for an organization that is going means nothing any more.
pub(crate) fn remove_of(draft: &mut Draft, organization: OrganizationId) {
    let change = ProposedChange::OneApprover { organization };
    let of_it = draft.state.proposals().filter(|it| it.change == change);
    let numbers: Vec<u64> = of_it.map(|it| it.number).collect();
    for number in numbers {
        draft.delete(EntityKey::Proposal(number));
    }
}

fn step(
    proposal: &Proposal,
    text: &str,
    origin: VersionOrigin,
    seen: &Difference,
    approver: String,
) -> Step {
    Step {
        text: text.to_owned(),
        author: proposal.author.clone(),
        approver: Some(approver),
        origin,
        gaining: seen.gaining,
        losing: seen.losing,
    }
}

/// Another person than the author, who could be asked when it was proposed.
fn check_approver(state: &State, proposal: &Proposal, author: Author) -> Result<(), Rejection> {
    let person = author.person(state)?;
    if person.id == proposal.operator {
        let operator = person.name.to_string();
        return Err(invalid("approval", Reason::ProposalOwn { operator }));
    }
    if person.created_ms > proposal.proposed_ms {
        let operator = person.name.to_string();
        return Err(invalid("approval", Reason::ProposalOlder { operator }));
    }
    Ok(())
}

fn still_as_seen(
    draft: &Draft,
    proposal: &Proposal,
    policy: &Policy,
    text: &str,
    difference: Fingerprint,
) -> Result<Difference, Rejection> {
    refuse_while_pending(&draft.state)?;
    let seen = draft
        .state
        .policy_difference(policy, text, draft.now_ms())?;
    match seen.hash == proposal.difference && difference == proposal.difference {
        true => Ok(seen),
        false => Err(changed(proposal.number)),
    }
}

fn changed(number: u64) -> Rejection {
    invalid("difference", Reason::ProposalOutdated { number })
}

impl State {
    /// What waits for another operator, oldest first.
    pub fn proposals(&self) -> impl ExactSizeIterator<Item = &Proposal> {
        self.proposals.values().map(AsRef::as_ref)
    }

    #[must_use]
    pub fn proposal(&self, number: u64) -> Option<&Proposal> {
        self.proposals.get(&number).map(AsRef::as_ref)
    }

    /// What a proposal would change now, and whether that is still what its author saw. None where no text is proposed.
    pub fn proposed_difference(
        &self,
        proposal: &Proposal,
        now_ms: u64,
    ) -> Option<Result<(Difference, bool), Rejection>> {
        let text = proposal.change.text()?;
        let seen = Policy::parse(text)
            .map_err(Rejection::from)
            .and_then(|policy| self.policy_difference(&policy, text, now_ms));
        Some(seen.map(|seen| {
            let current = seen.hash == proposal.difference;
            (seen, current)
        }))
    }

    /// Whether an author may approve a proposal, as far as that depends on who it is.
    #[must_use]
    pub fn may_approve(&self, proposal: &Proposal, author: Author) -> bool {
        check_approver(self, proposal, author).is_ok()
    }
}
