//! What a policy would change: which nodes gain and which lose which ports, before anybody saves it. The hash over it binds
//! what was seen to what is done.

use std::collections::BTreeSet;

use malha_proto::{Allow, Fingerprint, NodeId};

use super::document::Policy;
use super::groups::{Lens, check_pairs, open, pairs};
use super::later::Later;
use super::ports;
use crate::command::Rejection;
use crate::limits::{MAX_DIFFERENCE_LATER, MAX_DIFFERENCE_ROWS, MAX_ROW_NAMES};
use crate::model::{Grant, Opening, Selector};
use crate::state::State;

/// The difference between what is in force and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The version that it starts from; 0 before the first one.
    pub base: u64,
    /// SHA-256 over the base, the text, and every row with every node of it.
    pub hash: Fingerprint,
    /// Pairs of nodes of which the first may open more on the second than before.
    pub gaining: u64,
    pub losing: u64,
    /// At most [`MAX_DIFFERENCE_ROWS`], those that concern most pairs first.
    pub rows: Vec<Row>,
    pub rows_left_out: usize,
    /// Grants that the rows don't show, because they are closed now: at most [`MAX_DIFFERENCE_LATER`], in the order of the texts.
    pub later: Vec<Later>,
    pub later_left_out: usize,
    /// Every node on a side of a row.
    pub nodes: BTreeSet<NodeId>,
}

/// Two groups of nodes between which the same changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub from: Side,
    pub to: Side,
    /// Pairs of different nodes.
    pub pairs: u64,
    pub gained: Vec<Allow>,
    pub lost: Vec<Allow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// `org/site/node`, at most [`MAX_ROW_NAMES`].
    pub names: Vec<String>,
    pub count: usize,
}

impl State {
    /// What would change if this text came in force now.
    pub fn policy_difference(
        &self,
        policy: &Policy,
        text: &str,
        now_ms: u64,
    ) -> Result<Difference, Rejection> {
        let after = self.under(policy, now_ms);
        let base = self.policy().map_or(0, |head| head.version);
        let mut finding = Finding::new(base, text);
        let mut later = self.later(policy, now_ms);
        finding.difference.later_left_out = later.len().saturating_sub(MAX_DIFFERENCE_LATER);
        later.truncate(MAX_DIFFERENCE_LATER);
        finding.difference.later = later;
        let differing = differing(self, &after);
        let members = |side: fn(&Said) -> Selector| -> BTreeSet<NodeId> {
            let selectors: BTreeSet<Selector> = differing.iter().map(side).collect();
            selectors
                .into_iter()
                .flat_map(|it| self.members(it))
                .collect()
        };
        let mut lens = Lens::default();
        lens.look_at(self.grants().chain(after.grants()));
        let (from, to) = lens.group(self, &members(|said| said.0), &members(|said| said.1));
        check_pairs(&from, &to)?;
        let joined: BTreeSet<(Selector, Selector)> =
            differing.iter().map(|said| (said.0, said.1)).collect();
        for (from_look, from) in &from {
            for (to_look, to) in &to {
                let concerns = from_look.selectors.iter().any(|from| {
                    let mut to = to_look.selectors.iter();
                    to.any(|to| joined.contains(&(*from, *to)))
                });
                if concerns {
                    finding.compare(self, &after, from, to);
                }
            }
        }
        Ok(finding.finish())
    }
}

/// What a grant says, without its id and its name.
type Said = (Selector, Selector, Opening);

/// What only one of two states' grants say.
fn differing(before: &State, after: &State) -> BTreeSet<Said> {
    let said = |state: &State| -> BTreeSet<Said> {
        let said = |grant: &Grant| (grant.from, grant.to, grant.allow.clone());
        state.grants().map(said).collect()
    };
    let (before, after) = (said(before), said(after));
    before.symmetric_difference(&after).cloned().collect()
}

/// A difference as it is found.
struct Finding {
    difference: Difference,
    /// What the hash goes over.
    canonical: Vec<u8>,
}

impl Finding {
    fn new(base: u64, text: &str) -> Self {
        let mut canonical = base.to_be_bytes().to_vec();
        canonical.extend(Fingerprint::of(text.as_bytes()).0);
        Self {
            difference: Difference {
                base,
                hash: Fingerprint([0; 32]),
                gaining: 0,
                losing: 0,
                rows: Vec::new(),
                rows_left_out: 0,
                later: Vec::new(),
                later_left_out: 0,
                nodes: BTreeSet::new(),
            },
            canonical,
        }
    }

    fn compare(&mut self, before: &State, after: &State, from: &[NodeId], to: &[NodeId]) {
        let Some(pairs) = pairs(before, from, to) else {
            return;
        };
        let was = open(before, pairs.from, pairs.to);
        let is = open(after, pairs.from, pairs.to);
        let (gained, lost) = (is.without(&was), was.without(&is));
        if gained.is_empty() && lost.is_empty() {
            return;
        }
        for side in [from, to] {
            let ids: Vec<u8> = side.iter().flat_map(|id| id.0.to_be_bytes()).collect();
            self.canonical.extend(Fingerprint::of(&ids).0);
            self.difference.nodes.extend(side);
        }
        for (mark, allows) in [(b'+', &gained), (b'-', &lost)] {
            for allow in allows {
                self.canonical.push(mark);
                self.canonical.extend(ports::shown(allow).into_bytes());
            }
        }
        self.difference.gaining += if gained.is_empty() { 0 } else { pairs.count };
        self.difference.losing += if lost.is_empty() { 0 } else { pairs.count };
        let side = |ids: &[NodeId]| Side {
            names: ids
                .iter()
                .take(MAX_ROW_NAMES)
                .map(|id| before.node_path(*id))
                .collect(),
            count: ids.len(),
        };
        self.difference.rows.push(Row {
            from: side(from),
            to: side(to),
            pairs: pairs.count,
            gained,
            lost,
        });
    }

    fn finish(self) -> Difference {
        let mut difference = self.difference;
        difference.hash = Fingerprint::of(&self.canonical);
        difference
            .rows
            .sort_by_key(|row| std::cmp::Reverse(row.pairs));
        difference.rows_left_out = difference.rows.len().saturating_sub(MAX_DIFFERENCE_ROWS);
        difference.rows.truncate(MAX_DIFFERENCE_ROWS);
        difference
    }
}
