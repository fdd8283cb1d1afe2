//! What one peer may open towards this node, and what came of it: a count per permission and per reason of refusal. It
//! never judges a packet; the filter does.

use crate::config::{Allow, Protocol};
use crate::filter::{Refusal, Verdict};
use crate::packet::Unjudged;
use crate::status::{Refusals, RuleStatus};

/// The permissions of a peer, in the order of its configuration. One per peer.
#[derive(Default)]
pub(crate) struct Ingress {
    rules: Vec<RuleStatus>,
    answers: u64,
    refusals: Refusals,
}

impl Ingress {
    pub(crate) fn new(rules: &[Allow]) -> Self {
        let mut ingress = Self::default();
        ingress.change(rules);
        ingress
    }

    /// Puts other permissions in the place of these. One that stays keeps its count.
    pub(crate) fn change(&mut self, rules: &[Allow]) {
        let mut old = std::mem::take(&mut self.rules);
        let counted = rules.iter().map(|rule| {
            let same = old.iter_mut().find(|status| status.rule == *rule);
            RuleStatus {
                rule: rule.clone(),
                admitted: same.map_or(0, |status| std::mem::take(&mut status.admitted)),
            }
        });
        self.rules = counted.collect();
    }

    /// The first permission that covers it.
    pub(crate) fn covering(&self, protocol: Protocol, port: u16) -> Option<usize> {
        self.rules
            .iter()
            .position(|status| status.rule.covers(protocol, port))
    }

    pub(crate) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Rule(at) => self.rules[at].admitted += 1,
            Verdict::Answer => self.answers += 1,
            Verdict::Refused(refusal) => self.refusals.count(refusal),
        }
    }

    pub(crate) fn rules(&self) -> &[RuleStatus] {
        &self.rules
    }

    pub(crate) fn answers(&self) -> u64 {
        self.answers
    }

    pub(crate) fn refusals(&self) -> Refusals {
        self.refusals
    }
}

impl Refusals {
    pub(crate) fn count(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Default => &mut self.no_rule,
            Refusal::NotOurs => &mut self.not_ours,
            Refusal::Unjudged(Unjudged::Malformed) => &mut self.malformed,
            Refusal::Unjudged(Unjudged::Fragment) => &mut self.fragment,
            Refusal::Unjudged(Unjudged::Extension) => &mut self.extension,
        };
        *counter += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ingress: &Ingress) -> Vec<u64> {
        ingress
            .rules()
            .iter()
            .map(|status| status.admitted)
            .collect()
    }

    #[test]
    fn the_first_permission_that_covers_a_port_is_the_one_that_counts() {
        let mut ingress = Ingress::new(&[
            Allow::udp(80..=90),
            Allow::tcp(80..=90),
            Allow::tcp(85..=85),
        ]);
        let at = ingress.covering(Protocol::Tcp, 85).unwrap();
        ingress.count(Verdict::Rule(at));
        assert_eq!(counts(&ingress), [0, 1, 0]);
        assert_eq!(ingress.covering(Protocol::Icmp, 85), None);
    }

    #[test]
    fn a_permission_that_stays_keeps_its_count_wherever_it_moves() {
        let mut ingress = Ingress::new(&[Allow::tcp(80..=80), Allow::icmp()]);
        for at in [0, 0, 1] {
            ingress.count(Verdict::Rule(at));
        }
        ingress.change(&[Allow::icmp(), Allow::tcp(443..=443), Allow::tcp(80..=80)]);
        assert_eq!(counts(&ingress), [1, 0, 2]);
        ingress.change(&[Allow::tcp(443..=443)]);
        ingress.change(&[Allow::tcp(80..=80)]);
        assert_eq!(counts(&ingress), [0], "a permission that went starts anew");
    }
}
