//! Nodes: found and listed with their hops, shown in full, removed, and let out of quarantine.

use malha_core::{Command, Contender, Node, Noun, State};
use malha_web::Viewer;
use malha_web::model::{
    Claimant, Keep, Leading, LeadingKind, Listing, NodeDetail, NodeId, NodePolicy, NodeQuery,
    NodeRow, Outcome, PathKind, Profile, Quarantine, ROWS_MAX, Refused,
};

use crate::console::census::{Census, Standing};
use crate::console::moment::at;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, impossible, missing};
use crate::console::tokens::profile;
use crate::console::{ControllerConsole, hops, services, text};
use crate::paths;

/// The nodes that a query asks for, by path.
pub(super) fn list(console: &ControllerConsole, query: &NodeQuery) -> Listing<NodeRow> {
    let census = console.census();
    let text = query.text.trim().to_lowercase();
    let fitting: Vec<&Standing> = census
        .nodes
        .iter()
        .filter(|it| fits(&census.state, it, query, &text))
        .collect();
    let shown = fitting
        .iter()
        .skip(query.skip)
        .take(query.limit.min(ROWS_MAX));
    let rows = shown
        .filter_map(|standing| row(console, &census, standing))
        .collect();
    Listing {
        rows,
        total: fitting.len(),
    }
}

/// Everything about one node.
pub(super) fn detail(console: &ControllerConsole, id: &NodeId) -> Option<NodeDetail> {
    let census = console.census();
    let state = &census.state;
    let standing = census.standing(id.as_str().parse().ok()?)?;
    let node = state.node(standing.id)?;
    let applied = match console.registry.find(node.id) {
        Some(session) => Some(session.applied),
        None => node.hub.then(|| state.revision()),
    };
    let name = state
        .node_name(node.id)
        .map(|name| format!("{name}.{}", state.settings().overlay_zone));
    Some(NodeDetail {
        row: row(console, &census, standing)?,
        public_key: node.wg_key.to_string().into(),
        enrolled_at: at(node.enrolled_ms),
        overlay_name: name.unwrap_or_default().into(),
        software: software(node).into(),
        applied_revision: applied.map(|revision| revision.0),
        path: console
            .live
            .tunnel(node.id)
            .and_then(|seen| seen.path)
            .map(path),
        psk_since: (console.pairs.key_epoch(node.id))
            .and_then(|key| key.since_ms)
            .map(at),
        services: state
            .services_of(node.id)
            .map(|service| services::row(standing, service))
            .collect(),
        leading: state.leading_to(node.id).into_iter().map(leading).collect(),
        quarantine: quarantine(node),
        policy: policy(console, state, node.id),
    })
}

fn policy(
    console: &ControllerConsole,
    state: &State,
    id: malha_proto::NodeId,
) -> Option<NodePolicy> {
    if let Some(version) = console.live.policy_given_up(id) {
        return Some(NodePolicy::Returned { version });
    }
    let head = state.policy()?;
    let pending = head.pending.as_ref()?;
    state.waits_with_policy(id).then(|| NodePolicy::Waiting {
        version: head.version,
        deadline: at(pending.deadline_ms),
    })
}

fn leading(it: malha_core::Leading) -> Leading {
    Leading {
        kind: match it.what {
            Noun::Balancer => LeadingKind::Balancer,
            _ => LeadingKind::Route,
        },
        name: it.name.into(),
        alone: it.alone,
    }
}

pub(super) async fn remove(
    console: &ControllerConsole,
    viewer: &Viewer,
    id: &NodeId,
    seen: &[String],
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let state = console.state();
    let id = find(&state, id)?;
    if state.node(id).is_some_and(|node| node.hub) {
        return Err(impossible(text::hub_stays()));
    }
    let leading = state.leading_to(id);
    let detach = !leading.is_empty() && leading.iter().all(|it| seen.contains(&it.name));
    let command = Command::RemoveNode { id, detach };
    console.write(viewer, Form::BUTTON, command).await
}

pub(super) async fn resolve_quarantine(
    console: &ControllerConsole,
    viewer: &Viewer,
    id: &NodeId,
    keep: Keep,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let state = console.state();
    let id = find(&state, id)?;
    let Some(malha_core::NodeState::Quarantined(quarantine)) =
        state.node(id).map(|node| &node.state)
    else {
        return Err(impossible(text::not_quarantined()));
    };
    let kept = match keep {
        Keep::This => &quarantine.holder,
        Keep::Other => &quarantine.rival,
    };
    let command = Command::ResolveQuarantine {
        node: id,
        keep: kept.machine,
        instance: kept.instance,
    };
    console.write(viewer, Form::BUTTON, command).await
}

/// The node that a page names.
pub(super) fn find(state: &State, id: &NodeId) -> Result<malha_proto::NodeId, Refused> {
    let found = id.as_str().parse().ok().and_then(|id| state.node(id));
    found
        .map(|node| node.id)
        .ok_or_else(|| missing(None, Noun::Node, id.as_str()))
}

/// A profile of a form as it is stored.
pub(super) fn core_profile(profile: Profile) -> malha_proto::Profile {
    match profile {
        Profile::Garage => malha_proto::Profile::Garage,
        Profile::SecurityServer => malha_proto::Profile::SecurityServer,
        Profile::Balancer => malha_proto::Profile::Balancer,
        Profile::Central => malha_proto::Profile::Central,
        Profile::Edge => malha_proto::Profile::Edge,
    }
}

fn fits(state: &State, standing: &Standing, query: &NodeQuery, text: &str) -> bool {
    let named = || {
        let addresses = state.node(standing.id).map(|node| node.addresses);
        text.is_empty()
            || standing.path.contains(text)
            || addresses.is_some_and(|it| {
                it.v4.to_string().contains(text) || it.v6.to_string().contains(text)
            })
    };
    query.state.is_none_or(|wanted| wanted == standing.state)
        && (!query.broken || standing.broken.is_some())
        && named()
}

fn row(console: &ControllerConsole, census: &Census, standing: &Standing) -> Option<NodeRow> {
    let node = census.state.node(standing.id)?;
    let (organization, site) = paths::names_of_site(&census.state, node.site);
    Some(NodeRow {
        id: node.id.to_string().into(),
        organization: organization.into(),
        site: site.into(),
        name: node.name.as_str().into(),
        ipv4: Some(node.addresses.v4),
        ipv6: Some(node.addresses.v6),
        profile: profile(node.profile),
        state: standing.state,
        hops: hops::hops(&census.state, standing, console.live.tunnel(node.id)),
    })
}

fn path(path: malha_proto::PathKind) -> PathKind {
    match path {
        malha_proto::PathKind::Direct => PathKind::Direct,
        malha_proto::PathKind::Relay => PathKind::Relay,
        malha_proto::PathKind::Carrier => PathKind::Carrier,
    }
}

fn software(node: &Node) -> String {
    let program = if node.hub { "malha" } else { "malha-node" };
    let said = [program, node.agent_version.as_str(), node.os.as_str()];
    said.into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn quarantine(node: &Node) -> Option<Quarantine> {
    let malha_core::NodeState::Quarantined(evidence) = &node.state else {
        return None;
    };
    let alike = evidence.holder.machine == evidence.rival.machine;
    let claimant = |contender: &Contender| Claimant {
        host_name: contender.host_name.as_str().into(),
        source: contender
            .source
            .map(|source| source.to_string())
            .unwrap_or_default()
            .into(),
        fingerprint: fingerprint(contender, alike).into(),
        seen_at: at(evidence.since_ms),
    };
    Some(Quarantine {
        since: at(evidence.since_ms),
        this: claimant(&evidence.holder),
        other: claimant(&evidence.rival),
    })
}

/// Copies of one disk may say that they are one machine; then only the process differs.
fn fingerprint(contender: &Contender, alike: bool) -> String {
    if alike {
        format!("{} #{:016x}", contender.machine, contender.instance)
    } else {
        contender.machine.to_string()
    }
}
