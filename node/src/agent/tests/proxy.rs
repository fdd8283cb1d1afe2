//! Stories of a proxy that does not let pass.

use std::collections::VecDeque;

use super::*;

/// A link that the agent dialled, when and to whom.
struct Dialed {
    at: Millis,
    controller: Arc<str>,
    transport: Transport,
}

/// Lets time pass without a controller: UDP is blocked, and by the proxy this happens.
fn live_behind(world: &mut World, proxy: LinkFault, ms: Millis) -> Vec<Dialed> {
    let until = world.now + ms;
    let mut actions = VecDeque::from(world.tell(Event::TimerFired));
    let mut dialed = vec![];
    while world.now < until {
        if let Some(action) = actions.pop_front() {
            if let Action::Connect {
                link,
                controller,
                transport,
            } = action
            {
                let at = world.now;
                dialed.push(Dialed {
                    at,
                    controller,
                    transport,
                });
                let fault = match transport {
                    Transport::Quic => LinkFault::Unreachable,
                    Transport::Tcp => proxy,
                };
                actions.extend(fails(world, link, fault));
            }
            continue;
        }
        let at = world.agent.poll_timeout().unwrap().min(until);
        actions.extend(world.pass(at - world.now));
    }
    dialed
}

fn by(transport: Transport, dialed: &[Dialed]) -> Vec<&Dialed> {
    let by_it = dialed.iter().filter(|it| it.transport == transport);
    by_it.collect()
}

/// Started, with QUIC and TCP that came to nothing.
fn refused() -> World {
    let (mut world, quic) = World::started();
    let tcp = connects(&fails(&mut world, quic, LinkFault::Unreachable))[0].0;
    fails(&mut world, tcp, LinkFault::ProxyRefused);
    world
}

#[test]
fn a_proxy_that_said_no_is_asked_slowly_and_quic_as_before() {
    let mut world = refused();
    let dialed = live_behind(&mut world, LinkFault::ProxyRefused, 3_600_000);
    let tcp = by(Transport::Tcp, &dialed);
    assert!((10..=20).contains(&tcp.len()), "{} times", tcp.len());
    let soon = |pair: &[&Dialed]| pair[1].at < pair[0].at + PROXY_REFUSED_PAUSE_MS;
    assert!(!tcp.windows(2).any(soon));
    assert!(by(Transport::Quic, &dialed).len() > 200);
}

#[test]
fn a_proxy_that_only_fails_is_asked_with_every_attempt() {
    let mut world = refused();
    live_behind(&mut world, LinkFault::Proxy, 2 * PROXY_REFUSED_PAUSE_MS);
    let dialed = live_behind(&mut world, LinkFault::Proxy, 3_600_000);
    let asked = by(Transport::Tcp, &dialed).len();
    assert_eq!(asked, by(Transport::Quic, &dialed).len());
}

#[test]
fn a_proxy_that_said_no_to_one_controller_is_asked_for_the_next() {
    let mut world = refused();
    let dialed = live_behind(&mut world, LinkFault::ProxyRefused, 600_000);
    let tcp = by(Transport::Tcp, &dialed);
    assert_eq!(&*tcp[0].controller, "two.example:443");
    let same = |pair: &[&Dialed]| pair[0].controller == pair[1].controller;
    assert!(!tcp.windows(2).any(same));
}

#[test]
fn a_controller_that_was_reached_since_keeps_its_turn() {
    let mut world = refused();
    let (other, _) = world.until_dialed();
    fails(&mut world, other, LinkFault::Unreachable);
    let (link, _) = world.until_dialed();
    world.tell(connected(link));
    world.hear(link, welcome());
    let by = world.agent.view().control.controller;
    world.live(link, 2 * PROXY_REFUSED_PAUSE_MS);
    world.lose(link);
    world.until_dialed();
    assert_eq!(world.agent.view().control.controller, by);
}

#[test]
fn a_session_that_stood_ends_the_row_of_refusals() {
    let mut world = refused();
    live_behind(&mut world, LinkFault::ProxyRefused, 3_600_000);
    let (quic, _) = world.until_dialed();
    world.tell(connected(quic));
    world.hear(quic, welcome());
    world.live(quic, STABLE_SESSION_MS);
    world.lose(quic);
    let dialed = live_behind(
        &mut world,
        LinkFault::ProxyRefused,
        5 * PROXY_REFUSED_PAUSE_MS,
    );
    let asked = by(Transport::Tcp, &dialed).len();
    assert!((2..=3).contains(&asked), "{asked} times");
}

#[test]
fn in_another_network_a_proxy_that_said_no_is_asked_at_once() {
    let mut world = refused();
    let quic = connects(&world.tell(Event::NetworkChanged))[0].0;
    let next = connects(&fails(&mut world, quic, LinkFault::Unreachable));
    assert_eq!(next[0].1, Transport::Tcp);
}

/// The words of this fault for a link that came to nothing.
fn fails(world: &mut World, link: LinkId, fault: LinkFault) -> Vec<Action> {
    let error = LinkError::new(fault, "told by the story");
    world.tell(Event::Lost { link, error })
}

pub(super) fn shown_fault(world: &World) -> Option<LinkFault> {
    world
        .agent
        .view()
        .control
        .last_error
        .map(|error| error.fault)
}

#[test]
fn a_proxy_that_refuses_is_shown_and_not_the_silence_beside_it() {
    let (mut world, quic) = World::started();
    let tcp = connects(&world.pass(QUIC_HEAD_START_MS))[0].0;
    fails(&mut world, tcp, LinkFault::Proxy);
    fails(&mut world, quic, LinkFault::Unreachable);
    assert_eq!(shown_fault(&world), Some(LinkFault::Proxy));
    // The next time QUIC is refused at once, and the proxy says the same.
    let (quic, _) = world.until_dialed();
    let tcp = connects(&fails(&mut world, quic, LinkFault::Unreachable))[0].0;
    assert_eq!(shown_fault(&world), Some(LinkFault::Proxy));
    fails(&mut world, tcp, LinkFault::Proxy);
    assert_eq!(shown_fault(&world), Some(LinkFault::Proxy));
}

#[test]
fn a_proxy_that_refuses_is_shown_though_quic_tries_until_the_end() {
    let (mut world, _) = World::started();
    let tcp = connects(&world.pass(QUIC_HEAD_START_MS))[0].0;
    fails(&mut world, tcp, LinkFault::Proxy);
    world.pass(DIAL_TIMEOUT_MS);
    assert_eq!(shown_fault(&world), Some(LinkFault::Proxy));
}

#[test]
fn a_proxy_that_said_no_is_shown_while_quic_finds_no_name() {
    let (mut world, quic) = World::started();
    let tcp = connects(&fails(&mut world, quic, LinkFault::Name))[0].0;
    fails(&mut world, tcp, LinkFault::ProxyRefused);
    assert_eq!(shown_fault(&world), Some(LinkFault::ProxyRefused));
    let (quic, _) = world.until_dialed();
    fails(&mut world, quic, LinkFault::Name);
    assert_eq!(shown_fault(&world), Some(LinkFault::ProxyRefused));
}

#[test]
fn a_proxy_that_lets_through_again_is_shown_no_longer() {
    let (mut world, quic) = World::started();
    let tcp = connects(&world.pass(QUIC_HEAD_START_MS))[0].0;
    fails(&mut world, tcp, LinkFault::Proxy);
    fails(&mut world, quic, LinkFault::Unreachable);
    let (quic, _) = world.until_dialed();
    let tcp = connects(&fails(&mut world, quic, LinkFault::Unreachable))[0].0;
    fails(&mut world, tcp, LinkFault::Unreachable);
    assert_eq!(shown_fault(&world), Some(LinkFault::Unreachable));
}
