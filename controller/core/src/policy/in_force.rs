//! Which policy is in force, and the grants that follow from it. They are not stored: a text, the names of this state and
//! one moment give the same ones again.

use std::collections::BTreeSet;
use std::sync::Arc;

use malha_proto::{GrantId, OperatorId, Revision};
use serde::{Deserialize, Serialize};

use super::compile::{Compiled, compile};
use super::document::Policy;
use super::who::Who;
use crate::change::{Entity, EntityKey};
use crate::model::Selector;
use crate::state::State;
use crate::text_error::TextError;

/// The version that rules, and since when its schedules were last looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInForce {
    pub version: u64,
    /// The moment for which schedules and expiries were read.
    pub evaluated_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingPolicy>,
}

/// A policy that stays only if it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingPolicy {
    /// The version that comes back otherwise.
    pub former: u64,
    pub within_ms: u64,
    pub deadline_ms: u64,
    /// It was put in force by one operator alone: only another one confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
}

/// One operator acted where two are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    pub operator: OperatorId,
    /// In the operator's own words.
    pub reason: String,
}

/// A text that is or was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    pub version: u64,
    pub text: String,
    /// As the audit log names who put it in force.
    pub author: String,
    /// Who approved it, where an organization asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Why it came in force without an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
    pub applied_ms: u64,
    pub origin: VersionOrigin,
    /// Pairs of nodes of which one may open more on the other than before.
    pub gaining: u64,
    pub losing: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionOrigin {
    /// Made of the grants that stood alone before the first policy.
    Grants,
    Applied,
    /// The text of version `to` came back.
    Returned {
        to: u64,
    },
}

/// What the state derives from the policy in force.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    version: u64,
    pub(super) policy: Arc<Policy>,
    /// Organizations, sites and nodes that the text names: a change of these names is a change of the grants.
    names: BTreeSet<Who>,
    next_boundary_ms: Option<u64>,
}

impl State {
    /// When the policy must be looked at again, by [`crate::Command::Sweep`]: it changes by itself, or a proposal expires.
    #[must_use]
    pub fn policy_wakes_ms(&self) -> Option<u64> {
        let expiries = self.proposals().map(|it| it.expires_ms);
        expiries.chain(self.policy_changes_ms()).min()
    }

    /// When what is in force changes by itself: a schedule or an expiry changes a grant, or the time for a confirmation is
    /// over.
    #[must_use]
    pub fn policy_changes_ms(&self) -> Option<u64> {
        let head = self.policy()?;
        let deadline_ms = head.pending.as_ref().map(|pending| pending.deadline_ms);
        let boundary_ms = self.rules.as_ref().and_then(|rules| rules.next_boundary_ms);
        deadline_ms.into_iter().chain(boundary_ms).min()
    }

    /// What the text in force says.
    #[must_use]
    pub fn policy_in_words(&self) -> Option<&Policy> {
        self.rules.as_ref().map(|rules| &*rules.policy)
    }

    /// Makes the grants those that follow from the policy in force. What stays is not touched, so that what differs from
    /// the state before is what a change concerns.
    pub(crate) fn enforce_policy(&mut self) -> Result<(), TextError> {
        let Some(head) = self.policy.clone() else {
            return Ok(());
        };
        let policy = match &self.rules {
            Some(rules) if rules.version == head.version => rules.policy.clone(),
            _ => {
                let text = self.policy_version(head.version).map(|it| it.text.as_str());
                Arc::new(Policy::parse(text.unwrap_or_default())?)
            }
        };
        let compiled = compile(&policy, self, head.evaluated_ms);
        let whos = policy
            .rules
            .iter()
            .flat_map(|rule| rule.from.iter().chain(&rule.to));
        let names = whos.filter(|who| who.is_of_the_state()).cloned().collect();
        self.rules = Some(Arc::new(Rules {
            version: head.version,
            names,
            next_boundary_ms: policy
                .rules
                .iter()
                .filter_map(|rule| rule.next_boundary_ms(head.evaluated_ms))
                .min(),
            policy,
        }));
        self.replace_grants(compiled);
        self.remember_former()
    }

    /// This state as it would be under another policy.
    pub(super) fn under(&self, policy: &Policy, now_ms: u64) -> Self {
        let mut other = self.clone();
        other.replace_grants(compile(policy, self, now_ms));
        other
    }

    fn replace_grants(&mut self, compiled: Compiled) {
        let gone: Vec<GrantId> = self
            .grants
            .keys()
            .filter(|id| !compiled.grants.contains_key(id))
            .copied()
            .collect();
        for id in gone {
            self.delete(&EntityKey::Grant(id));
        }
        for (id, grant) in compiled.grants {
            if !self.grants.contains_key(&id) {
                self.put(Entity::Grant(grant));
            }
        }
    }
}

impl State {
    /// Keeps the way back at hand while the policy waits for its confirmation.
    fn remember_former(&mut self) -> Result<(), TextError> {
        self.former = None;
        let head = self.policy();
        let Some((pending, now_ms)) =
            head.and_then(|it| Some((it.pending.clone()?, it.evaluated_ms)))
        else {
            return Ok(());
        };
        // The version can't be forgotten meanwhile: it stands before the newest one.
        if let Some(version) = self.policy_version(pending.former) {
            let policy = Policy::parse(&version.text)?;
            let mut former = self.under(&policy, now_ms);
            former.revision = Revision::default();
            self.former = Some(Arc::new(former));
        }
        Ok(())
    }
}

/// Brings the grants in line after a command: when another policy is in force, or something came, went or was renamed that
/// the text names.
pub(crate) fn follow(state: &mut State, before: &State, touched: &BTreeSet<EntityKey>) {
    let Some(rules) = &state.rules else {
        enforce(state);
        return;
    };
    let renamed = |key: &EntityKey| {
        let selector = match key {
            EntityKey::Organization(id) => Selector::Organization(*id),
            EntityKey::Site(id) => Selector::Site(*id),
            EntityKey::Node(id) => Selector::Node(*id),
            _ => return false,
        };
        let (was, is) = (Who::of(before, selector), Who::of(state, selector));
        was != is && was.iter().chain(&is).any(|who| rules.names.contains(who))
    };
    if touched.contains(&EntityKey::Policy) || touched.iter().any(renamed) {
        enforce(state);
    } else if state.former.is_some() && !touched.is_empty() {
        // The former state must know the nodes that there are now.
        if let Err(error) = state.remember_former() {
            unreachable!("a text was parsed before it was put in force: {error}");
        }
    }
}

fn enforce(state: &mut State) {
    if let Err(error) = state.enforce_policy() {
        unreachable!("a text was parsed before it was put in force: {error}");
    }
}

impl Who {
    /// Whether it is the name of something that comes and goes, unlike a profile or a tag.
    pub(super) fn is_of_the_state(&self) -> bool {
        matches!(
            self,
            Self::Organization(_) | Self::Site(..) | Self::Node(..)
        )
    }
}
