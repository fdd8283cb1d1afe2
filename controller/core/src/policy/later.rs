//! The grants of a change that are closed at this moment. A difference compares what is open now, so without these a grant for
//! Mondays would look like no change on a Sunday, and one that is over like one that was forgotten. It opens and closes nothing.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::Label;

use super::document::{Policy, Rule};
use crate::state::State;

/// A grant that came, went or was changed, and opens nothing now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    pub name: Label,
    /// In the new text; in the former one if it went.
    pub line: usize,
    pub change: LaterChange,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaterChange {
    /// It opens when its hours begin; never if it is over before.
    Opens { from_ms: Option<u64> },
    /// It would have opened again.
    Gone,
    /// Its time was over already: it never opens.
    Expired { since_ms: u64 },
}

impl State {
    /// What this policy brings and takes that a comparison at `now_ms` does not see.
    pub(super) fn later(&self, policy: &Policy, now_ms: u64) -> Vec<Later> {
        // What is in force was read before it came in force.
        let former = Policy::parse(&self.policy_text()).unwrap_or_default();
        let came = changed(policy, &former).filter_map(|rule| {
            let change = match rule.expires_ms {
                _ if rule.holds(now_ms) => return None,
                Some(since_ms) if since_ms <= now_ms => LaterChange::Expired { since_ms },
                end_ms => LaterChange::Opens {
                    from_ms: rule
                        .schedule
                        .as_ref()
                        .and_then(|it| it.next_boundary_ms(now_ms))
                        .filter(|from_ms| end_ms.is_none_or(|end_ms| *from_ms < end_ms)),
                },
            };
            Some(rule.later(change))
        });
        let named: BTreeSet<&Label> = policy.rules.iter().map(|it| &it.name).collect();
        let went = changed(&former, policy).filter(|rule| {
            let is_over = rule.expires_ms.is_some_and(|end_ms| end_ms <= now_ms);
            !is_over && !rule.holds(now_ms) && !named.contains(&rule.name)
        });
        came.chain(went.map(|rule| rule.later(LaterChange::Gone)))
            .collect()
    }
}

impl Rule {
    fn later(&self, change: LaterChange) -> Later {
        Later {
            name: self.name.clone(),
            line: self.line,
            change,
        }
    }
}

/// The rules of one policy that stand in the other one not at all, or otherwise.
fn changed<'a>(one: &'a Policy, other: &'a Policy) -> impl Iterator<Item = &'a Rule> {
    let others: BTreeMap<&Label, &Rule> = other.rules.iter().map(|it| (&it.name, it)).collect();
    one.rules.iter().filter(move |rule| {
        let other = others.get(&rule.name);
        // Where it stands is not what it says.
        !other.is_some_and(|other| {
            let line = other.line;
            Rule {
                line,
                ..(*rule).clone()
            } == **other
        })
    })
}
