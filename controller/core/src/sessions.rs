//! Sessions and the lease that tells a machine from its copy.
//!
//! A node holds one lease on disk and shows it at each hello; the answer offers the next one. What is known of a node's
//! disk is a set: the lease confirmed last, and those offered since. One machine, whatever crashes and whatever reply is
//! lost, always holds a lease of that set, because the set only shrinks when the machine shows or confirms which one it
//! has. Once a copy of its disk does the same, the other's lease has left the set, and its next hello is the evidence.
//!
//! | the hello shows | it is | answer |
//! |---|---|---|
//! | a key that never was the node's, or was before another machine took its place | an older machine | `Replaced` |
//! | anything, while quarantined or rekeying, except the chosen machine's | one of the two | `Cloned` |
//! | a good key and a lease of the set, no other process alive with a key of the node | the machine | a session |
//! | a good key and a lease of the set, another process alive | a copy | quarantine |
//! | another lease, from the process that was answered last | an older hello that came late | `Busy` |
//! | another lease with a key that a copy holds, which was turned away | that copy | `Replaced` |
//! | another lease, or a key that the node put away | a copy | quarantine |
//!
//! A good key is the node's, or one that a renewal replaced while nobody has shown the new one: the reply with the new
//! certificate may have been lost.

use std::net::SocketAddr;

use malha_proto::{Fingerprint, MachineFacts, NodeId, RefusalCode, WgKey};

use crate::apply::found;
use crate::command::{Answer, LiveSession, Rejection};
use crate::draft::Draft;
use crate::enrolment::offer;
use crate::model::{Lease, Node, NodeState};
use crate::nodes::{check_keys, refuse, with_facts};
use crate::noun::Noun;
use crate::quarantine;

/// The SHA-256 of a lease that a node showed.
#[derive(Clone, Copy)]
pub(crate) struct LeaseHash(pub(crate) Fingerprint);

impl From<&malha_proto::Lease> for LeaseHash {
    fn from(lease: &malha_proto::Lease) -> Self {
        Self(Fingerprint(lease.hash()))
    }
}

/// A node's first message.
pub(crate) struct Hello<'a> {
    pub(crate) tls_key: Fingerprint,
    pub(crate) lease: LeaseHash,
    pub(crate) instance: u64,
    pub(crate) facts: &'a MachineFacts,
    pub(crate) source: Option<SocketAddr>,
    pub(crate) live: Option<&'a LiveSession>,
}

enum Verdict {
    Welcome,
    Copied,
}

pub(crate) fn open(draft: &mut Draft, id: NodeId, hello: &Hello) -> Result<Answer, Rejection> {
    let Some(node) = draft.state.node(id).cloned() else {
        return refuse(
            RefusalCode::NodeRemoved,
            "this node was removed by the operator",
        );
    };
    let known = draft.state.lease(id).cloned();
    match judge(&node, known.as_ref(), hello)? {
        Verdict::Welcome => welcome(draft, &node, known, hello),
        Verdict::Copied => quarantine::begin(draft, &node, known.as_ref(), hello),
    }
}

/// What the key of the shown certificate is to the node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Its own, or one whose successor may not have arrived.
    Good,
    /// The same, but a copy that was turned away has it too.
    Copied,
    /// Put away.
    Past,
    Unknown,
}

fn judge(node: &Node, known: Option<&Lease>, hello: &Hello) -> Result<Verdict, Rejection> {
    let standing = standing(node, &hello.tls_key);
    let good_lease = known.is_none_or(|lease| lease.accepts(&hello.lease.0));
    let binding = known.and_then(|lease| lease.bound_to.as_ref());
    let bound = binding.is_none_or(|bound| bound.allows(hello.facts.machine, hello.instance));
    let rival_alive = hello.live.is_some_and(|live| {
        live.alive
            && live.instance != hello.instance
            && self::standing(node, &live.tls_key) != Standing::Unknown
    });
    match (&node.state, standing) {
        (_, Standing::Unknown) => refuse(
            RefusalCode::Replaced,
            "this machine's certificate was replaced by a newer one: another machine took its place",
        ),
        (NodeState::Rekeying { machine }, Standing::Good | Standing::Copied)
            if good_lease && bound && machine.machine == hello.facts.machine =>
        {
            Ok(Verdict::Welcome)
        }
        (NodeState::Quarantined(_) | NodeState::Rekeying { .. }, _) => refuse_copy(),
        (NodeState::Active, Standing::Copied) if !(good_lease && bound) => refuse(
            RefusalCode::Replaced,
            "this identity was copied, and the other machine was chosen to keep it: enrol this one anew",
        ),
        (NodeState::Active, Standing::Good | Standing::Copied) if good_lease && !rival_alive => {
            Ok(Verdict::Welcome)
        }
        (NodeState::Active, _)
            if is_late(known, hello) && !(good_lease && standing == Standing::Good) =>
        {
            refuse(
                RefusalCode::Busy,
                "a newer hello of this process was answered already",
            )
        }
        (NodeState::Active, _) => Ok(Verdict::Copied),
    }
}

fn standing(node: &Node, key: &Fingerprint) -> Standing {
    let former = node
        .former_tls_keys
        .iter()
        .find(|former| former.key == *key);
    match former {
        Some(former) if former.copied => Standing::Copied,
        Some(_) => Standing::Good,
        None if node.tls_key == *key => Standing::Good,
        None if node.past_tls_keys.contains(key) => Standing::Past,
        None => Standing::Unknown,
    }
}

/// The process that was answered last speaks of the past: its connection was slower than its next one.
fn is_late(known: Option<&Lease>, hello: &Hello) -> bool {
    known.is_some_and(|lease| lease.instance == hello.instance)
}

fn refuse_copy<T>() -> Result<T, Rejection> {
    refuse(
        RefusalCode::Cloned,
        "two machines showed this identity; both are held apart until the operator chooses one of them",
    )
}

/// Opens the session. What the machine showed is what it holds: a former key means that the newer certificate never
/// arrived, so the renewal is asked for again.
fn welcome(
    draft: &mut Draft,
    node: &Node,
    known: Option<Lease>,
    hello: &Hello,
) -> Result<Answer, Rejection> {
    let renewal_lost = hello.tls_key != node.tls_key;
    let rekey = renewal_lost || !node.is_active();
    let mut node = with_facts(node, hello.facts);
    node.put_keys_away(&hello.tls_key);
    let id = node.id;
    draft.put(node);
    let (lease, hash) = fresh_lease(draft);
    let shown = hello.lease.0;
    let unmoved = known.filter(|known| known.confirmed == shown);
    let (mut offered, bound_to) =
        unmoved.map_or_else(Default::default, |known| (known.offered, known.bound_to));
    offer(&mut offered, hash);
    draft.put(Lease {
        node: id,
        confirmed: shown,
        offered,
        instance: hello.instance,
        shown: true,
        bound_to,
    });
    Ok(Answer::Session { lease, rekey })
}

/// A lease that was not offered, or is superseded, confirms nothing, nor does the word of another process than the one that was answered
/// last: it came late, and what the last one holds must stay in the set. Nor does one of a quarantined node, whose leases are evidence.
/// What was offered later stays: another session of the process may be saving it.
pub(crate) fn confirm_lease(
    draft: &mut Draft,
    id: NodeId,
    instance: u64,
    saved: LeaseHash,
) -> Result<Answer, Rejection> {
    let quarantined = draft
        .state
        .node(id)
        .is_none_or(|node| matches!(node.state, NodeState::Quarantined(_)));
    let known = draft
        .state
        .lease(id)
        .filter(|lease| !quarantined && lease.instance == instance)
        .cloned();
    if let Some(mut known) = known
        && let Some(place) = known.offered.iter().position(|hash| *hash == saved.0)
    {
        let younger = known.offered.split_off(place + 1);
        draft.put(Lease {
            confirmed: saved.0,
            offered: younger,
            bound_to: None,
            ..known
        });
    }
    Ok(Answer::Done)
}

/// The certificate's successor. The former key stays good until the new one is shown, because the reply may be lost.
pub(crate) fn renew(
    draft: &mut Draft,
    id: NodeId,
    instance: u64,
    tls_key: Fingerprint,
    wg_key: Option<WgKey>,
) -> Result<Answer, Rejection> {
    let Some(node) = draft.state.node(id).cloned() else {
        return refuse(
            RefusalCode::NodeRemoved,
            "this node was removed by the operator",
        );
    };
    let lease = found(draft.state.lease(id), Noun::SessionOfNode, id)?;
    // Nobody has spoken for the node yet: whoever asks is from before its place was taken.
    if lease.instance != instance || !lease.shown {
        return refuse(
            RefusalCode::Busy,
            "a newer session of this node is open; renew in that one",
        );
    }
    check_renewal(&node, tls_key, wg_key)?;
    let wg_key = wg_key.unwrap_or(node.wg_key);
    check_keys(&draft.state, wg_key, tls_key, Some(id))?;
    let mut renewed = Node {
        wg_key,
        state: NodeState::Active,
        ..node.clone()
    };
    renewed.renew_key(tls_key, !node.is_active());
    draft.put(renewed);
    Ok(Answer::Done)
}

/// While a copy knows the keys, only new ones free the node.
fn check_renewal(
    node: &Node,
    tls_key: Fingerprint,
    wg_key: Option<WgKey>,
) -> Result<(), Rejection> {
    match &node.state {
        NodeState::Active => Ok(()),
        NodeState::Quarantined(_) => refuse_copy(),
        NodeState::Rekeying { .. }
            if tls_key == node.tls_key || wg_key.is_none_or(|key| key == node.wg_key) =>
        {
            refuse(
                RefusalCode::Malformed,
                "another machine knows this node's keys: make new ones, TLS and WireGuard",
            )
        }
        NodeState::Rekeying { .. } => Ok(()),
    }
}

/// A lease from this command's random bytes, and its hash.
pub(crate) fn fresh_lease(draft: &Draft) -> (malha_proto::Lease, Fingerprint) {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&draft.context.random[..16]);
    let lease = malha_proto::Lease(bytes);
    let hash = Fingerprint(lease.hash());
    (lease, hash)
}
