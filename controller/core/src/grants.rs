//! Policy rules: what a grant may say, and that it names only what exists.

use malha_proto::{Allow, GrantId, Protocol};

use crate::apply::{check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::MAX_GRANTS;
use crate::model::{Grant, GrantOrigin, Opening, Selector};
use crate::noun::{Noun, Plenty};
use crate::policy::check_peers;
use crate::reason::Reason;

pub(crate) fn add(
    draft: &mut Draft,
    from: Selector,
    to: Selector,
    allow: Allow,
) -> Result<Answer, Rejection> {
    refuse_beside_policy(draft)?;
    refuse_alone(draft)?;
    check_exists(draft, from)?;
    check_exists(draft, to)?;
    check_allow(&allow)?;
    let same = draft
        .state
        .grants_between(from, to)
        .find(|grant| grant.allow == Opening::Ports(allow));
    if let Some(grant) = same {
        return Err(Rejection::Exists {
            what: Noun::Grant,
            name: grant.id.to_string(),
        });
    }
    check_limit(Plenty::Grants, draft.state.grants.len(), MAX_GRANTS)?;
    let before = draft.state.clone();
    let id = GrantId(draft.next_id());
    draft.put(Grant {
        id,
        from,
        to,
        allow: allow.into(),
        origin: GrantOrigin::Operator,
    });
    check_peers(&before, &draft.state)?;
    Ok(Answer::Grant(id))
}

pub(crate) fn remove(draft: &mut Draft, id: GrantId) -> Result<Answer, Rejection> {
    refuse_beside_policy(draft)?;
    refuse_alone(draft)?;
    found(draft.state.grant(id), Noun::Grant, id)?;
    draft.delete(EntityKey::Grant(id));
    Ok(Answer::Done)
}

/// Removes the grants that name something which is going: they would apply to nobody.
pub(crate) fn remove_naming(draft: &mut Draft, selector: Selector) {
    let from = draft.state.grants_from(selector);
    let ids: Vec<GrantId> = from
        .chain(draft.state.grants_to(selector))
        .map(|grant| grant.id)
        .collect();
    for id in ids {
        draft.delete(EntityKey::Grant(id));
    }
}

fn check_exists(draft: &Draft, selector: Selector) -> Result<(), Rejection> {
    let state = &draft.state;
    match selector {
        Selector::Organization(id) => {
            found(state.organization(id), Noun::Organization, id).map(drop)
        }
        Selector::Site(id) => found(state.site(id), Noun::Site, id).map(drop),
        Selector::Node(id) => found(state.node(id), Noun::Node, id).map(drop),
        Selector::Profile(_) | Selector::Tag(_) => Ok(()),
    }
}

/// A grant that stands alone can't be proposed; a text can.
fn refuse_alone(draft: &Draft) -> Result<(), Rejection> {
    let mut organizations = draft.state.organizations();
    let Some(asking) = organizations.find(|it| it.second_approver) else {
        return Ok(());
    };
    Err(Rejection::Invalid {
        field: "grant",
        reason: Reason::GrantNeedsApproval {
            organization: asking.name.to_string(),
        },
    })
}

/// One text says who may what: a rule beside it would escape its tests and its difference.
fn refuse_beside_policy(draft: &Draft) -> Result<(), Rejection> {
    let Some(policy) = draft.state.policy() else {
        return Ok(());
    };
    Err(Rejection::Invalid {
        field: "grant",
        reason: Reason::GrantBesidePolicy {
            version: policy.version,
        },
    })
}

fn check_allow(allow: &Allow) -> Result<(), Rejection> {
    let refuse = |reason| {
        Err(Rejection::Invalid {
            field: "allow",
            reason,
        })
    };
    match allow.protocol {
        Protocol::Icmp if (allow.from_port, allow.to_port) != (0, 0) => refuse(Reason::IcmpPorts),
        Protocol::Tcp | Protocol::Udp if allow.from_port > allow.to_port => {
            refuse(Reason::PortsBackwards {
                from: allow.from_port,
                to: allow.to_port,
            })
        }
        _ => Ok(()),
    }
}
