//! Stories of the node's identity: held apart, ended, renewed.

use super::*;

#[test]
fn a_quarantined_node_has_no_peers_and_keeps_its_session() {
    let (mut world, link) = World::online();
    let mut apart = netmap(11);
    apart.me.quarantined = true;
    world.hear(link, ToNode::Snapshot(Box::new(apart.clone())));
    let last = world.applied.last().unwrap();
    assert!(last.peers.is_empty());
    assert_eq!(last.services, apart.services);
    assert_eq!(world.agent.view().services, []);
    assert_eq!(world.saved.as_deref(), Some(&apart));
    assert_eq!(closed(&world.live(link, 60_000)), []);
    world.hear(link, ToNode::Snapshot(Box::new(netmap(12))));
    assert_eq!(world.applied.last().unwrap().peers.len(), 1);
    assert!(!world.agent.view().quarantined);
}

#[test]
fn a_clone_is_cut_off_even_after_a_reboot_and_asks_slowly() {
    let (mut world, link) = World::online();
    let (code, text) = (RefusalCode::Cloned, "two machines".to_owned());
    world.hear(link, ToNode::Refused { code, text });
    let last = world.applied.last().unwrap();
    assert!(last.peers.is_empty());
    // For the guard, which goes on closing their ports.
    assert_eq!(last.services, netmap(10).services);
    assert!(world.saved.as_ref().unwrap().me.quarantined);
    assert_eq!(connects(&world.pass(HELD_RETRY_MS / 2 - 1)), []);
    let link = world.until_dialed().0;
    let actions = world.tell(connected(link));
    assert!(matches!(&sent(&actions)[..], [ToController::Hello(h)] if h.digest.is_none()));
    world.hear(link, welcome());
    world.hear(link, ToNode::Snapshot(Box::new(netmap(10))));
    assert_eq!(world.applied.last().unwrap().peers.len(), 1);
}

#[test]
fn a_removed_node_notes_it_and_ends() {
    for (code, ending) in [
        (RefusalCode::NodeRemoved, Ending::Removed),
        (RefusalCode::Replaced, Ending::Replaced),
    ] {
        let (mut world, link) = World::online();
        let text = String::new();
        let actions = world.hear(link, ToNode::Refused { code, text });
        assert!(
            matches!(actions[..], [Action::RecordEnding(e), Action::Close { .. }, Action::Exit(f)] if e == ending && f == ending),
            "{actions:?}"
        );
        assert_eq!(world.agent.poll_timeout(), None);
        assert!(world.tell(Event::NetworkChanged).is_empty());
    }
}

#[test]
fn a_renewal_is_asked_once_per_session_until_it_is_answered() {
    let (mut world, link) = World::online();
    let actions = world.tell(Event::RenewalDue);
    assert!(matches!(
        actions[..],
        [Action::MakeKeys { wireguard: false }]
    ));
    let (csr, wg_key) = (vec![1], None);
    let renew = ToController::Renew { csr, wg_key };
    let csr = vec![1];
    let result = Ok(FreshKeys { csr, wg_key });
    assert_eq!(
        sent(&world.tell(Event::KeysMade { result })),
        std::slice::from_ref(&renew)
    );
    world.lose(link);
    let link = world.until_dialed().0;
    world.tell(connected(link));
    assert!(sent(&world.hear(link, welcome())).contains(&renew));
    let certificate = vec![2];
    let actions = world.hear(link, ToNode::Renewed { certificate });
    assert!(matches!(&actions[..], [Action::AdoptKeys { certificate }] if *certificate == [2]));
    world.tell(Event::KeysAdopted { result: Ok(()) });
    assert!(matches!(
        world.tell(Event::RenewalDue)[..],
        [Action::MakeKeys { .. }]
    ));
}

#[test]
fn a_long_session_renews_more_than_once() {
    let (mut world, link) = World::online();
    for time in [1, 2] {
        world.tell(Event::RenewalDue);
        let (csr, wg_key) = (vec![time], None);
        let result = Ok(FreshKeys { csr, wg_key });
        let csr = vec![time];
        let asked = world.tell(Event::KeysMade { result });
        assert_eq!(sent(&asked), [ToController::Renew { csr, wg_key }]);
        let certificate = vec![time];
        world.hear(link, ToNode::Renewed { certificate });
        world.tell(Event::KeysAdopted { result: Ok(()) });
    }
}

#[test]
fn the_survivor_of_a_clone_makes_new_wireguard_keys() {
    let (mut world, link) = World::started();
    world.tell(connected(link));
    let ToNode::Welcome(mut told) = welcome() else {
        unreachable!("welcome() welcomes");
    };
    told.rekey = Some(true);
    let actions = world.hear(link, ToNode::Welcome(told));
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::MakeKeys { wireguard: true }))
    );
    let wg_key = Some(WgKey([9; 32]));
    let csr = vec![1];
    let result = Ok(FreshKeys { csr, wg_key });
    let csr = vec![1];
    assert_eq!(
        sent(&world.tell(Event::KeysMade { result })),
        [ToController::Renew { csr, wg_key }]
    );
    world.hear(link, ToNode::Snapshot(Box::new(netmap(10))));
    let certificate = vec![2];
    world.hear(link, ToNode::Renewed { certificate });
    world.tell(Event::KeysAdopted { result: Ok(()) });
    assert_eq!(world.applied.len(), 2, "a tunnel with a new key is empty");
}

#[test]
fn a_full_disk_delays_the_new_keys_of_a_survivor_and_no_more() {
    let (mut world, link) = World::started();
    world.tell(connected(link));
    let ToNode::Welcome(mut told) = welcome() else {
        unreachable!("welcome() welcomes");
    };
    told.rekey = Some(true);
    world.hear(link, ToNode::Welcome(told));
    let makes_keys = |actions: &[Action]| {
        let is_it = |action: &Action| matches!(action, Action::MakeKeys { wireguard: true });
        actions.iter().any(is_it)
    };
    world.tell(Event::KeysMade {
        result: Err("no space left".into()),
    });
    assert!(
        makes_keys(&world.live(link, 10_000)),
        "made anew after a failed write"
    );
    for tries in [1, 2] {
        let wg_key = Some(WgKey([tries; 32]));
        let csr = vec![tries];
        let result = Ok(FreshKeys { csr, wg_key });
        let csr = vec![tries];
        let asked = world.tell(Event::KeysMade { result });
        assert_eq!(sent(&asked), [ToController::Renew { csr, wg_key }]);
        let certificate = vec![2];
        world.hear(link, ToNode::Renewed { certificate });
        world.tell(Event::KeysAdopted {
            result: Err("no space left".into()),
        });
        assert!(
            makes_keys(&world.live(link, 10_000)),
            "made anew after a failed adoption"
        );
    }
}
