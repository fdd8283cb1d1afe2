//! A copied identity: both machines are held apart with the evidence, until the operator says which one keeps it.

use malha_proto::{MachineId, NodeId};

use crate::apply::found;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::model::{Binding, Contender, Lease, Node, NodeState, Quarantine};
use crate::noun::Noun;
use crate::reason::Reason;
use crate::sessions::Hello;
use crate::text::clean_fact;

/// Holds the node apart. Its leases stay as they are: they tell the holder from its rival.
pub(crate) fn begin(
    draft: &mut Draft,
    node: &Node,
    known: Option<&Lease>,
    hello: &Hello,
) -> Result<Answer, Rejection> {
    let since_ms = draft.now_ms();
    let quarantine = Quarantine {
        since_ms,
        holder: holder(node, known, hello),
        rival: rival(hello),
    };
    draft.put(Node {
        state: NodeState::Quarantined(quarantine),
        ..node.clone()
    });
    Ok(Answer::Cloned { node: node.id })
}

/// The chosen machine keeps name, addresses and services, but must make new keys: the other one knows the old ones.
pub(crate) fn resolve(
    draft: &mut Draft,
    id: NodeId,
    keep: MachineId,
    instance: u64,
) -> Result<Answer, Rejection> {
    let node = found(draft.state.node(id), Noun::Node, id)?.clone();
    let NodeState::Quarantined(quarantine) = &node.state else {
        return Err(Rejection::Invalid {
            field: "node",
            reason: Reason::NotQuarantined {
                node: node.name.to_string(),
            },
        });
    };
    let Quarantine { holder, rival, .. } = quarantine.clone();
    let keeps_holder = holder.is(keep, instance);
    if !keeps_holder && !rival.is(keep, instance) {
        let shown = |it: &Contender| format!("{} instance {}", it.machine, it.instance);
        return Err(Rejection::Invalid {
            field: "keep",
            reason: Reason::NeitherContender {
                holder: shown(&holder),
                rival: shown(&rival),
            },
        });
    }
    let held = draft.state.lease(id).cloned();
    let shared = held
        .as_ref()
        .is_none_or(|lease| lease.accepts(&rival.lease));
    let same_machine = holder.machine == rival.machine;
    let bound_to = shared.then(|| Binding {
        machine: keep,
        instance: same_machine.then_some(instance),
    });
    let (chosen, confirmed, offered) = match held {
        Some(held) if keeps_holder => (holder, held.confirmed, held.offered),
        _ if keeps_holder => (holder.clone(), holder.lease, Vec::new()),
        _ => (rival.clone(), rival.lease, Vec::new()),
    };
    draft.put(Lease {
        node: id,
        confirmed,
        offered,
        instance,
        shown: true,
        bound_to,
    });
    draft.put(with_key_of(
        &chosen,
        Node {
            state: NodeState::Rekeying {
                machine: chosen.clone(),
            },
            ..node
        },
    ));
    Ok(Answer::Done)
}

/// The chosen machine may hold a key that the node had put away, as far as anyone knew.
fn with_key_of(chosen: &Contender, mut node: Node) -> Node {
    if node.past_tls_keys.contains(&chosen.tls_key) {
        node.past_tls_keys.retain(|key| *key != chosen.tls_key);
        node.former_tls_keys.clear();
        node.tls_key = chosen.tls_key;
    }
    node
}

fn holder(node: &Node, known: Option<&Lease>, hello: &Hello) -> Contender {
    let lease = known.map_or(hello.lease.0, |lease| {
        *lease.offered.last().unwrap_or(&lease.confirmed)
    });
    match hello.live.filter(|live| live.instance != hello.instance) {
        Some(live) => Contender {
            machine: live.facts.machine,
            host_name: clean_fact(&live.facts.host_name),
            instance: live.instance,
            tls_key: node.tls_key,
            lease,
            source: live.source,
        },
        None => Contender {
            machine: node.machine,
            host_name: node.host_name.clone(),
            instance: known.map_or(0, |lease| lease.instance),
            tls_key: node.tls_key,
            lease,
            source: None,
        },
    }
}

fn rival(hello: &Hello) -> Contender {
    Contender {
        machine: hello.facts.machine,
        host_name: clean_fact(&hello.facts.host_name),
        instance: hello.instance,
        tls_key: hello.tls_key,
        lease: hello.lease.0,
        source: hello.source,
    }
}
