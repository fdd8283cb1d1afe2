//! How the policy, its difference and its tests look in the API. It decides nothing.

use malha_core::policy::{
    CaseOutcome, CaseVerdict, Difference, Later, LaterChange, PolicyInForce, Row, RuleReason,
    RuleVerdict, Side, Trial, VersionOrigin,
};
use malha_core::{Question, Source, State, TextError};
use malha_proto::{Allow, Fingerprint, Protocol};
use malha_web::Language;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::grants::GrantProtocol;
use crate::api::policy::PolicyProposal;
use crate::api::trace::TraceRule;
use crate::paths;
use crate::refusals;

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// 0 before the first one.
    pub version: u64,
    /// TOML.
    pub text: String,
    /// When a schedule or an expiry changes a grant next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PolicyPending>,
    /// In the answer to a change that waits for a second operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<PolicyProposal>,
}

/// It goes again unless it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyPending {
    /// The version that comes back.
    pub former: u64,
    pub deadline_ms: u64,
    /// Why one operator put it in force alone: only another one confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
}

/// A text that is or was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyVersion {
    pub version: u64,
    pub in_force: bool,
    /// It is in force and waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PolicyPending>,
    pub origin: PolicyOrigin,
    /// The version whose text came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_to: Option<u64>,
    /// Who put it in force, or proposed it.
    pub author: String,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Why it came in force without an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
    pub applied_ms: u64,
    /// Pairs of nodes of which one could open more on the other than before.
    pub gaining: u64,
    pub losing: u64,
    /// Only where one version is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// How a version came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyOrigin {
    /// Made of the grants before the first policy.
    Grants,
    Applied,
    /// A former text came back.
    Returned,
}

/// Whether a text may come in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyCheck {
    pub ok: bool,
    /// Why the text is no policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<PolicyMistake>,
    /// Why it may not come in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    pub tests: Vec<PolicyTest>,
    /// Profiles that a grant touches, or touched until this text took it away, and no test does.
    pub uncovered: Vec<String>,
    /// Names that nothing has.
    pub unresolved: Vec<PolicyUnresolved>,
}

/// A mistake in a text and its place, both from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyMistake {
    pub line: usize,
    pub column: usize,
    pub problem: String,
}

/// How a `[[test]]` came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyTest {
    pub line: usize,
    /// The test in one line.
    pub said: String,
    pub outcome: PolicyTestOutcome,
    /// Pairs of nodes for which it holds.
    pub pairs: u64,
    /// A pair for which it does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyTestOutcome {
    Holds,
    /// Nobody is on one of its sides now.
    Nobody,
    Fails,
}

/// A name in a text that nothing has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyUnresolved {
    pub line: usize,
    pub place: String,
    pub name: String,
}

/// What a text would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyDifference {
    /// The version that it starts from.
    pub base: u64,
    /// What a save must give.
    #[schema(value_type = String)]
    pub hash: Fingerprint,
    /// Pairs of nodes of which the first may open more on the second than before.
    pub gaining: u64,
    pub losing: u64,
    /// At most 200.
    pub rows: Vec<PolicyRow>,
    pub rows_left_out: usize,
    /// Grants that came, went or were changed and are closed now, so that no row shows them: at most 200.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<PolicyLater>,
    #[serde(default)]
    pub later_left_out: usize,
}

/// A grant of a change that opens nothing now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyLater {
    pub name: String,
    /// In the new text; in the former one if the grant went.
    pub line: usize,
    pub change: PolicyLaterChange,
    /// When it opens, or when its time was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyLaterChange {
    /// It opens when its hours begin.
    Opens,
    /// It would have opened again.
    Gone,
    /// Its time was over already.
    Expired,
}

/// Two groups of nodes between which the same changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRow {
    pub from: PolicySide,
    pub to: PolicySide,
    pub pairs: u64,
    pub gained: Vec<PolicyOpening>,
    pub lost: Vec<PolicyOpening>,
}

/// A group of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicySide {
    /// `org/site/node`, at most 10.
    pub names: Vec<String>,
    pub count: usize,
}

/// Ports, both 0 for ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyOpening {
    #[schema(value_type = GrantProtocol)]
    pub protocol: Protocol,
    pub from_port: u16,
    pub to_port: u16,
}

/// What the grants of a text say of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyExplanation {
    /// Whether a grant or something of `beside` opens it.
    pub allowed: bool,
    /// Those that join the two nodes, in the order of the text.
    pub rules: Vec<PolicyRule>,
    /// What `from` may open on `to` without any grant, as edge, hub or balancer.
    pub beside: Vec<TraceRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRule {
    pub name: String,
    pub line: usize,
    pub reason: PolicyRuleReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyRuleReason {
    Opens,
    OtherPorts,
    OutsideSchedule,
    Expired,
}

impl Policy {
    pub(crate) fn of(state: &State) -> Self {
        let head = state.policy();
        Self {
            version: head.map_or(0, |head| head.version),
            text: state.policy_text(),
            changes_at_ms: state.policy_changes_ms(),
            pending: head.and_then(PolicyPending::of),
            proposed: None,
        }
    }
}

impl PolicyPending {
    fn of(head: &PolicyInForce) -> Option<Self> {
        let pending = head.pending.as_ref()?;
        Some(Self {
            former: pending.former,
            deadline_ms: pending.deadline_ms,
            emergency: pending.emergency.as_ref().map(|it| it.reason.clone()),
        })
    }
}

impl PolicyVersion {
    pub(super) fn of(
        state: &State,
        it: &malha_core::policy::PolicyVersion,
        with_text: bool,
    ) -> Self {
        let (origin, returned_to) = match it.origin {
            VersionOrigin::Grants => (PolicyOrigin::Grants, None),
            VersionOrigin::Applied => (PolicyOrigin::Applied, None),
            VersionOrigin::Returned { to } => (PolicyOrigin::Returned, Some(to)),
        };
        let head = state.policy().filter(|head| head.version == it.version);
        Self {
            version: it.version,
            in_force: head.is_some(),
            pending: head.and_then(PolicyPending::of),
            origin,
            returned_to,
            author: it.author.clone(),
            approver: it.approver.clone(),
            emergency: it.emergency.clone(),
            applied_ms: it.applied_ms,
            gaining: it.gaining,
            losing: it.losing,
            text: with_text.then(|| it.text.clone()),
        }
    }
}

impl PolicyCheck {
    pub(super) fn mistaken(error: &TextError, language: Language) -> Self {
        let problem = refusals::problem(error);
        Self {
            ok: false,
            mistake: Some(PolicyMistake {
                line: error.line,
                column: error.column,
                problem: problem.in_language(language).to_owned(),
            }),
            refusal: None,
            tests: Vec::new(),
            uncovered: Vec::new(),
            unresolved: Vec::new(),
        }
    }

    pub(super) fn of(state: &State, trial: &Trial, language: Language) -> Self {
        let refusal = trial.refusal();
        let refusal = refusal.map(|it| refusals::reason(&it).in_language(language).to_owned());
        let unresolved = trial.unresolved.iter().map(|it| PolicyUnresolved {
            line: it.line,
            place: it.place.clone(),
            name: it.name.clone(),
        });
        Self {
            ok: refusal.is_none(),
            mistake: None,
            refusal,
            tests: trial
                .outcomes
                .iter()
                .map(|outcome| PolicyTest::of(state, outcome))
                .collect(),
            uncovered: trial.uncovered.clone(),
            unresolved: unresolved.collect(),
        }
    }
}

impl PolicyTest {
    fn of(state: &State, CaseOutcome { case, verdict }: &CaseOutcome) -> Self {
        let (outcome, pairs, ends) = match verdict {
            CaseVerdict::Holds { pairs } => (PolicyTestOutcome::Holds, *pairs, None),
            CaseVerdict::Nobody => (PolicyTestOutcome::Nobody, 0, None),
            CaseVerdict::Fails { from, to } => (PolicyTestOutcome::Fails, 0, Some((*from, *to))),
        };
        Self {
            line: case.line,
            said: case.shown(),
            outcome,
            pairs,
            from: ends.map(|(from, _)| paths::node(state, from)),
            to: ends.map(|(_, to)| paths::node(state, to)),
        }
    }
}

impl PolicyDifference {
    pub(super) fn of(it: &Difference) -> Self {
        Self {
            base: it.base,
            hash: it.hash,
            gaining: it.gaining,
            losing: it.losing,
            rows: it.rows.iter().map(PolicyRow::of).collect(),
            rows_left_out: it.rows_left_out,
            later: it.later.iter().map(PolicyLater::of).collect(),
            later_left_out: it.later_left_out,
        }
    }
}

impl PolicyLater {
    fn of(it: &Later) -> Self {
        let (change, at_ms) = match it.change {
            LaterChange::Opens { from_ms } => (PolicyLaterChange::Opens, from_ms),
            LaterChange::Gone => (PolicyLaterChange::Gone, None),
            LaterChange::Expired { since_ms } => (PolicyLaterChange::Expired, Some(since_ms)),
        };
        Self {
            name: it.name.to_string(),
            line: it.line,
            change,
            at_ms,
        }
    }
}

impl PolicyOpening {
    pub(in crate::api) fn of(allow: &Allow) -> Self {
        Self {
            protocol: allow.protocol,
            from_port: allow.from_port,
            to_port: allow.to_port,
        }
    }
}

impl PolicyRow {
    fn of(row: &Row) -> Self {
        let side = |side: &Side| PolicySide {
            names: side.names.clone(),
            count: side.count,
        };
        let openings = |allows: &[Allow]| allows.iter().map(PolicyOpening::of).collect();
        Self {
            from: side(&row.from),
            to: side(&row.to),
            pairs: row.pairs,
            gained: openings(&row.gained),
            lost: openings(&row.lost),
        }
    }
}

impl PolicyExplanation {
    pub(super) fn of(
        state: &State,
        question: &Question,
        rules: impl Iterator<Item = RuleVerdict>,
    ) -> Self {
        let rules = rules.map(|it| PolicyRule {
            name: it.name.to_string(),
            line: it.line,
            reason: match it.reason {
                RuleReason::Opens => PolicyRuleReason::Opens,
                RuleReason::OtherPorts => PolicyRuleReason::OtherPorts,
                RuleReason::OutsideSchedule => PolicyRuleReason::OutsideSchedule,
                RuleReason::Expired => PolicyRuleReason::Expired,
            },
        });
        let rules: Vec<PolicyRule> = rules.collect();
        let said = state.explain(question);
        let permissions = said.into_iter().flat_map(|it| it.permissions);
        let beside = permissions.filter(|it| !matches!(it.source, Source::Grant(_)));
        let beside = beside.map(|it| {
            let covers = it.allow.covers(question.protocol, question.port);
            TraceRule::of(state, &it, covers)
        });
        let beside: Vec<TraceRule> = beside.collect();
        let mut reasons = rules.iter().map(|rule| rule.reason);
        Self {
            allowed: reasons.any(|reason| reason == PolicyRuleReason::Opens)
                || beside.iter().any(|it| it.decides),
            rules,
            beside,
        }
    }
}
