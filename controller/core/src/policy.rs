//! The policy: one text that says who may open what on whom, from which every grant follows. A text comes in force only if
//! its tests hold, they cover every profile that it speaks of, and what it changes is what its author saw.

mod cases;
mod compile;
mod diff;
mod document;
mod evaluate;
mod groups;
mod in_force;
mod ports;
mod schedule;
mod who;

use malha_proto::Fingerprint;

use crate::apply::found;
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{MAX_CONFIRM_WITHIN_MS, MAX_POLICY_VERSIONS, MIN_CONFIRM_WITHIN_MS};
use crate::model::Grant;
use crate::state::State;

pub use cases::{CaseOutcome, CaseVerdict, Trial};
pub use compile::Unresolved;
pub use diff::{Difference, Row, Side};
pub(crate) use document::position;
pub use document::{Case, Policy, PolicyError, Rule};
pub use evaluate::{RuleReason, RuleVerdict};
pub use in_force::{PendingPolicy, PolicyInForce, PolicyVersion, VersionOrigin};
pub(crate) use in_force::{Rules, follow};
pub use schedule::Schedule;
pub use who::{Who, profile_name};

pub(crate) fn apply(
    draft: &mut Draft,
    text: &str,
    difference: Fingerprint,
    confirm_within_ms: Option<u64>,
    author: &str,
) -> Result<Answer, Rejection> {
    let now_ms = draft.now_ms();
    check_confirm_within(confirm_within_ms)?;
    refuse_while_pending(&draft.state)?;
    let policy = Policy::parse(text)?;
    let seen = draft.state.policy_difference(&policy, text, now_ms)?;
    if seen.hash != difference {
        let problem = format!(
            "what this text changes is not what was seen (now {} pairs gain and {} lose): look at the difference again \
             and give its hash",
            seen.gaining, seen.losing
        );
        return Err(invalid("difference", problem));
    }
    let trial = draft.state.try_policy(&policy, now_ms)?;
    if let Some(problem) = trial.refusal() {
        return Err(invalid("test", problem));
    }
    let former = former_version(draft, author);
    let version = PolicyVersion {
        version: former + 1,
        text: text.to_owned(),
        author: author.to_owned(),
        applied_ms: now_ms,
        origin: VersionOrigin::Applied,
        gaining: seen.gaining,
        losing: seen.losing,
    };
    let pending = confirm_within_ms.map(|within_ms| PendingPolicy {
        former,
        within_ms,
        deadline_ms: now_ms.saturating_add(within_ms),
    });
    Ok(put_in_force(draft, version, pending))
}

pub(crate) fn confirm(draft: &mut Draft, version: u64) -> Result<Answer, Rejection> {
    let now_ms = draft.now_ms();
    let head = found(draft.state.policy(), "policy", "in force")?.clone();
    let Some(pending) = head.pending.as_ref().filter(|_| head.version == version) else {
        let problem = format!(
            "version {version} waits for no confirmation; in force is version {}",
            head.version
        );
        return Err(invalid("version", problem));
    };
    if pending.deadline_ms <= now_ms {
        let problem = "the time for the confirmation is over, and the former policy comes back: apply it again";
        return Err(invalid("policy", problem.to_owned()));
    }
    draft.put(PolicyInForce {
        pending: None,
        ..head
    });
    Ok(Answer::Policy { version })
}

/// A former text comes back as it is: it passed its tests when it came, and a way back must not depend on more.
pub(crate) fn roll_back(draft: &mut Draft, to: u64, author: &str) -> Result<Answer, Rejection> {
    let former = found(draft.state.policy_version(to), "policy version", to)?;
    let policy = Policy::parse(&former.text)?;
    let text = former.text.clone();
    let now_ms = draft.now_ms();
    let change = draft.state.policy_difference(&policy, &text, now_ms)?;
    let latest = former_version(draft, author);
    let version = PolicyVersion {
        version: latest + 1,
        text,
        author: author.to_owned(),
        applied_ms: now_ms,
        origin: VersionOrigin::Returned { to },
        gaining: change.gaining,
        losing: change.losing,
    };
    Ok(put_in_force(draft, version, None))
}

/// Brings back the policy that an unconfirmed one replaced, or looks at schedules again, when the time has come.
pub(crate) fn sweep(draft: &mut Draft) -> Result<Answer, Rejection> {
    let now_ms = draft.now_ms();
    let Some(head) = draft.state.policy().cloned() else {
        return Ok(Answer::Done);
    };
    if let Some(pending) = &head.pending
        && pending.deadline_ms <= now_ms
    {
        return roll_back(draft, pending.former, CONTROLLER);
    }
    if draft
        .state
        .policy_wakes_ms()
        .is_some_and(|at_ms| at_ms <= now_ms)
    {
        draft.put(PolicyInForce {
            evaluated_ms: now_ms,
            ..head
        });
    }
    Ok(Answer::Done)
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
        applied_ms,
        origin: VersionOrigin::Grants,
        gaining: 0,
        losing: 0,
    });
    1
}

fn put_in_force(
    draft: &mut Draft,
    version: PolicyVersion,
    pending: Option<PendingPolicy>,
) -> Answer {
    let number = version.version;
    let evaluated_ms = version.applied_ms;
    draft.put(version);
    draft.put(PolicyInForce {
        version: number,
        evaluated_ms,
        pending,
    });
    let excess = draft
        .state
        .policy_versions
        .len()
        .saturating_sub(MAX_POLICY_VERSIONS);
    let oldest: Vec<u64> = draft
        .state
        .policy_versions
        .keys()
        .take(excess)
        .copied()
        .collect();
    for version in oldest {
        draft.delete(EntityKey::PolicyVersion(version));
    }
    Answer::Policy { version: number }
}

fn check_confirm_within(confirm_within_ms: Option<u64>) -> Result<(), Rejection> {
    match confirm_within_ms {
        Some(ms) if !(MIN_CONFIRM_WITHIN_MS..=MAX_CONFIRM_WITHIN_MS).contains(&ms) => Err(invalid(
            "confirm_within_ms",
            format!("give {MIN_CONFIRM_WITHIN_MS} to {MAX_CONFIRM_WITHIN_MS}, not {ms}"),
        )),
        _ => Ok(()),
    }
}

fn refuse_while_pending(state: &State) -> Result<(), Rejection> {
    match state.policy() {
        Some(head) if head.pending.is_some() => {
            let problem = format!(
                "version {} waits for its confirmation: confirm it or roll it back first",
                head.version
            );
            Err(invalid("policy", problem))
        }
        _ => Ok(()),
    }
}

fn invalid(field: &'static str, problem: String) -> Rejection {
    Rejection::Invalid { field, problem }
}

impl State {
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

const CONTROLLER: &str = "controller";
