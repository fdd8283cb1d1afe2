//! Stories of links: dialing, moving, losing and leaving.

use malha_proto::FRAME_PATIENCE_MS;

use super::proxy::shown_fault;
use super::*;

#[test]
fn tcp_joins_after_three_seconds_of_silence_and_the_winner_stays() {
    let (mut world, quic) = World::started();
    assert_eq!(connects(&world.pass(QUIC_HEAD_START_MS - 1)), []);
    let joined = connects(&world.pass(1));
    let (tcp, transport) = joined[0];
    assert_eq!(transport, Transport::Tcp);
    let actions = world.tell(connected(tcp));
    assert_eq!(closed(&actions), [quic]);
    let actions = world.tell(connected(quic));
    assert!(actions.is_empty(), "the loser comes too late: {actions:?}");
}

#[test]
fn tcp_joins_at_once_when_quic_is_refused() {
    let (mut world, quic) = World::started();
    assert_eq!(connects(&world.lose(quic))[0].1, Transport::Tcp);
}

/// Brings QUIC up and lets it fall silent after some time of talk; gives what the agent dials next.
fn fall_silent(world: &mut World, quic: LinkId, talk_ms: Option<Millis>) -> Vec<Action> {
    world.tell(connected(quic));
    if let Some(talk_ms) = talk_ms {
        world.hear(quic, welcome());
        world.live(quic, talk_ms);
    }
    assert_eq!(closed(&world.pass(SESSION_TIMEOUT_MS)), [quic]);
    world.until_dialed().1
}

#[test]
fn where_nothing_passes_after_quics_handshake_tcp_gets_its_chance() {
    for talk_ms in [None, Some(0), Some(STABLE_SESSION_MS - 1)] {
        let (mut world, quic) = World::started();
        let dialed = connects(&fall_silent(&mut world, quic, talk_ms));
        let [(tcp, Transport::Tcp)] = dialed[..] else {
            panic!("{talk_ms:?}: {dialed:?}");
        };
        assert_eq!(connects(&world.pass(TCP_HEAD_START_MS - 1)), []);
        world.tell(connected(tcp));
        world.hear(tcp, welcome());
        assert_eq!(world.agent.view().control.transport, Some(Transport::Tcp));
    }
}

#[test]
fn a_link_that_the_other_side_ends_for_its_silence_counts_too() {
    let (mut world, quic) = World::started();
    world.tell(connected(quic));
    world.pass(SESSION_TIMEOUT_MS - 1);
    world.lose(quic);
    assert_eq!(connects(&world.until_dialed().1)[0].1, Transport::Tcp);
}

#[test]
fn quic_joins_when_tcp_fails_or_stays_silent() {
    let (mut world, quic) = World::started();
    let tcp = connects(&fall_silent(&mut world, quic, None))[0].0;
    let joined = connects(&world.lose(tcp));
    assert!(matches!(joined[..], [(_, Transport::Quic)]), "{joined:?}");
    let (mut world, quic) = World::started();
    fall_silent(&mut world, quic, None);
    let joined = connects(&world.pass(TCP_HEAD_START_MS));
    assert!(matches!(joined[..], [(_, Transport::Quic)]), "{joined:?}");
}

#[test]
fn quic_that_falls_silent_again_and_again_is_tried_ever_more_rarely() {
    let (mut world, mut quic) = World::started();
    let mut pauses = vec![];
    for _ in 0..8 {
        let tcp = connects(&fall_silent(&mut world, quic, Some(0)))[0].0;
        world.tell(connected(tcp));
        world.hear(tcp, welcome());
        let since = world.now;
        quic = loop {
            match connects(&world.live(tcp, QUIC_RETRY_MS / 4))[..] {
                [] => {}
                [(link, _)] => break link,
                ref others => panic!("{others:?}"),
            }
        };
        pauses.push((world.now - since) / QUIC_RETRY_MS);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
}

#[test]
fn quic_that_stands_again_comes_first_again() {
    let (mut world, quic) = World::started();
    let tcp = connects(&fall_silent(&mut world, quic, None))[0].0;
    let quic = connects(&world.lose(tcp))[0].0;
    world.tell(connected(quic));
    world.hear(quic, welcome());
    world.live(quic, STABLE_SESSION_MS);
    assert_eq!(world.agent.view().control.transport, Some(Transport::Quic));
    world.lose(quic);
    assert_eq!(connects(&world.until_dialed().1)[0].1, Transport::Quic);
}

#[test]
fn another_network_gets_quic_first_again() {
    let (mut world, quic) = World::started();
    let tcp = connects(&fall_silent(&mut world, quic, None))[0].0;
    world.tell(Event::NetworkChanged);
    let quic = connects(&world.lose(tcp))[0].0;
    world.lose(quic);
    assert_eq!(connects(&world.until_dialed().1)[0].1, Transport::Quic);
}

#[test]
fn a_controller_that_never_answers_the_hello_gives_way_to_the_next() {
    let (mut world, quic) = World::started();
    let actions = fall_silent(&mut world, quic, None);
    let next = actions.iter().find_map(|action| match action {
        Action::Connect { controller, .. } => Some(&**controller),
        _ => None,
    });
    assert_eq!(next, Some("two.example:443"));
}

#[test]
fn a_session_over_tcp_moves_to_quic_without_a_gap() {
    let (mut world, quic) = World::started();
    let tcp = connects(&world.lose(quic))[0].0;
    world.tell(connected(tcp));
    world.hear(tcp, welcome());
    let dialed = connects(&world.live(tcp, QUIC_RETRY_MS));
    let [(better, Transport::Quic)] = dialed[..] else {
        panic!("{dialed:?}");
    };
    world.tell(connected(better));
    assert_eq!(world.agent.view().control.transport, Some(Transport::Tcp));
    let actions = world.hear(better, welcome());
    assert_eq!(closed(&actions), [tcp]);
    assert_eq!(world.agent.view().control.transport, Some(Transport::Quic));
    assert_eq!(connects(&world.live(better, 3 * QUIC_RETRY_MS)), []);
}

#[test]
fn quic_that_stays_blocked_is_tried_again_and_the_tcp_session_stays() {
    let (mut world, quic) = World::started();
    let tcp = connects(&world.lose(quic))[0].0;
    world.tell(connected(tcp));
    world.hear(tcp, welcome());
    for _ in 0..3 {
        let dialed = connects(&world.live(tcp, QUIC_RETRY_MS));
        assert_eq!(dialed.len(), 1);
        assert!(world.lose(dialed[0].0).is_empty());
        assert_eq!(world.agent.view().control.state, ControlState::Online);
        assert_eq!(shown_fault(&world), None);
    }
    world.live(tcp, QUIC_RETRY_MS);
    world.live(tcp, DIAL_TIMEOUT_MS);
    assert_eq!(shown_fault(&world), None);
    world.lose(tcp);
    assert_eq!(shown_fault(&world), Some(LinkFault::Closed));
}

#[test]
fn a_silent_controller_is_left_and_the_data_plane_stays() {
    let (mut world, link) = World::online();
    world.live(link, STABLE_SESSION_MS);
    let actions = world.pass(SESSION_TIMEOUT_MS);
    assert_eq!(closed(&actions), [link]);
    assert_eq!(world.applied.len(), 1);
    assert_eq!(world.agent.revision(), Some(Revision(10)));
    let dialed = connects(&world.pass(BACKOFF_LONGEST_MS));
    assert_eq!(dialed[0].1, Transport::Quic);
}

#[test]
fn any_frame_keeps_the_session() {
    let (mut world, link) = World::online();
    let actions = world.live(link, 20 * SESSION_TIMEOUT_MS);
    assert_eq!(closed(&actions), []);
}

/// Lets time pass while part after part of a frame comes.
fn drip(world: &mut World, link: LinkId, ms: Millis) -> Vec<Action> {
    let until = world.now + ms;
    let mut actions = vec![];
    while world.now < until {
        actions.extend(world.pass(HEARTBEAT_INTERVAL_MS.min(until - world.now)));
        actions.extend(world.tell(Event::Heard { link }));
    }
    actions
}

#[test]
fn a_map_that_takes_a_slow_line_long_comes_through() {
    let (mut world, link) = World::online();
    let actions = drip(&mut world, link, 10 * SESSION_TIMEOUT_MS);
    assert_eq!(closed(&actions), []);
    world.hear(link, ToNode::Snapshot(Box::new(netmap(11))));
    assert_eq!(world.agent.revision(), Some(Revision(11)));
    let (mut world, link) = World::started();
    world.tell(connected(link));
    let actions = drip(&mut world, link, 10 * SESSION_TIMEOUT_MS);
    assert_eq!(closed(&actions), [], "a welcome may be slow, too");
}

#[test]
fn parts_that_never_become_a_frame_hold_no_session() {
    let (mut world, link) = World::online();
    let actions = drip(&mut world, link, FRAME_PATIENCE_MS - 1);
    assert_eq!(closed(&actions), []);
    assert_eq!(closed(&drip(&mut world, link, 1)), [link]);
}

#[test]
fn a_frame_that_stops_coming_ends_the_session() {
    let (mut world, link) = World::online();
    drip(&mut world, link, 10 * SESSION_TIMEOUT_MS);
    assert_eq!(closed(&world.pass(SESSION_TIMEOUT_MS)), [link]);
}

#[test]
fn failures_go_round_the_controllers_with_growing_pauses() {
    let (mut world, link) = World::started();
    let mut names = vec![];
    let mut open = vec![link];
    for _ in 0..8 {
        while let Some(link) = open.pop() {
            open.extend(connects(&world.lose(link)).iter().map(|(link, _)| link));
        }
        let actions = world.pass(BACKOFF_LONGEST_MS / 2);
        for action in actions {
            if let Action::Connect {
                link, controller, ..
            } = action
            {
                names.push(controller.to_string());
                open.push(link);
            }
        }
    }
    assert!(names.iter().any(|name| name == "one.example:443"));
    assert!(names.iter().any(|name| name == "two.example:443"));
}

#[test]
fn a_restarting_controller_gets_its_nodes_back_soon_but_spread() {
    let (mut world, link) = World::online();
    let reason = FarewellReason::Restart;
    world.hear(link, ToNode::Farewell { reason });
    let dialed = connects(&world.pass(RESTART_SPREAD_MS));
    assert_eq!(dialed.len(), 1);
}

#[test]
fn another_network_takes_a_new_socket_and_tries_at_once() {
    let (mut world, link) = World::online();
    world.live(link, 700);
    let actions = world.tell(Event::NetworkChanged);
    assert!(matches!(actions[0], Action::RebindTunnel));
    assert_eq!(reports(&actions).len(), 1);
    world.lose(link);
    let actions = world.tell(Event::NetworkChanged);
    assert_eq!(connects(&actions).len(), 1);
}

fn refreshes(actions: &[Action]) -> usize {
    let is_refresh = |action: &&Action| matches!(action, Action::RefreshTunnel);
    actions.iter().filter(is_refresh).count()
}

#[test]
fn a_session_after_a_lost_one_looks_for_the_hub_anew() {
    let (mut world, link) = World::online();
    world.lose(link);
    let (link, _) = world.until_dialed();
    world.tell(connected(link));
    assert_eq!(refreshes(&world.hear(link, welcome())), 1);
}

#[test]
fn a_hub_that_went_silent_is_looked_for_while_the_session_stands() {
    let (mut world, link) = World::online();
    let seen = |rx_bytes| Event::Observed {
        peers: vec![PeerObservation {
            peer: NodeId(2),
            endpoint: None,
            handshake_age_ms: None,
            rx_bytes,
            tx_bytes: 0,
            path: None,
        }],
    };
    let observe = |world: &mut World, rx_bytes| {
        let mut actions = world.live(link, HUB_PATIENCE_MS - 1);
        actions.extend(world.tell(seen(rx_bytes)));
        actions
    };
    world.tell(seen(1));
    assert_eq!(refreshes(&observe(&mut world, 2)), 0, "it speaks");
    assert_eq!(refreshes(&observe(&mut world, 2)), 0, "not silent for long");
    assert_eq!(refreshes(&observe(&mut world, 2)), 1);
    world.lose(link);
    world.pass(HUB_PATIENCE_MS);
    assert_eq!(refreshes(&world.tell(seen(2))), 0, "without a controller");
}

#[test]
fn a_stopped_agent_says_farewell() {
    let (mut world, link) = World::online();
    let reason = FarewellReason::Stopped;
    let actions = world.tell(Event::Stop { reason });
    assert_eq!(sent(&actions), [ToController::Farewell { reason }]);
    assert_eq!(closed(&actions), [link]);
    assert!(matches!(
        actions.last(),
        Some(Action::Exit(Ending::Stopped))
    ));
}

/// What the list of controllers is to be on disk, each time that it is written.
fn saved_lists(actions: &[Action]) -> Vec<Vec<String>> {
    let lists = actions.iter().filter_map(|action| match action {
        Action::SaveControllers(list) => Some(list.clone()),
        _ => None,
    });
    lists.collect()
}

fn dialed_controllers(actions: &[Action]) -> Vec<&str> {
    let dialed = actions.iter().filter_map(|action| match action {
        Action::Connect { controller, .. } => Some(&**controller),
        _ => None,
    });
    dialed.collect()
}

/// Opens a session by this link, in which the controller names one address.
fn be_told_of(world: &mut World, link: LinkId, controller: &str) -> Vec<Action> {
    world.tell(connected(link));
    let ToNode::Welcome(mut told) = welcome() else {
        unreachable!("welcome() welcomes");
    };
    told.controllers = vec![controller.into()];
    world.hear(link, ToNode::Welcome(told))
}

/// Loses every link, and lets every dial of another controller than this one fail, until that one is dialed.
fn dial_until(world: &mut World, link: LinkId, controller: &str) -> LinkId {
    let mut open = vec![link];
    for _ in 0..8 {
        while let Some(link) = open.pop() {
            open.extend(connects(&world.lose(link)).iter().map(|(link, _)| link));
        }
        let (link, actions) = world.until_dialed();
        if dialed_controllers(&actions).contains(&controller) {
            return link;
        }
        open.push(link);
    }
    panic!("{controller} is not dialed any more");
}

#[test]
fn a_new_list_of_controllers_is_saved_once_and_keeps_the_one_that_works_behind_it() {
    let (mut world, link) = World::started();
    let actions = be_told_of(&mut world, link, "three.example:443");
    assert_eq!(
        saved_lists(&actions).len(),
        0,
        "the session may end at once"
    );
    let actions = world.live(link, 2 * STABLE_SESSION_MS);
    let list = ["three.example:443", "one.example:443"].map(str::to_owned);
    assert_eq!(saved_lists(&actions), [list.to_vec()]);
    let link = dial_until(&mut world, link, "three.example:443");
    be_told_of(&mut world, link, "three.example:443");
    let actions = world.live(link, STABLE_SESSION_MS - 1);
    assert_eq!(saved_lists(&actions).len(), 0);
    let actions = world.live(link, STABLE_SESSION_MS);
    assert_eq!(saved_lists(&actions), [["three.example:443".to_owned()]]);
}

#[test]
fn a_list_on_which_nobody_answers_loses_no_controller() {
    for talk_ms in [0, 2 * STABLE_SESSION_MS] {
        let (mut world, link) = World::started();
        be_told_of(&mut world, link, "three.example:443");
        world.live(link, talk_ms);
        dial_until(&mut world, link, "one.example:443");
    }
}

#[test]
fn a_session_goes_by_the_controller_that_it_has_whatever_list_it_brings() {
    for talk_ms in [0, 2 * STABLE_SESSION_MS] {
        let (mut world, link) = World::started();
        be_told_of(&mut world, link, "three.example:443");
        world.live(link, talk_ms);
        let shown = world.agent.view().control.controller;
        assert_eq!(shown.as_deref(), Some("one.example:443"));
        let actions = world.tell(Event::HubSilent);
        let carriers = actions.iter().filter_map(|action| match action {
            Action::OpenCarrier { controller, .. } => Some(&**controller),
            _ => None,
        });
        assert_eq!(carriers.collect::<Vec<_>>(), ["one.example:443"]);
    }
}

/// Lets ten minutes pass in which the hub is silent and its controller refuses each carrier.
fn is_refused_carriers(world: &mut World, link: LinkId) {
    for _ in 0..600 {
        let mut actions = world.tell(Event::HubSilent);
        actions.extend(world.live(link, 1_000));
        for carrier in carriers(&actions) {
            let error = LinkError::new(LinkFault::Refused, "the hub takes none");
            world.tell(Event::CarrierEnded { carrier, error });
        }
    }
}

fn carriers(actions: &[Action]) -> Vec<u64> {
    let opened = actions.iter().filter_map(|action| match action {
        Action::OpenCarrier { carrier, .. } => Some(*carrier),
        _ => None,
    });
    opened.collect()
}

#[test]
fn in_another_network_and_session_a_carrier_is_asked_for_that_was_refused() {
    let (mut world, link) = World::online();
    is_refused_carriers(&mut world, link);
    assert!(carriers(&world.tell(Event::HubSilent)).is_empty());
    let actions = world.tell(Event::NetworkChanged);
    assert_eq!(carriers(&actions).len(), 1, "{actions:?}");

    let (mut world, link) = World::online();
    is_refused_carriers(&mut world, link);
    world.lose(link);
    let (link, _) = world.until_dialed();
    assert!(carriers(&world.tell(connected(link))).is_empty());
    let actions = world.hear(link, welcome());
    assert_eq!(carriers(&actions).len(), 1, "{actions:?}");
}
