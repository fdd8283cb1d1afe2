//! Stories of one agent: each tells the machine what happens and reads what it does.

mod disk;
mod fallback;
mod hub_places;
mod identity;
mod limits;
mod links;
mod probes;
mod proxy;

use malha_proto::{
    FarewellReason, HEARTBEAT_INTERVAL_MS, Lease, MachineFacts, MachineId, Netmap, NodeId,
    NodeReport, PeerObservation, RefusalCode, Revision, SESSION_TIMEOUT_MS, ServiceId,
    ServiceState, ToController, ToNode, WgKey,
};

use super::*;
use crate::testbed::{netmap, welcome};

/// An agent, its clock, and a shell that does at once what it is asked, except for links.
pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) now: Millis,
    pub(super) disk_full: bool,
    pub(super) tunnel_broken: bool,
    pub(super) doors_broken: bool,
    /// Every map that was put on the data plane.
    pub(super) applied: Vec<Arc<Netmap>>,
    pub(super) saved: Option<Arc<Netmap>>,
    /// Every lease that was on disk.
    leases: Vec<Lease>,
    /// What the disk has, if it was ever written.
    controllers: Option<Vec<String>>,
}

impl World {
    pub(super) fn new() -> Self {
        let controllers = vec!["one.example:443".into(), "two.example:443".into()];
        Self {
            agent: Agent::new(AgentConfig {
                node: NodeId(1),
                instance: 5,
                seed: 6,
                lease: Lease([0; 16]),
                controllers,
                facts: facts(),
            }),
            now: 1_000,
            disk_full: false,
            tunnel_broken: false,
            doors_broken: false,
            applied: vec![],
            saved: None,
            leases: vec![],
            controllers: None,
        }
    }

    /// Started without a map.
    fn started() -> (Self, LinkId) {
        let mut world = Self::new();
        let actions = world.tell(Event::Started {
            last_known_good: None,
            pairs: None,
        });
        let link = connects(&actions)[0].0;
        (world, link)
    }

    /// In a session over QUIC, with the map of revision 10.
    fn online() -> (Self, LinkId) {
        let (mut world, link) = Self::started();
        world.tell(connected(link));
        world.hear(link, welcome());
        world.hear(link, ToNode::Snapshot(Box::new(netmap(10))));
        (world, link)
    }

    /// Tells one event, and answers what the shell can answer at once. Gives back the rest.
    pub(super) fn tell(&mut self, event: Event) -> Vec<Action> {
        self.agent.handle(event, self.now);
        let mut rest = vec![];
        while let Some(action) = self.agent.poll_action() {
            let disk = match self.disk_full {
                true => Err("no space left".to_owned()),
                false => Ok(()),
            };
            let answer = match &action {
                Action::Apply(map) => {
                    let said = |broken| match broken {
                        true => Err("port in use".to_owned()),
                        false => Ok(()),
                    };
                    let result = Applied {
                        peers: said(self.tunnel_broken),
                        doors: said(self.doors_broken),
                    };
                    if result.is_whole() {
                        self.applied.push(map.clone());
                    }
                    let revision = map.revision;
                    Event::Applied { revision, result }
                }
                Action::SaveNetmap(map) => {
                    if disk.is_ok() {
                        self.saved = Some(map.clone());
                    }
                    let (revision, result) = (map.revision, disk);
                    Event::NetmapSaved { revision, result }
                }
                Action::SaveLease(lease) => {
                    if disk.is_ok() {
                        self.leases.push(lease.clone());
                    }
                    Event::LeaseSaved { result: disk }
                }
                Action::SaveControllers(list) => {
                    if disk.is_ok() {
                        self.controllers = Some(list.clone());
                    }
                    rest.push(action);
                    Event::ControllersSaved { result: disk }
                }
                _ => {
                    rest.push(action);
                    continue;
                }
            };
            self.agent.handle(answer, self.now);
        }
        rest
    }

    pub(super) fn hear(&mut self, link: LinkId, message: ToNode) -> Vec<Action> {
        let message = Box::new(message);
        self.tell(Event::Frame { link, message })
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, ms: Millis) -> Vec<Action> {
        let until = self.now + ms;
        let mut actions = vec![];
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            actions.extend(self.tell(Event::TimerFired));
        }
        self.now = until;
        actions
    }

    /// Lets time pass in a session whose controller answers each report.
    fn live(&mut self, link: LinkId, ms: Millis) -> Vec<Action> {
        let until = self.now + ms;
        let mut actions = vec![];
        while self.now < until {
            actions.extend(self.pass(HEARTBEAT_INTERVAL_MS.min(until - self.now)));
            actions.extend(self.hear(link, ToNode::Heartbeat));
        }
        actions
    }

    /// Lets time pass until the agent dials.
    pub(super) fn until_dialed(&mut self) -> (LinkId, Vec<Action>) {
        let mut actions = vec![];
        for _ in 0..100 {
            let at = self.agent.poll_timeout().unwrap();
            actions.extend(self.pass(at.saturating_sub(self.now)));
            if let Some((link, _)) = connects(&actions).last() {
                return (*link, actions);
            }
        }
        panic!("never dialed: {:?}", self.agent.view());
    }

    fn lose(&mut self, link: LinkId) -> Vec<Action> {
        let error = LinkError::new(LinkFault::Closed, "reset");
        self.tell(Event::Lost { link, error })
    }
}

#[test]
fn a_fresh_node_dials_quic_greets_and_reports_everything() {
    let (mut world, link) = World::started();
    let actions = world.tell(connected(link));
    assert!(matches!(&sent(&actions)[..], [ToController::Hello(h)] if h.applied.is_none()));
    let actions = world.hear(link, welcome());
    let sent = sent(&actions);
    assert!(
        matches!(&sent[..], [ToController::Report(r), ToController::LeaseSaved] if r.applied == Revision(0)),
        "{sent:?}"
    );
}

#[test]
fn a_snapshot_is_applied_then_saved_then_acknowledged() {
    let (mut world, link) = World::started();
    world.tell(connected(link));
    world.hear(link, welcome());
    let event = |message| Event::Frame {
        link,
        message: Box::new(message),
    };
    let agent = &mut world.agent;
    agent.handle(event(ToNode::Snapshot(Box::new(netmap(10)))), 1_000);
    assert!(
        matches!(agent.poll_action(), Some(Action::Apply(map)) if map.revision == Revision(10))
    );
    assert!(agent.poll_action().is_none());
    let (revision, result) = (Revision(10), Applied::whole());
    agent.handle(Event::Applied { revision, result }, 1_000);
    assert!(matches!(agent.poll_action(), Some(Action::SaveNetmap(_))));
    let actions = world.tell(Event::NetmapSaved {
        revision,
        result: Ok(()),
    });
    assert_eq!(sent(&actions), [ToController::Applied { revision }]);
}

#[test]
fn deltas_that_come_during_an_apply_are_joined_and_the_last_one_acknowledged() {
    let (mut world, link) = World::online();
    let frame = |from, to| Event::Frame {
        link,
        message: Box::new(ToNode::Delta(Box::new(netmap(from).diff(&netmap(to))))),
    };
    let now = world.now;
    for from in 10..20 {
        world.agent.handle(frame(from, from + 1), now);
    }
    let actions = world.tell(Event::TimerFired);
    assert_eq!(
        sent(&actions),
        [ToController::Applied {
            revision: Revision(20)
        }]
    );
    let revisions: Vec<_> = world.applied.iter().map(|map| map.revision.0).collect();
    assert_eq!(revisions, [10, 11, 20]);
}

#[test]
fn a_delta_that_does_not_fit_asks_once_for_the_whole_map() {
    let (mut world, link) = World::online();
    let foreign = || ToNode::Delta(Box::new(netmap(77).diff(&netmap(78))));
    assert_eq!(
        sent(&world.hear(link, foreign())),
        [ToController::NeedSnapshot]
    );
    assert_eq!(sent(&world.hear(link, foreign())), []);
    let actions = world.hear(link, ToNode::Snapshot(Box::new(netmap(78))));
    assert_eq!(
        sent(&actions),
        [ToController::Applied {
            revision: Revision(78)
        }]
    );
}

#[test]
fn a_snapshot_of_what_is_in_force_is_acknowledged_and_not_applied_again() {
    let (mut world, link) = World::online();
    let actions = world.hear(link, ToNode::Snapshot(Box::new(netmap(10))));
    assert_eq!(sent(&actions).len(), 1);
    assert_eq!(world.applied.len(), 1);
}

#[test]
fn the_data_plane_starts_from_disk_before_any_controller_answers() {
    let mut world = World::new();
    let actions = world.tell(Event::Started {
        last_known_good: Some(Box::new(netmap(9))),
        pairs: None,
    });
    assert_eq!(world.applied[0].revision, Revision(9));
    let link = connects(&actions)[0].0;
    let actions = world.tell(connected(link));
    let digest = Some(netmap(9).digest());
    assert!(
        matches!(&sent(&actions)[..], [ToController::Hello(h)] if h.applied == Some(Revision(9)) && h.digest == digest)
    );
}

#[test]
fn a_broken_tunnel_does_not_keep_the_node_from_its_controller() {
    let mut world = World::new();
    world.tunnel_broken = true;
    let actions = world.tell(Event::Started {
        last_known_good: Some(Box::new(netmap(9))),
        pairs: None,
    });
    let link = connects(&actions)[0].0;
    let actions = world.tell(connected(link));
    assert!(matches!(&sent(&actions)[..], [ToController::Hello(h)] if h.applied.is_none()));
    world.tunnel_broken = false;
    world.pass(REPAIR_FIRST_MS);
    assert_eq!(world.agent.revision(), Some(Revision(9)));
}

#[test]
fn a_port_that_can_not_be_opened_holds_up_no_map_and_is_tried_again() {
    let (mut world, link) = World::online();
    world.doors_broken = true;
    for from in 10..20 {
        let delta = netmap(from).diff(&netmap(from + 1));
        let actions = world.hear(link, ToNode::Delta(Box::new(delta)));
        let revision = Revision(from + 1);
        assert_eq!(sent(&actions), [ToController::Applied { revision }]);
        assert_eq!(world.saved.as_ref().unwrap().revision, revision);
    }
    assert_eq!(
        world.agent.view().apply_error.as_deref(),
        Some("port in use")
    );
    world.doors_broken = false;
    world.live(link, REPAIR_LONGEST_MS);
    assert_eq!(world.agent.view().apply_error, None);
    let revisions: Vec<_> = world.applied.iter().map(|map| map.revision.0).collect();
    assert_eq!(revisions, [10, 20]);
}

#[test]
fn a_tunnel_that_ended_by_itself_is_put_up_again() {
    let (mut world, link) = World::online();
    let actions = world.tell(Event::TunnelEnded);
    assert_eq!(sent(&actions), [], "the controller has nothing to learn");
    let revisions: Vec<_> = world.applied.iter().map(|map| map.revision.0).collect();
    assert_eq!(revisions, [10, 10]);
    world.tunnel_broken = true;
    world.tell(Event::TunnelEnded);
    world.tunnel_broken = false;
    world.live(link, REPAIR_LONGEST_MS);
    assert_eq!(world.applied.len(), 3);
}

#[test]
fn a_full_disk_is_shown_and_the_map_acknowledged_all_the_same() {
    let (mut world, link) = World::online();
    world.disk_full = true;
    let delta = netmap(10).diff(&netmap(11));
    let actions = world.hear(link, ToNode::Delta(Box::new(delta)));
    assert_eq!(sent(&actions).len(), 1);
    assert!(world.agent.view().save_error.is_some());
    world.disk_full = false;
    world.live(link, REPAIR_FIRST_MS);
    assert_eq!(world.saved.as_ref().unwrap().revision, Revision(11));
    assert_eq!(world.agent.view().save_error, None);
}

#[test]
fn a_probe_result_that_changes_is_reported_at_once() {
    let (mut world, link) = World::online();
    let probes = |actions: &[Action]| {
        let is_probe = |action: &&Action| matches!(action, Action::Probe { .. });
        actions.iter().filter(is_probe).count()
    };
    let (service, up) = (ServiceId(3), ServiceState::Up);
    world.live(link, 200);
    let state = up;
    let actions = world.tell(Event::Probed { service, state });
    assert_eq!(reports(&actions)[0].services[0].state, up);
    let actions = world.live(link, PROBE_INTERVAL_MS);
    assert_eq!(probes(&actions), 1);
    assert!(reports(&actions).iter().all(|r| r.services.is_empty()));
    let state = ServiceState::Refused;
    let actions = world.tell(Event::Probed { service, state });
    assert_eq!(reports(&actions)[0].services[0].state, state);
}

#[test]
fn peers_are_reported_when_something_changed_and_all_in_a_new_session() {
    let (mut world, link) = World::online();
    let seen = |rx_bytes, age_ms| Event::Observed {
        peers: vec![PeerObservation {
            peer: NodeId(2),
            endpoint: None,
            handshake_age_ms: Some(age_ms),
            rx_bytes,
            tx_bytes: 0,
            path: None,
        }],
    };
    world.tell(seen(1, 0));
    let told = |actions: &[Action]| {
        reports(actions)
            .iter()
            .map(|r| r.peers.len())
            .sum::<usize>()
    };
    assert_eq!(told(&world.live(link, HEARTBEAT_INTERVAL_MS)), 1);
    world.tell(seen(1, HEARTBEAT_INTERVAL_MS));
    assert_eq!(told(&world.live(link, HEARTBEAT_INTERVAL_MS)), 0);
    world.tell(seen(2, 2 * HEARTBEAT_INTERVAL_MS));
    assert_eq!(told(&world.live(link, HEARTBEAT_INTERVAL_MS)), 1);
    world.lose(link);
    let link = world.until_dialed().0;
    world.tell(connected(link));
    assert_eq!(told(&world.hear(link, welcome())), 1);
}

#[test]
fn a_map_of_another_node_ends_the_session_and_changes_nothing() {
    let (mut world, link) = World::online();
    let mut foreign = netmap(11);
    foreign.me.id = NodeId(9);
    let actions = world.hear(link, ToNode::Snapshot(Box::new(foreign)));
    assert_eq!(closed(&actions), [link]);
    assert_eq!(world.agent.revision(), Some(Revision(10)));
}

fn facts() -> MachineFacts {
    MachineFacts {
        host_name: "servidor".into(),
        machine: MachineId([1; 16]),
        agent_version: "1".into(),
        os: "Linux".into(),
        engine: None,
    }
}

/// A link has come up by a proxy.
pub(super) fn connected(link: LinkId) -> Event {
    let remote = None;
    Event::Connected { link, remote }
}

pub(super) fn connects(actions: &[Action]) -> Vec<(LinkId, Transport)> {
    let links = actions.iter().filter_map(|action| match action {
        Action::Connect {
            link, transport, ..
        } => Some((*link, *transport)),
        _ => None,
    });
    links.collect()
}

pub(super) fn closed(actions: &[Action]) -> Vec<LinkId> {
    let links = actions.iter().filter_map(|action| match action {
        Action::Close { link } => Some(*link),
        _ => None,
    });
    links.collect()
}

pub(super) fn sent(actions: &[Action]) -> Vec<ToController> {
    let messages = actions.iter().filter_map(|action| match action {
        Action::Send { message, .. } => Some(message.clone()),
        _ => None,
    });
    messages.collect()
}

fn reports(actions: &[Action]) -> Vec<NodeReport> {
    let reports = sent(actions).into_iter().filter_map(|m| match m {
        ToController::Report(report) => Some(report),
        _ => None,
    });
    reports.collect()
}
