//! What one session sends: nothing when the node has its netmap, a delta when the state it has is known, else a snapshot.
//! Pure: it returns messages and is told of acknowledgements.

use std::collections::VecDeque;

use malha_proto::{NodeId, Revision, ToNode};

use crate::affected::delta;
use crate::history::History;
use crate::state::State;

/// The sending side of one session. [`NodeSync::advance`] must be called after each change that affects the node, and
/// after each acknowledgement; calling it more often costs a look.
#[derive(Clone, Debug)]
pub struct NodeSync {
    node: NodeId,
    /// The revision of the map that the node has once it applied everything sent.
    sent: Option<Revision>,
    /// The newest revision whose netmap has the content of that map.
    current: Revision,
    /// The revisions of the maps that were sent and not acknowledged, oldest first.
    unacknowledged: VecDeque<Revision>,
    /// The newest revision that the node is known to run with.
    applied: Revision,
    snapshot_due: bool,
    /// Reports since the node last acknowledged something, while messages are held back.
    held_reports: usize,
}

impl NodeSync {
    /// Opens with what the node said in its hello, and gives the first message if one is needed.
    #[must_use]
    pub fn open(
        node: NodeId,
        applied: Option<Revision>,
        digest: Option<[u8; 32]>,
        state: &State,
        history: &History,
    ) -> (Self, Option<ToNode>) {
        let mut sync = Self {
            node,
            sent: applied,
            current: state.revision(),
            unacknowledged: VecDeque::new(),
            // Its own word is not enough: after a restored backup it may name a revision that is not given away yet.
            applied: Revision::default(),
            snapshot_due: true,
            held_reports: 0,
        };
        if let (Some(applied), Some(digest)) = (applied, digest) {
            if state.netmap(node).is_some_and(|map| map.digest() == digest) {
                sync.snapshot_due = false;
                sync.applied = sync.current;
                return (sync, None);
            }
            let base = history
                .at(applied)
                .filter(|base| base.netmap(node).is_some_and(|map| map.digest() == digest));
            if base.is_some() {
                sync.snapshot_due = false;
                (sync.current, sync.applied) = (applied, applied);
            }
        }
        let first = sync.advance(state, history);
        (sync, first)
    }

    /// The next message, if the node's netmap differs from what was sent. While [`MAX_UNACKNOWLEDGED`] messages wait for
    /// their acknowledgement it stays silent, and what happens meanwhile becomes one delta, see [`NodeSync::reported`].
    pub fn advance(&mut self, state: &State, history: &History) -> Option<ToNode> {
        if self.snapshot_due {
            return self.snapshot(state);
        }
        if state.revision() == self.current || self.unacknowledged.len() >= MAX_UNACKNOWLEDGED {
            return None;
        }
        let base = history.with_netmap_of(self.node, self.current);
        let delta = base.and_then(|base| delta(base, state, self.node));
        let (Some(mut delta), Some(sent)) = (delta, self.sent) else {
            return self.snapshot(state);
        };
        let settled = self.unacknowledged.is_empty();
        self.current = state.revision();
        if delta.is_empty() {
            if settled {
                self.applied = self.current;
            }
            return None;
        }
        delta.from = sent;
        delta.to = state.revision();
        self.note_sent(delta.to);
        Some(ToNode::Delta(Box::new(delta)))
    }

    /// Whether the node has yet to say that it runs with what was sent as this revision.
    #[must_use]
    pub fn awaits(&self, revision: Revision) -> bool {
        self.unacknowledged.contains(&revision)
    }

    /// The node runs with this revision.
    pub fn applied(&mut self, revision: Revision) {
        let Some(at) = self
            .unacknowledged
            .iter()
            .position(|sent| *sent == revision)
        else {
            return;
        };
        self.unacknowledged.drain(..=at);
        self.held_reports = 0;
        self.applied = if self.unacknowledged.is_empty() {
            self.current
        } else {
            revision
        };
    }

    /// The node is alive. One that can't put a map in force must still hear who may do less: after [`PATIENT_REPORTS`] of them
    /// without an acknowledgement the oldest message is waited for no longer.
    pub fn reported(&mut self) {
        if self.unacknowledged.len() < MAX_UNACKNOWLEDGED {
            return;
        }
        self.held_reports += 1;
        if self.held_reports >= PATIENT_REPORTS {
            self.held_reports = 0;
            self.unacknowledged.pop_front();
        }
    }

    /// The newest revision of which the node is known to run everything that concerns it.
    #[must_use]
    pub fn applied_revision(&self) -> Revision {
        self.applied
    }

    /// The node could not apply a delta: the next message is the whole map.
    pub fn need_snapshot(&mut self) {
        self.snapshot_due = true;
        self.unacknowledged.clear();
    }

    fn snapshot(&mut self, state: &State) -> Option<ToNode> {
        let netmap = state.netmap(self.node)?;
        self.snapshot_due = false;
        self.unacknowledged.clear();
        self.current = state.revision();
        self.note_sent(netmap.revision);
        Some(ToNode::Snapshot(Box::new(netmap)))
    }

    fn note_sent(&mut self, revision: Revision) {
        self.sent = Some(revision);
        self.unacknowledged.push_back(revision);
    }
}

/// Messages on their way before the next ones are held back.
pub const MAX_UNACKNOWLEDGED: usize = 4;
/// Reports that a node may send before what is held back goes out all the same; one comes with each heartbeat.
pub const PATIENT_REPORTS: usize = 20;
