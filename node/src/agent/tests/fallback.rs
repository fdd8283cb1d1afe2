//! Stories of a policy that waits for its confirmation, told to a node that may lose its controller by it.

use malha_proto::{Allow, FormerAllow, Protocol};

use super::*;

const WITHIN_MS: u64 = 60_000;

fn tcp(port: u16) -> Allow {
    Allow {
        protocol: Protocol::Tcp,
        from_port: port,
        to_port: port,
    }
}

/// The hub could open port 80; now it may open 443, if that is confirmed.
fn pending(revision: u64) -> Netmap {
    let mut map = netmap(revision);
    let hub = map.peers.get_mut(&NodeId(2)).unwrap();
    hub.allow = vec![tcp(443)];
    hub.former = Some(FormerAllow {
        version: 7,
        within_ms: WITHIN_MS,
        allow: vec![tcp(80)],
    });
    map
}

fn confirmed(revision: u64) -> Netmap {
    let mut map = pending(revision);
    map.peers.get_mut(&NodeId(2)).unwrap().former = None;
    map
}

/// What the hub may open, as the data plane was last told.
fn open(world: &World) -> Vec<Allow> {
    world.applied.last().unwrap().peers[&NodeId(2)]
        .allow
        .clone()
}

#[test]
fn a_node_that_lost_its_controller_goes_back_to_the_former_filter_by_itself() {
    let (mut world, link) = World::online();
    world.hear(link, ToNode::Snapshot(Box::new(pending(11))));
    assert_eq!(open(&world), [tcp(443)]);
    world.lose(link);
    world.pass(WITHIN_MS - 1);
    assert_eq!(open(&world), [tcp(443)]);
    world.pass(1);
    assert_eq!(open(&world), [tcp(80)]);
    assert_eq!(
        world.agent.netmap().unwrap().digest(),
        pending(11).digest(),
        "it still has the controller's map, so that a session goes on from it"
    );
    let applied = world.applied.len();
    world.pass(10 * WITHIN_MS);
    assert_eq!(world.applied.len(), applied, "once is enough");
}

#[test]
fn a_confirmation_in_time_keeps_the_new_filter() {
    let (mut world, link) = World::online();
    world.hear(link, ToNode::Snapshot(Box::new(pending(11))));
    world.live(link, WITHIN_MS / 2);
    let delta = pending(11).diff(&confirmed(12));
    world.hear(link, ToNode::Delta(Box::new(delta)));
    world.lose(link);
    world.pass(10 * WITHIN_MS);
    assert_eq!(open(&world), [tcp(443)]);
}

#[test]
fn the_controllers_word_counts_after_the_fallback_too() {
    let (mut world, link) = World::online();
    world.hear(link, ToNode::Snapshot(Box::new(pending(11))));
    world.live(link, WITHIN_MS);
    assert_eq!(open(&world), [tcp(80)]);
    let mut renamed = pending(12);
    renamed.me.name = "novo.garagem.org".parse().unwrap();
    let delta = pending(11).diff(&renamed);
    world.hear(link, ToNode::Delta(Box::new(delta)));
    assert_eq!(open(&world), [tcp(80)], "another change is no confirmation");
    let delta = renamed.diff(&confirmed(13));
    world.hear(link, ToNode::Delta(Box::new(delta)));
    assert_eq!(open(&world), [tcp(443)]);
}

#[test]
fn a_node_that_starts_again_meanwhile_waits_anew_and_then_goes_back() {
    let mut world = World::new();
    world.tell(Event::Started {
        last_known_good: Some(Box::new(pending(11))),
        pairs: None,
    });
    assert_eq!(open(&world), [tcp(443)]);
    world.pass(WITHIN_MS);
    assert_eq!(open(&world), [tcp(80)]);
}

#[test]
fn a_deadline_without_end_does_not_stop_the_clock() {
    let (mut world, link) = World::online();
    let mut map = pending(11);
    let hub = map.peers.get_mut(&NodeId(2)).unwrap();
    hub.former.as_mut().unwrap().within_ms = u64::MAX;
    world.hear(link, ToNode::Snapshot(Box::new(map)));
    world.live(link, WITHIN_MS);
    assert_eq!(open(&world), [tcp(443)]);
}

#[test]
fn a_node_tells_that_a_policy_waits_and_that_it_gave_it_up() {
    let (mut world, link) = World::online();
    world.hear(link, ToNode::Snapshot(Box::new(pending(11))));
    let until = world.now + WITHIN_MS;
    let waiting = PolicyView::Waiting { version: 7, until };
    assert_eq!(world.agent.view().policy, Some(waiting));
    let given_up = |actions: &[Action]| reports(actions).last().unwrap().policy_given_up;
    let actions = world.live(link, WITHIN_MS + HEARTBEAT_INTERVAL_MS);
    let returned = |holds| PolicyView::Returned {
        version: 7,
        since: until,
        holds,
    };
    assert_eq!(world.agent.view().policy, Some(returned(true)));
    assert_eq!(given_up(&actions), Some(7));
    let delta = pending(11).diff(&confirmed(12));
    world.hear(link, ToNode::Delta(Box::new(delta)));
    let actions = world.live(link, 2 * HEARTBEAT_INTERVAL_MS);
    assert_eq!(world.agent.view().policy, Some(returned(false)));
    assert_eq!(given_up(&actions), None);
}
