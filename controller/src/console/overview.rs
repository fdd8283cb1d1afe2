//! The state of the house at a glance: counts, convergence, and what is broken.

use malha_web::model::{BrokenNode, NodeState, Overview, ProbeState, TokenState};

use crate::clock::now_ms;
use crate::console::census::{Census, Standing};
use crate::console::convergence::count;
use crate::console::tokens::token_state;
use crate::console::{ControllerConsole, hops};

/// Counts over everything; of what is broken, the newest.
pub(super) fn overview(console: &ControllerConsole) -> Overview {
    let census = console.census();
    let state = &census.state;
    let now_ms = now_ms();
    let standing_in = |wanted| count(census.nodes.iter().filter(|it| it.state == wanted).count());
    let (broken, broken_total) = broken(&census);
    Overview {
        revision: state.revision().0,
        convergence: console.overall_convergence(state),
        organizations: count(state.organizations().len()),
        sites: count(state.sites().len()),
        nodes: count(census.nodes.len()),
        nodes_online: count(
            census
                .nodes
                .iter()
                .filter(|standing| standing.is_online())
                .count(),
        ),
        nodes_pending: standing_in(NodeState::Pending),
        nodes_quarantined: standing_in(NodeState::Quarantined),
        services: count(state.services().len()),
        services_up: count(census.nodes.iter().map(services_up).sum()),
        routes: count(state.routes().len()),
        tokens_active: count(
            state
                .tokens()
                .filter(|it| token_state(it, now_ms) == TokenState::Active)
                .count(),
        ),
        broken,
        broken_total,
    }
}

fn broken(census: &Census) -> (Vec<BrokenNode>, u32) {
    let all = census
        .nodes
        .iter()
        .filter_map(|standing| Some((standing, standing.broken.as_ref()?)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, hop)| std::cmp::Reverse(hop.since));
    let total = count(all.len());
    let shown = all
        .into_iter()
        .take(MAX_BROKEN)
        .map(|(standing, hop)| BrokenNode {
            id: standing.id.to_string().into(),
            path: standing.path.as_str().into(),
            hop: hop.clone(),
        });
    (shown.collect(), total)
}

fn services_up(standing: &Standing) -> usize {
    let services = standing.diagnosis.services.keys();
    services
        .filter(|id| hops::probe(&standing.diagnosis, **id).0 == ProbeState::Up)
        .count()
}

/// Broken nodes that the overview names.
const MAX_BROKEN: usize = 10;
