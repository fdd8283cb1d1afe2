//! How far a change has come, told as stories.

use super::*;
use crate::{Settings, State};
use malha_proto::{MachineId, OverlayPools};

fn affected(nodes: &[u64], removed: &[u64]) -> Affected {
    let ids = |numbers: &[u64]| numbers.iter().map(|n| NodeId(*n)).collect();
    Affected {
        nodes: ids(nodes),
        removed: ids(removed),
        ..Affected::default()
    }
}

fn empty_state() -> State {
    let pools = OverlayPools::with_random_v6([1; 5]);
    State::new(Settings::new(
        MachineId([0; 16]),
        pools,
        "malha.internal".parse().unwrap(),
    ))
}

#[test]
fn a_node_counts_when_it_runs_with_the_revision_or_a_later_one() {
    let mut progress = Convergence::new(Revision(5), &affected(&[1, 2, 3], &[]));
    progress.applied(NodeId(1), Revision(4));
    progress.applied(NodeId(2), Revision(5));
    progress.applied(NodeId(3), Revision(9));
    assert_eq!(progress.waiting().collect::<Vec<_>>(), [NodeId(1)]);
}

#[test]
fn a_removed_node_is_not_waited_for() {
    let progress = Convergence::new(Revision(5), &affected(&[1, 2], &[2]));
    assert_eq!(progress.waiting().collect::<Vec<_>>(), [NodeId(1)]);
}

#[test]
fn a_node_that_goes_while_it_is_waited_for_no_longer_counts() {
    let progress = Convergence::new(Revision(5), &affected(&[1], &[]));
    let state = empty_state();
    assert!(progress.is_done(&state, |_| true));
    let said = progress.progress(&state, |_| true);
    assert_eq!((said.applied, said.total, said.lagging.len()), (0, 0, 0));
}
