//! Stories of netmaps that are larger than a node takes.

use malha_proto::{MAX_PEERS, NetmapDelta};

use super::*;

/// The map of a revision, with so many peers.
fn crowded(revision: u64, peers: usize) -> Netmap {
    let mut map = netmap(revision);
    let hub = map.peers.first_key_value().unwrap().1.clone();
    let ids = (hub.id.0..).map(NodeId).take(peers);
    let peer = |id| {
        let mut peer = hub.clone();
        (peer.id, peer.hub) = (id, id == hub.id);
        (id, peer)
    };
    map.peers = ids.map(peer).collect();
    map
}

fn snapshot(map: Netmap) -> ToNode {
    ToNode::Snapshot(Box::new(map))
}

fn told_peers(world: &mut World, link: LinkId) -> Option<u64> {
    let actions = world.live(link, 2 * HEARTBEAT_INTERVAL_MS);
    let mut reports = sent(&actions).into_iter().filter_map(|it| match it {
        ToController::Report(report) => Some(report),
        _ => None,
    });
    reports.next_back().unwrap().too_many_peers
}

fn notes(actions: &[Action]) -> usize {
    let is_note = |it: &&Action| matches!(it, Action::NoteTooLarge(_));
    actions.iter().filter(is_note).count()
}

#[test]
fn a_map_with_too_many_peers_is_refused_with_both_numbers_and_the_session_stands() {
    let (mut world, link) = World::online();
    let actions = world.hear(link, snapshot(crowded(11, MAX_PEERS + 1)));
    assert_eq!(notes(&actions), 1);
    let actions = world.hear(link, snapshot(crowded(12, MAX_PEERS + 2)));
    assert_eq!(notes(&actions), 0, "the log has heard of it");
    let view = world.agent.view();
    assert_eq!(view.control.state, ControlState::Online);
    assert_eq!(view.in_force, Some(Revision(10)));
    let said = view.apply_error.unwrap();
    assert!(said.contains("20002") && said.contains("20000"), "{said}");
    assert_eq!(told_peers(&mut world, link), Some(20_002));
}

#[test]
fn a_map_that_fits_again_is_taken_in_the_same_session() {
    let (mut world, link) = World::online();
    let many = crowded(11, MAX_PEERS + 1);
    let delta: NetmapDelta = netmap(10).diff(&many);
    world.hear(link, ToNode::Delta(Box::new(delta)));
    assert!(world.agent.view().apply_error.is_some());
    let fits = crowded(12, MAX_PEERS);
    let actions = world.hear(link, ToNode::Delta(Box::new(many.diff(&fits))));
    assert_eq!(sent(&actions), [ToController::NeedSnapshot]);
    world.hear(link, snapshot(fits));
    assert_eq!(world.agent.view().apply_error, None);
    assert_eq!(world.agent.revision(), Some(Revision(12)));
    assert_eq!(told_peers(&mut world, link), None);
}

#[test]
fn a_session_that_needs_no_map_ends_the_complaint_about_an_earlier_one() {
    let (mut world, link) = World::online();
    world.hear(link, snapshot(crowded(11, MAX_PEERS + 1)));
    world.lose(link);
    let (link, _) = world.until_dialed();
    world.tell(connected(link));
    world.hear(link, welcome());
    assert_eq!(world.agent.view().apply_error, None);
}
