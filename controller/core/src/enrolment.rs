//! A machine becomes a node, or takes a node's place, with a token. The same keys with the same token get the same answer
//! again, as long as no session shows that the first answer arrived.

use std::collections::BTreeSet;

use malha_proto::{
    Fingerprint, Label, MachineFacts, NodeId, OverlayAddresses, RefusalCode, Secret32, SiteId,
    TokenId, WgKey,
};
use subtle::ConstantTimeEq;

use crate::addresses;
use crate::agency;
use crate::apply::check_limit;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{MAX_NODES, MAX_OFFERED_LEASES};
use crate::model::{Lease, Node, NodeState, Token};
use crate::nodes::{check_keys, refuse};
use crate::noun::Plenty;
use crate::sessions::fresh_lease;
use crate::state::State;
use crate::text::clean_fact;

/// The machine that knocks.
pub(crate) struct Machine<'a> {
    pub(crate) wg_key: WgKey,
    pub(crate) tls_key: Fingerprint,
    /// The wished name; None: made from the host name.
    pub(crate) name: Option<&'a Label>,
    pub(crate) facts: &'a MachineFacts,
}

pub(crate) fn enrol(
    draft: &mut Draft,
    id: TokenId,
    secret: &Secret32,
    machine: &Machine,
) -> Result<Answer, Rejection> {
    let token = known_token(&draft.state, id, secret)?;
    if token.revoked {
        return refuse(
            RefusalCode::TokenRevoked,
            "this token was revoked; ask for a new one",
        );
    }
    if let Some(node) = enrolled_before(&draft.state, &token, machine) {
        return repeat(draft, node);
    }
    if token.expires_ms <= draft.now_ms() {
        return refuse(
            RefusalCode::TokenExpired,
            "this token has expired; ask for a new one",
        );
    }
    if token.uses_left == 0 {
        return refuse(
            RefusalCode::TokenUsed,
            "this token was used already; ask for a new one",
        );
    }
    check_keys(
        &draft.state,
        machine.wg_key,
        machine.tls_key,
        token.replaces,
    )?;
    let node = match token.replaces {
        Some(node) => take_place(draft, node, &token, machine)?,
        None => add_node(draft, &token, machine)?,
    };
    let (lease, hash) = fresh_lease(draft);
    draft.put(Lease {
        node,
        confirmed: hash,
        offered: Vec::new(),
        instance: 0,
        shown: false,
        bound_to: None,
    });
    draft.put(Token {
        uses_left: token.uses_left - 1,
        ..token
    });
    Ok(Answer::Enrolled {
        node,
        lease,
        again: false,
    })
}

/// One answer for an unknown token and a wrong secret, after the same work for both.
fn known_token(state: &State, id: TokenId, secret: &Secret32) -> Result<Token, Rejection> {
    let token = state.token(id);
    let known = token.map_or([0; 32], |token| token.secret_hash.0);
    let right: bool = known.ct_eq(&secret.hash()).into();
    match token.filter(|_| right) {
        Some(token) => Ok(token.clone()),
        None => refuse(
            RefusalCode::TokenUnknown,
            "this controller does not know this token; was it copied whole?",
        ),
    }
}

/// The node that these very keys made with this very token.
fn enrolled_before(state: &State, token: &Token, machine: &Machine) -> Option<NodeId> {
    let id = state.index.node_by_tls_key.get(&machine.tls_key)?;
    let node = state.node(*id)?;
    let same_keys = (node.wg_key, node.tls_key) == (machine.wg_key, machine.tls_key);
    (same_keys && node.token == Some(token.id)).then_some(*id)
}

/// The reply was lost. After a first session it can't have been, so then it is another machine with the same keys, or one
/// that lost half of its state: neither gets a lease.
fn repeat(draft: &mut Draft, node: NodeId) -> Result<Answer, Rejection> {
    let known = draft
        .state
        .lease(node)
        .filter(|lease| !lease.shown)
        .cloned();
    let Some(mut known) = known else {
        return refuse(
            RefusalCode::TokenUsed,
            "a machine with these keys enrolled with this token and was online since; \
             if this is that machine and its state was lost, its operator makes a new token with `malha node replace`",
        );
    };
    let (lease, hash) = fresh_lease(draft);
    offer(&mut known.offered, hash);
    draft.put(known);
    Ok(Answer::Enrolled {
        node,
        lease,
        again: true,
    })
}

/// Adds a lease to those handed out, forgetting the oldest of too many.
pub(crate) fn offer(offered: &mut Vec<Fingerprint>, hash: Fingerprint) {
    if offered.len() == MAX_OFFERED_LEASES {
        offered.remove(0);
    }
    offered.push(hash);
}

fn add_node(draft: &mut Draft, token: &Token, machine: &Machine) -> Result<NodeId, Rejection> {
    check_limit(Plenty::Nodes, draft.state.nodes.len(), MAX_NODES)?;
    let addresses = addresses::allocate(draft)?;
    let id = NodeId(draft.next_id());
    let name = match planned_name(&draft.state, token, machine) {
        Some(name) => name,
        None => choose_name(&draft.state, token.site, id, machine)?,
    };
    let node = new_node(id, name, addresses, token, machine, draft.now_ms());
    draft.put(node);
    if let Some(plan) = &token.plan {
        agency::carry_out(draft, id, plan)?;
    }
    Ok(id)
}

fn new_node(
    id: NodeId,
    name: Label,
    addresses: OverlayAddresses,
    token: &Token,
    machine: &Machine,
    now_ms: u64,
) -> Node {
    Node {
        id,
        site: token.site,
        name,
        profile: token.profile,
        tags: BTreeSet::new(),
        hub: false,
        wg_key: machine.wg_key,
        tls_key: machine.tls_key,
        former_tls_keys: Vec::new(),
        past_tls_keys: Vec::new(),
        token: Some(token.id),
        addresses,
        endpoints: Vec::new(),
        state: NodeState::Active,
        machine: machine.facts.machine,
        host_name: clean_fact(&machine.facts.host_name),
        agent_version: clean_fact(&machine.facts.agent_version),
        os: clean_fact(&machine.facts.os),
        enrolled_ms: now_ms,
    }
}

/// Keeps what others know the node by: its name, addresses, endpoints, services, routes and grants.
fn take_place(
    draft: &mut Draft,
    id: NodeId,
    token: &Token,
    machine: &Machine,
) -> Result<NodeId, Rejection> {
    let Some(former) = draft.state.node(id).cloned() else {
        return refuse(
            RefusalCode::NodeRemoved,
            "the node that this token would replace was removed",
        );
    };
    let fresh = new_node(
        id,
        former.name,
        former.addresses,
        token,
        machine,
        draft.now_ms(),
    );
    draft.put(Node {
        site: former.site,
        profile: former.profile,
        tags: former.tags,
        endpoints: former.endpoints,
        ..fresh
    });
    Ok(id)
}

/// The name that the token plans, unless the machine wishes another one or it was given away.
fn planned_name(state: &State, token: &Token, machine: &Machine) -> Option<Label> {
    let planned = &token.plan.as_ref()?.name;
    let place = (token.site, planned.clone());
    let is_free = !state.index.node_by_name.contains_key(&place);
    (machine.name.is_none() && is_free).then(|| planned.clone())
}

fn choose_name(
    state: &State,
    site: SiteId,
    id: NodeId,
    machine: &Machine,
) -> Result<Label, Rejection> {
    let taken = |name: &Label| state.index.node_by_name.contains_key(&(site, name.clone()));
    if let Some(wished) = machine.name {
        if taken(wished) {
            return refuse(
                RefusalCode::NameTaken,
                &format!(
                    "a node of this site is named {wished} already; give another name, or replace that node"
                ),
            );
        }
        return Ok(wished.clone());
    }
    let base = label_of(&machine.facts.host_name);
    let numbered = (2..=LAST_NUMBERED_NAME).map(|number| format!("{base}-{number}"));
    let names = std::iter::once(base.clone())
        .chain(numbered)
        .chain([format!("{base}-{id}")]);
    let free = names
        .filter_map(|name| name.parse().ok())
        .find(|name| !taken(name));
    free.map_or_else(
        || {
            refuse(
                RefusalCode::NameTaken,
                &format!("no free name like {base} is left on this site; give a name"),
            )
        },
        Ok,
    )
}

/// The first label of a host name, made of what a label may have.
fn label_of(host_name: &str) -> String {
    let first = host_name.split('.').next().unwrap_or_default();
    let mut label = String::new();
    for c in first.chars().take(MAX_BASE_NAME_CHARS) {
        match c.to_ascii_lowercase() {
            plain @ ('a'..='z' | '0'..='9') => label.push(plain),
            _ if !label.is_empty() && !label.ends_with('-') => label.push('-'),
            _ => {}
        }
    }
    let label = label.trim_end_matches('-').to_owned();
    if label.parse::<Label>().is_ok() {
        label
    } else {
        FALLBACK_NAME.to_owned()
    }
}

/// `debian-2` to `debian-64`; the next machine of this name gets its id for a number.
const LAST_NUMBERED_NAME: u32 = 64;
/// Leaves room for a number.
const MAX_BASE_NAME_CHARS: usize = 40;
const FALLBACK_NAME: &str = "node";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_becomes_a_label() {
        for (host, label) in [
            ("Garagem_01.local", "garagem-01"),
            ("DESKTOP-ABC123", "desktop-abc123"),
            ("--__", "node"),
            ("", "node"),
            ("ção", "o"),
            ("xn--zzzzzz99999", "xn-zzzzzz99999"),
            ("a\u{202e}b", "a-b"),
        ] {
            assert_eq!(label_of(host), label, "{host:?}");
        }
        assert!(label_of(&"x".repeat(300)).len() <= MAX_BASE_NAME_CHARS);
    }
}
