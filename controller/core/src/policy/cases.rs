//! The tests that stand in a policy: each must hold for every pair of nodes that it means, and together they must speak of
//! every profile that a grant touches.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{NodeId, Profile};

use super::compile::Unresolved;
use super::document::{Case, Policy};
use super::groups::{Lens, check_pairs, pairs};
use super::who::{Who, profile_name};
use crate::command::Rejection;
use crate::reason::Reason;
use crate::state::State;

/// How a policy's tests came out against a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    pub outcomes: Vec<CaseOutcome>,
    /// Profiles that a grant touches, or touched until this policy took it away, and no test does: a policy with any is
    /// refused.
    pub uncovered: Vec<String>,
    /// Names that nothing has: no reason to refuse, but worth a look.
    pub unresolved: Vec<Unresolved>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseOutcome {
    pub case: Case,
    pub verdict: CaseVerdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseVerdict {
    /// It holds for this many pairs of nodes.
    Holds { pairs: u64 },
    /// Nobody is on one of its sides now, so it says nothing yet.
    Nobody,
    /// For this pair it is the other way round; there may be more.
    Fails { from: NodeId, to: NodeId },
}

impl State {
    /// Runs a policy's tests against this state, each at its own time or at `now_ms`.
    pub fn try_policy(&self, policy: &Policy, now_ms: u64) -> Result<Trial, Rejection> {
        let mut states: BTreeMap<u64, Self> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(policy.cases.len());
        for case in &policy.cases {
            let at_ms = case.at_ms.unwrap_or(now_ms);
            let state = states
                .entry(at_ms)
                .or_insert_with(|| self.under(policy, at_ms));
            outcomes.push(CaseOutcome {
                case: case.clone(),
                verdict: state.try_case(case)?,
            });
        }
        Ok(Trial {
            outcomes,
            uncovered: self.uncovered(policy),
            unresolved: self.unresolved(policy),
        })
    }

    fn try_case(&self, case: &Case) -> Result<CaseVerdict, Rejection> {
        let (from, to) = (self.meant(&case.from), self.meant(&case.to));
        let mut lens = Lens::default();
        lens.look_at(self.grants());
        let (from, to) = lens.group(self, &from, &to);
        check_pairs(&from, &to)?;
        let mut count = 0;
        for from in from.values() {
            for to in to.values() {
                let Some(pairs) = pairs(self, from, to) else {
                    continue;
                };
                let mut permissions = self.permissions(pairs.from, pairs.to);
                let open = permissions.any(|it| it.allow.covers(case.protocol, case.port));
                if open != case.allowed {
                    return Ok(CaseVerdict::Fails {
                        from: pairs.from.id,
                        to: pairs.to.id,
                    });
                }
                count += pairs.count;
            }
        }
        Ok(match count {
            0 => CaseVerdict::Nobody,
            pairs => CaseVerdict::Holds { pairs },
        })
    }

    /// The nodes that a name means now.
    pub(super) fn meant(&self, who: &Who) -> BTreeSet<NodeId> {
        let selector = who.selector(self);
        selector
            .into_iter()
            .flat_map(|selector| self.members(selector))
            .collect()
    }

    fn uncovered(&self, policy: &Policy) -> Vec<String> {
        let whos =
            |sides: &mut dyn Iterator<Item = &Who>| -> BTreeSet<Who> { sides.cloned().collect() };
        let mut rules = whos(
            &mut policy
                .rules
                .iter()
                .flat_map(|rule| rule.from.iter().chain(&rule.to)),
        );
        rules.extend(self.differing_names(policy));
        let cases = whos(&mut policy.cases.iter().flat_map(|case| [&case.from, &case.to]));
        let covered = self.profiles(&cases);
        let missed = self.profiles(&rules).into_iter();
        missed
            .filter(|profile| !covered.contains(profile))
            .map(profile_name)
            .collect()
    }

    /// The profiles named, and those of the nodes named.
    fn profiles(&self, whos: &BTreeSet<Who>) -> BTreeSet<Profile> {
        let mut profiles = BTreeSet::new();
        for who in whos {
            if let Who::Profile(profile) = who {
                profiles.insert(*profile);
                continue;
            }
            let nodes = self.meant(who).into_iter();
            profiles.extend(nodes.filter_map(|id| Some(self.node(id)?.profile)));
        }
        profiles
    }
}

impl Trial {
    /// Why the policy may not come in force; None when it may.
    #[must_use]
    pub fn refusal(&self) -> Option<Reason> {
        let failed: Vec<String> = self
            .outcomes
            .iter()
            .filter(|outcome| matches!(outcome.verdict, CaseVerdict::Fails { .. }))
            .map(|outcome| outcome.case.shown())
            .collect();
        if !failed.is_empty() {
            let shown = failed.iter().take(MAX_SHOWN).cloned().collect::<Vec<_>>();
            return Some(Reason::TestsFail {
                count: failed.len(),
                cases: shown.join("; "),
            });
        }
        let first = self.uncovered.first()?;
        Some(Reason::TestsMissing {
            profiles: self.uncovered.join(", "),
            first: first.clone(),
        })
    }
}

impl Case {
    /// In one line, for people of any language: `web, L12: allow edge → profile:garage, tcp 80`.
    #[must_use]
    pub fn shown(&self) -> String {
        let verdict = if self.allowed { "allow" } else { "deny" };
        let name = self.name.as_ref().map(|name| format!("{name}, "));
        let port = match self.protocol {
            malha_proto::Protocol::Icmp => "icmp".to_owned(),
            malha_proto::Protocol::Tcp => format!("tcp {}", self.port),
            malha_proto::Protocol::Udp => format!("udp {}", self.port),
        };
        format!(
            "{}L{}: {verdict} {} → {}, {port}",
            name.unwrap_or_default(),
            self.line,
            self.from,
            self.to
        )
    }
}

/// Failing tests that a refusal names.
const MAX_SHOWN: usize = 5;
