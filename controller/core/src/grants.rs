//! Policy rules: what a grant may say, and that it names only what exists.

use malha_proto::{Allow, GrantId, Protocol};

use crate::apply::{check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::MAX_GRANTS;
use crate::model::{Grant, GrantOrigin, Opening, Selector};

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
            what: "grant",
            name: grant.id.to_string(),
            hint: " and says the same",
        });
    }
    check_limit("grants", draft.state.grants.len(), MAX_GRANTS)?;
    let id = GrantId(draft.next_id());
    draft.put(Grant {
        id,
        from,
        to,
        allow: allow.into(),
        origin: GrantOrigin::Operator,
    });
    Ok(Answer::Grant(id))
}

pub(crate) fn remove(draft: &mut Draft, id: GrantId) -> Result<Answer, Rejection> {
    refuse_beside_policy(draft)?;
    refuse_alone(draft)?;
    found(draft.state.grant(id), "grant", id)?;
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
        Selector::Organization(id) => found(state.organization(id), "organization", id).map(drop),
        Selector::Site(id) => found(state.site(id), "site", id).map(drop),
        Selector::Node(id) => found(state.node(id), "node", id).map(drop),
        Selector::Profile(_) | Selector::Tag(_) => Ok(()),
    }
}

/// A grant that stands alone can't be proposed; a text can.
fn refuse_alone(draft: &Draft) -> Result<(), Rejection> {
    let mut organizations = draft.state.organizations();
    let Some(asking) = organizations.find(|it| it.second_approver) else {
        return Ok(());
    };
    let problem = format!(
        "organization {} asks for a second approver: write the grants as a policy, which can be approved \
         (`malha policy show > FILE`, `malha policy apply FILE`)",
        asking.name
    );
    Err(Rejection::Invalid {
        field: "grant",
        problem,
    })
}

/// One text says who may what: a rule beside it would escape its tests and its difference.
fn refuse_beside_policy(draft: &Draft) -> Result<(), Rejection> {
    let Some(policy) = draft.state.policy() else {
        return Ok(());
    };
    let problem = format!(
        "policy version {} is in force, and grants stand in its text: write it out with `malha policy show > FILE`, \
         edit its [[grant]] entries, and put it in force with `malha policy apply FILE`",
        policy.version
    );
    Err(Rejection::Invalid {
        field: "grant",
        problem,
    })
}

fn check_allow(allow: &Allow) -> Result<(), Rejection> {
    let refuse = |problem| {
        Err(Rejection::Invalid {
            field: "allow",
            problem,
        })
    };
    match allow.protocol {
        Protocol::Icmp if (allow.from_port, allow.to_port) != (0, 0) => {
            refuse("ICMP has no ports; write 0 to 0".to_owned())
        }
        Protocol::Tcp | Protocol::Udp if allow.from_port > allow.to_port => refuse(format!(
            "the first port {} is above the last one {}; exchange them",
            allow.from_port, allow.to_port
        )),
        _ => Ok(()),
    }
}
