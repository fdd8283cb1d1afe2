//! The policy: one text that says who may open what on whom, from which every grant follows. A text comes in force only if
//! its tests hold, they cover every profile that it speaks of, and what it changes is what its author saw.

mod approval;
mod author;
mod balanced;
mod cases;
mod compile;
mod concern;
mod diff;
mod document;
mod evaluate;
mod groups;
mod in_force;
mod later;
mod peers;
mod ports;
mod schedule;
mod who;

use malha_proto::Fingerprint;

use crate::apply::found;
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{
    EMERGENCY_WITHIN_MS, MAX_CONFIRM_WITHIN_MS, MAX_POLICY_VERSIONS, MIN_CONFIRM_WITHIN_MS,
};
use crate::model::Grant;
use crate::noun::Noun;
use crate::reason::Reason;
use crate::state::State;
use crate::text::check_reason;
use approval::Asked;

pub use approval::{Proposal, ProposedChange};
pub(crate) use approval::{approve, reject, remove_of, set_second_approver};
pub use author::Author;
pub(crate) use balanced::check_balancer;
pub use cases::{CaseOutcome, CaseVerdict, Trial};
pub use compile::Unresolved;
pub use diff::{Difference, Row, Side};
pub use document::{Case, Policy, Rule};
pub use evaluate::{RuleReason, RuleVerdict};
pub use in_force::{Emergency, PendingPolicy, PolicyInForce, PolicyVersion, VersionOrigin};
pub(crate) use in_force::{Rules, follow};
pub use later::{Later, LaterChange};
pub(crate) use peers::check_peers;
pub use schedule::Schedule;
pub(crate) use who::PROFILE_WORDS;
pub use who::{Who, profile_name};

/// A text to put in force, as its author saw it.
pub(crate) struct Wish<'a> {
    pub(crate) text: &'a str,
    /// The hash of the difference that was seen.
    pub(crate) difference: Fingerprint,
    pub(crate) confirm_within_ms: Option<u64>,
    /// Why nobody else is asked.
    pub(crate) emergency: Option<&'a str>,
}

pub(crate) fn apply(draft: &mut Draft, wish: &Wish, author: Author) -> Result<Answer, Rejection> {
    let now_ms = draft.now_ms();
    let text = wish.text;
    check_confirm_within(wish.confirm_within_ms)?;
    refuse_while_pending(&draft.state)?;
    let policy = Policy::parse(text)?;
    let seen = draft.state.policy_difference(&policy, text, now_ms)?;
    if seen.hash != wish.difference {
        let (gaining, losing) = (seen.gaining, seen.losing);
        let reason = Reason::DifferenceChanged { gaining, losing };
        return Err(invalid("difference", reason));
    }
    draft.state.check_tests(&policy, now_ms)?;
    check_peers(&draft.state, &draft.state.under(&policy, now_ms))?;
    let change = ProposedChange::Text {
        text: text.to_owned(),
    };
    let asked = asked(&draft.state, change, &policy, &seen, wish.confirm_within_ms);
    take(draft, asked, wish.emergency, author)
}

/// A text that another command makes: what it changes is that command's to say.
pub(crate) fn write(draft: &mut Draft, text: &str, author: Author) -> Result<Answer, Rejection> {
    let policy = Policy::parse(text)?;
    let seen = draft
        .state
        .policy_difference(&policy, text, draft.now_ms())?;
    let wish = Wish {
        text,
        difference: seen.hash,
        confirm_within_ms: None,
        emergency: None,
    };
    apply(draft, &wish, author)
}

pub(crate) fn confirm(
    draft: &mut Draft,
    version: u64,
    author: Author,
) -> Result<Answer, Rejection> {
    let now_ms = draft.now_ms();
    let head = found(draft.state.policy(), Noun::Policy, "in force")?.clone();
    let Some(pending) = head.pending.as_ref().filter(|_| head.version == version) else {
        let in_force = head.version;
        let reason = Reason::PolicyNotPending { version, in_force };
        return Err(invalid("version", reason));
    };
    if pending.deadline_ms <= now_ms {
        return Err(invalid("policy", Reason::PolicyConfirmLate));
    }
    if let Some(emergency) = &pending.emergency {
        let person = author.person(&draft.state)?;
        if person.id == emergency.operator {
            let operator = person.name.to_string();
            return Err(invalid("approval", Reason::EmergencyOwn { operator }));
        }
        let approver = author.name(&draft.state)?;
        let it = found(
            draft.state.policy_version(version),
            Noun::PolicyVersion,
            version,
        )?;
        let it = PolicyVersion {
            approver: Some(approver),
            ..it.clone()
        };
        draft.put(it);
    }
    draft.put(PolicyInForce {
        pending: None,
        ..head
    });
    Ok(Answer::Policy { version })
}

/// A former text comes back as it is: it passed its tests when it came, and a way back must not depend on more. What would
/// come back anyway without a confirmation needs no approval: it was approved with what waits.
pub(crate) fn roll_back(
    draft: &mut Draft,
    to: u64,
    emergency: Option<&str>,
    author: Author,
) -> Result<Answer, Rejection> {
    let former = found(draft.state.policy_version(to), Noun::PolicyVersion, to)?;
    let policy = Policy::parse(&former.text)?;
    let text = former.text.clone();
    let seen = draft
        .state
        .policy_difference(&policy, &text, draft.now_ms())?;
    let pending = draft.state.policy().and_then(|head| head.pending.as_ref());
    let comes_anyway = pending.is_some_and(|pending| pending.former == to);
    let change = ProposedChange::Return { to, text };
    let mut asked = asked(&draft.state, change, &policy, &seen, None);
    if comes_anyway {
        asked.organizations.clear();
    }
    take(draft, asked, emergency, author)
}

fn asked(
    state: &State,
    change: ProposedChange,
    policy: &Policy,
    seen: &Difference,
    confirm_within_ms: Option<u64>,
) -> Asked {
    Asked {
        change,
        difference: seen.hash,
        confirm_within_ms,
        organizations: state.second_approver_asked(policy, seen),
        gaining: seen.gaining,
        losing: seen.losing,
    }
}

/// Puts a change in force, alone in an emergency, or proposes it where a second approver is asked for.
fn take(
    draft: &mut Draft,
    asked: Asked,
    emergency: Option<&str>,
    author: Author,
) -> Result<Answer, Rejection> {
    let emergency = match (emergency, asked.organizations.is_empty()) {
        (None, false) => return approval::propose(draft, asked, author),
        (None, true) => None,
        (Some(_), true) => {
            return Err(invalid("emergency", Reason::EmergencyNeedless));
        }
        (Some(reason), false) => {
            check_reason(reason)?;
            Some(Emergency {
                operator: author.owner(&draft.state)?.id,
                reason: reason.to_owned(),
            })
        }
    };
    let (text, origin) = match asked.change {
        ProposedChange::Text { text } => (text, VersionOrigin::Applied),
        ProposedChange::Return { to, text } => (text, VersionOrigin::Returned { to }),
        ProposedChange::OneApprover { .. } => return Ok(Answer::Done),
    };
    let step = Step {
        text,
        author: author.name(&draft.state)?,
        approver: None,
        origin,
        gaining: asked.gaining,
        losing: asked.losing,
    };
    let longest = emergency.as_ref().map(|_| EMERGENCY_WITHIN_MS);
    let within_ms = asked.confirm_within_ms.or(longest);
    Ok(put_in_force(draft, step, within_ms, emergency))
}

/// Brings back the policy that an unconfirmed one replaced, or looks at schedules again, when the time has come.
pub(crate) fn sweep(draft: &mut Draft) -> Result<Answer, Rejection> {
    let now_ms = draft.now_ms();
    let head = draft.state.policy().cloned();
    let pending = head.as_ref().and_then(|head| head.pending.as_ref());
    if let Some(pending) = pending.filter(|it| it.deadline_ms <= now_ms) {
        return roll_back(draft, pending.former, None, Author::Controller);
    }
    if let Some(expired) = approval::expire(draft) {
        return Ok(expired);
    }
    let changes_ms = draft.state.policy_changes_ms();
    if let Some(head) = head.filter(|_| changes_ms.is_some_and(|at_ms| at_ms <= now_ms)) {
        draft.put(PolicyInForce {
            evaluated_ms: now_ms,
            ..head
        });
    }
    Ok(Answer::Done)
}

/// What comes in force.
struct Step {
    text: String,
    author: String,
    approver: Option<String>,
    origin: VersionOrigin,
    gaining: u64,
    losing: u64,
}

fn put_in_force(
    draft: &mut Draft,
    step: Step,
    confirm_within_ms: Option<u64>,
    emergency: Option<Emergency>,
) -> Answer {
    let applied_ms = draft.now_ms();
    let former = former_version(draft, &step.author);
    let number = former + 1;
    draft.put(PolicyVersion {
        version: number,
        text: step.text,
        author: step.author,
        approver: step.approver,
        emergency: emergency.as_ref().map(|it| it.reason.clone()),
        applied_ms,
        origin: step.origin,
        gaining: step.gaining,
        losing: step.losing,
    });
    let pending = confirm_within_ms.map(|within_ms| PendingPolicy {
        former,
        within_ms,
        deadline_ms: applied_ms.saturating_add(within_ms),
        emergency,
    });
    draft.put(PolicyInForce {
        version: number,
        evaluated_ms: applied_ms,
        pending,
    });
    forget_oldest(draft);
    Answer::Policy { version: number }
}

/// The newest version's number. Before the first policy, the grants that stand alone become a version, so that there is
/// one to return to.
fn former_version(draft: &mut Draft, author: &str) -> u64 {
    if let Some(head) = draft.state.policy() {
        return head.version;
    }
    let text = draft.state.policy_text();
    let loose: Vec<EntityKey> = draft
        .state
        .grants()
        .filter(|grant| grant.origin.is_operator())
        .map(|grant| EntityKey::Grant(grant.id))
        .collect();
    loose.into_iter().for_each(|key| draft.delete(key));
    let applied_ms = draft.now_ms();
    draft.put(PolicyVersion {
        version: 1,
        text,
        author: author.to_owned(),
        approver: None,
        emergency: None,
        applied_ms,
        origin: VersionOrigin::Grants,
        gaining: 0,
        losing: 0,
    });
    1
}

fn forget_oldest(draft: &mut Draft) {
    let versions = &draft.state.policy_versions;
    let excess = versions.len().saturating_sub(MAX_POLICY_VERSIONS);
    let oldest: Vec<u64> = versions.keys().take(excess).copied().collect();
    for version in oldest {
        draft.delete(EntityKey::PolicyVersion(version));
    }
}

fn check_confirm_within(confirm_within_ms: Option<u64>) -> Result<(), Rejection> {
    match confirm_within_ms {
        Some(given_ms) if !(MIN_CONFIRM_WITHIN_MS..=MAX_CONFIRM_WITHIN_MS).contains(&given_ms) => {
            Err(invalid(
                "confirm_within_ms",
                Reason::ConfirmWithin { given_ms },
            ))
        }
        _ => Ok(()),
    }
}

fn refuse_while_pending(state: &State) -> Result<(), Rejection> {
    match state.policy() {
        Some(head) if head.pending.is_some() => {
            let version = head.version;
            Err(invalid("policy", Reason::PolicyPending { version }))
        }
        _ => Ok(()),
    }
}

fn invalid(field: &'static str, reason: Reason) -> Rejection {
    Rejection::Invalid { field, reason }
}

impl State {
    /// Refuses a policy whose tests don't hold or don't cover it.
    fn check_tests(&self, policy: &Policy, now_ms: u64) -> Result<(), Rejection> {
        match self.try_policy(policy, now_ms)?.refusal() {
            Some(reason) => Err(invalid("test", reason)),
            None => Ok(()),
        }
    }

    /// What is in force; None as long as no policy was ever applied.
    #[must_use]
    pub fn policy(&self) -> Option<&PolicyInForce> {
        self.policy.as_deref()
    }

    /// The text of a version, unless it was forgotten.
    #[must_use]
    pub fn policy_version(&self, version: u64) -> Option<&PolicyVersion> {
        self.policy_versions.get(&version).map(AsRef::as_ref)
    }

    /// All versions that are kept, oldest first.
    pub fn policy_versions(&self) -> impl DoubleEndedIterator<Item = &PolicyVersion> {
        self.policy_versions.values().map(AsRef::as_ref)
    }

    /// The text in force. Without one, a text that says what the grants say.
    #[must_use]
    pub fn policy_text(&self) -> String {
        let head = self.policy();
        match head.and_then(|head| self.policy_version(head.version)) {
            Some(version) => version.text.clone(),
            None => compile::text_of(self, self.grants().collect::<Vec<&Grant>>()),
        }
    }
}
