//! Stories of a hub that is not, or not only, where its map says.

use std::net::SocketAddr;

use super::*;

const BY_NAT64: &str = "[64:ff9b::c633:6401]:443";
const DECLARED: &str = "198.51.100.1:1010";
const FOUND: &str = "[64:ff9b::c633:6401]:1010";
const MOVED: &str = "198.51.100.9:1010";

/// Begins a session on this link, which has reached the controller there.
fn begin(world: &mut World, link: LinkId, remote: Option<&str>) {
    let remote = remote.map(|text| text.parse().unwrap());
    world.tell(Event::Connected { link, remote });
    world.hear(link, welcome());
}

/// Where the newest of these maps has the hub.
fn places(map: Option<&Arc<Netmap>>) -> Vec<String> {
    let hub = map.unwrap().peers.values().find(|peer| peer.hub).unwrap();
    hub.endpoints.iter().map(SocketAddr::to_string).collect()
}

#[test]
fn the_tunnel_finds_the_hub_where_the_session_has_found_the_controller() {
    let (mut world, link) = World::started();
    begin(&mut world, link, Some(BY_NAT64));
    let actions = world.hear(link, ToNode::Snapshot(Box::new(netmap(10))));
    assert_eq!(places(world.applied.last()), [DECLARED, FOUND]);
    assert_eq!(
        places(world.saved.as_ref()),
        [DECLARED],
        "the network may be another when this is read"
    );
    let revision = Revision(10);
    assert_eq!(sent(&actions), [ToController::Applied { revision }]);
}

#[test]
fn each_session_says_anew_where_the_hub_is() {
    let (mut world, mut link) = World::online();
    assert_eq!(places(world.applied.last()), [DECLARED]);
    for (remote, expected) in [
        (Some(BY_NAT64), &[DECLARED, FOUND][..]),
        // The hub has moved, and its map does not know. By the other family it may be where the tunnel is.
        (Some("198.51.100.9:443"), &[DECLARED, MOVED, FOUND]),
        (Some(BY_NAT64), &[DECLARED, FOUND, MOVED]),
        (Some("198.51.100.1:443"), &[DECLARED, FOUND]),
    ] {
        world.lose(link);
        assert_ne!(places(world.applied.last()), expected, "{remote:?}");
        link = world.until_dialed().0;
        begin(&mut world, link, remote);
        assert_eq!(places(world.applied.last()), expected, "{remote:?}");
    }
}

#[test]
fn a_session_by_a_proxy_takes_no_way_from_the_tunnel_but_in_another_network() {
    let (mut world, link) = World::started();
    begin(&mut world, link, Some(BY_NAT64));
    world.hear(link, ToNode::Snapshot(Box::new(netmap(10))));
    world.lose(link);
    let link = world.until_dialed().0;
    begin(&mut world, link, None);
    assert_eq!(places(world.applied.last()), [DECLARED, FOUND]);
    world.tell(Event::NetworkChanged);
    assert_eq!(
        places(world.applied.last()),
        [DECLARED, FOUND],
        "the way may still be there"
    );
    world.lose(link);
    let link = world.until_dialed().0;
    begin(&mut world, link, None);
    assert_eq!(places(world.applied.last()), [DECLARED]);
}

#[test]
fn a_network_that_a_session_outlives_is_the_same_to_the_tunnel() {
    let (mut world, link) = World::started();
    begin(&mut world, link, Some(BY_NAT64));
    world.hear(link, ToNode::Snapshot(Box::new(netmap(10))));
    world.tell(Event::NetworkChanged);
    world.live(link, 2 * SESSION_TIMEOUT_MS);
    world.lose(link);
    let link = world.until_dialed().0;
    begin(&mut world, link, None);
    assert_eq!(places(world.applied.last()), [DECLARED, FOUND]);
}

#[test]
fn a_session_that_finds_the_hub_where_it_was_changes_nothing() {
    let (mut world, link) = World::started();
    begin(&mut world, link, Some(BY_NAT64));
    world.hear(link, ToNode::Snapshot(Box::new(netmap(10))));
    world.lose(link);
    let link = world.until_dialed().0;
    begin(&mut world, link, Some(BY_NAT64));
    assert_eq!(world.applied.len(), 1);
}
