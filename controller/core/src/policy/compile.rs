//! From what a text says to grants, for one state and one moment; and from grants back to a text. A name that nobody has
//! gives no grant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use malha_proto::{Fingerprint, GrantId, Label, Protocol};

use super::document::Policy;
use super::who::Who;
use crate::limits::MAX_POLICY_TESTS;
use crate::model::{Grant, GrantOrigin, Opening, Selector};
use crate::state::State;

/// The grants that follow from a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Compiled {
    pub(super) grants: BTreeMap<GrantId, Grant>,
}

/// A name in a text that nothing has: the grant or test means nobody by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Where, like `grant xroad: from`.
    pub place: String,
    pub line: usize,
    pub name: String,
}

pub(super) fn compile(policy: &Policy, state: &State, now_ms: u64) -> Compiled {
    let mut compiled = Compiled::default();
    for rule in policy.rules.iter().filter(|rule| rule.holds(now_ms)) {
        let selectors = |side: &[Who]| -> Vec<Selector> {
            side.iter().filter_map(|who| who.selector(state)).collect()
        };
        let to = selectors(&rule.to);
        for from in selectors(&rule.from) {
            for to in &to {
                for allow in &rule.opens {
                    compiled.add(&rule.name, from, *to, allow);
                }
            }
        }
    }
    compiled
}

impl Compiled {
    /// The id follows from what the grant says, so that it is the same after each compilation. Its highest bit keeps it apart
    /// from those that are given in turn.
    fn add(&mut self, name: &Label, from: Selector, to: Selector, allow: &Opening) {
        let said = format!("{name} {from:?} {to:?} {allow:?}");
        let hash = Fingerprint::of(said.as_bytes()).0;
        let mut id = hash[..8]
            .iter()
            .fold(0, |id: u64, byte| id << 8 | u64::from(*byte))
            | DERIVED_BIT;
        while self.grants.contains_key(&GrantId(id)) {
            id = id.wrapping_add(1) | DERIVED_BIT;
        }
        let grant = Grant {
            id: GrantId(id),
            from,
            to,
            allow: allow.clone(),
            origin: GrantOrigin::Policy { name: name.clone() },
        };
        self.grants.insert(grant.id, grant);
    }
}

impl State {
    /// The names in a policy that nothing in this state has.
    #[must_use]
    pub fn unresolved(&self, policy: &Policy) -> Vec<Unresolved> {
        let mut unresolved = Vec::new();
        let mut look = |who: &Who, place: String, line: usize| {
            if who.selector(self).is_none() {
                unresolved.push(Unresolved {
                    place,
                    line,
                    name: who.to_string(),
                });
            }
        };
        for rule in &policy.rules {
            for (field, side) in [("from", &rule.from), ("to", &rule.to)] {
                for who in side {
                    look(who, format!("grant {}: {field}", rule.name), rule.line);
                }
            }
        }
        for case in &policy.cases {
            look(&case.from, "test: from".to_owned(), case.line);
            look(&case.to, "test: to".to_owned(), case.line);
        }
        unresolved
    }
}

/// A policy's text that says what these grants say, with as many tests as it takes that each name stands in one.
pub(super) fn text_of<'a>(state: &State, grants: impl IntoIterator<Item = &'a Grant>) -> String {
    let mut text = String::from("version = 1\n");
    let mut names = BTreeSet::new();
    let mut tested = BTreeSet::new();
    let mut tests = 0;
    for grant in grants {
        let (Some(from), Some(to)) = (Who::of(state, grant.from), Who::of(state, grant.to)) else {
            continue;
        };
        let name = format!("grant-{}", grant.id);
        if !names.insert(name.clone()) {
            continue;
        }
        let opens = match &grant.allow {
            Opening::Service { service } => format!("service = \"{service}\""),
            Opening::Ports(allow) => match allow.protocol {
                Protocol::Icmp => "protocol = \"icmp\"".to_owned(),
                protocol => {
                    let name = if protocol == Protocol::Tcp {
                        "tcp"
                    } else {
                        "udp"
                    };
                    // Port zero can be granted alone, but nothing can have it.
                    let first = allow.from_port.max(1);
                    let last = allow.to_port.max(first);
                    let ports = match first == last {
                        true => first.to_string(),
                        false => format!("{first}-{last}"),
                    };
                    format!("protocol = \"{name}\"\nports = [\"{ports}\"]")
                }
            },
        };
        // Writing into a String can't fail.
        let _ = write!(
            text,
            "\n[[grant]]\nname = \"{name}\"\nfrom = [\"{from}\"]\nto = [\"{to}\"]\n{opens}\n"
        );
        let Some(port) = tested_port(&grant.allow) else {
            continue;
        };
        let is_new = tested.insert(from.clone()) | tested.insert(to.clone());
        if is_new && tests < MAX_POLICY_TESTS {
            tests += 1;
            let _ = write!(
                text,
                "\n[[test]]\nfrom = \"{from}\"\nto = \"{to}\"\n{port}\nexpect = \"allow\"\n"
            );
        }
    }
    text
}

/// Protocol and port by which a test looks at a grant; None where that depends on who offers the service.
fn tested_port(opening: &Opening) -> Option<String> {
    let Opening::Ports(allow) = opening else {
        return None;
    };
    let port = allow.from_port.max(1);
    Some(match allow.protocol {
        Protocol::Icmp => "protocol = \"icmp\"".to_owned(),
        Protocol::Tcp => format!("protocol = \"tcp\"\nport = {port}"),
        Protocol::Udp => format!("protocol = \"udp\"\nport = {port}"),
    })
}

const DERIVED_BIT: u64 = 1 << 63;
