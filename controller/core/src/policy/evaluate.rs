//! What a text says of one packet, read rule by rule and name by name: without grants, indexes or ids. It explains a policy
//! to people, and is the oracle against which the compiled filters are tested.

use malha_proto::{Label, Protocol};

use super::document::{Policy, Rule};
use crate::explain::Question;
use crate::model::{Node, Opening};
use crate::state::State;

/// What one `[[grant]]` says of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleVerdict {
    pub name: Label,
    pub line: usize,
    pub reason: RuleReason,
}

/// The first thing that keeps a rule from opening the port, or that nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleReason {
    Opens,
    /// It opens other ports or protocols between the two.
    OtherPorts,
    /// It would open this port, but not at this hour.
    OutsideSchedule,
    Expired,
}

impl Policy {
    /// Whether a rule lets `from` open the port on `to`.
    #[must_use]
    pub fn allows(&self, state: &State, question: &Question, now_ms: u64) -> bool {
        self.explain(state, question, now_ms)
            .any(|verdict| verdict.reason == RuleReason::Opens)
    }

    /// What each rule that joins the two nodes says, in the order of the text.
    pub fn explain<'a>(
        &'a self,
        state: &'a State,
        question: &'a Question,
        now_ms: u64,
    ) -> impl Iterator<Item = RuleVerdict> + 'a {
        let ends = state.node(question.from).zip(state.node(question.to));
        let ends = ends.filter(|(from, to)| from.id != to.id);
        let rules = ends
            .into_iter()
            .flat_map(|ends| self.rules.iter().map(move |rule| (ends, rule)));
        rules.filter_map(move |((from, to), rule)| {
            let joins = rule.from.iter().any(|who| who.means(state, from))
                && rule.to.iter().any(|who| who.means(state, to));
            joins.then(|| RuleVerdict {
                name: rule.name.clone(),
                line: rule.line,
                reason: rule.reason(state, to, question, now_ms),
            })
        })
    }
}

impl Rule {
    fn reason(&self, state: &State, to: &Node, question: &Question, now_ms: u64) -> RuleReason {
        let covers = |opening: &Opening| match opening {
            Opening::Ports(allow) => allow.covers(question.protocol, question.port),
            Opening::Service { service } => {
                question.protocol == Protocol::Tcp
                    && state
                        .services_of(to.id)
                        .any(|it| it.name == *service && it.port.number() == question.port)
            }
        };
        if !self.opens.iter().any(covers) {
            RuleReason::OtherPorts
        } else if self.expires_ms.is_some_and(|end_ms| end_ms <= now_ms) {
            RuleReason::Expired
        } else if !self.holds(now_ms) {
            RuleReason::OutsideSchedule
        } else {
            RuleReason::Opens
        }
    }
}
