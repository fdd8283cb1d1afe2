//! What holds in every order of events: the last revision wins, nothing is applied twice, and nothing grows without limit.

use std::collections::BTreeSet;

use malha_proto::{FarewellReason, RefusalCode, ServiceId, ServiceState};
use proptest::prelude::*;

use super::tests::{World, closed, connected, connects, sent};
use super::*;
use crate::testbed::{netmap, welcome};
use malha_proto::{PeerObservation, ToNode};

/// What a world without manners may do next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(Millis),
    Connect(usize),
    Lose(usize),
    Hear(usize),
    Welcome(usize),
    Snapshot(usize, u64),
    Delta(usize, u64, u64),
    Farewell(usize),
    Refuse(usize, RefusalCode),
    Probe(bool),
    Observe(u64),
    NetworkChanged,
    TunnelBroken(bool),
    DiskFull(bool),
    RenewalDue,
    KeysMade,
    KeysAdopted,
}

fn step() -> impl Strategy<Value = Step> {
    let link = || 0_usize..4;
    let code = prop::sample::select(vec![
        RefusalCode::Busy,
        RefusalCode::Cloned,
        RefusalCode::Malformed,
        RefusalCode::Unavailable,
    ]);
    prop_oneof![
        4 => (0_u64..40_000).prop_map(Step::Pass),
        4 => link().prop_map(Step::Connect),
        2 => link().prop_map(Step::Lose),
        1 => link().prop_map(Step::Hear),
        5 => link().prop_map(Step::Welcome),
        4 => (link(), 1_u64..30).prop_map(|(l, r)| Step::Snapshot(l, r)),
        4 => (link(), 1_u64..30, 1_u64..30).prop_map(|(l, f, t)| Step::Delta(l, f, t)),
        1 => link().prop_map(Step::Farewell),
        1 => (link(), code).prop_map(|(l, c)| Step::Refuse(l, c)),
        2 => any::<bool>().prop_map(Step::Probe),
        2 => (0_u64..50).prop_map(Step::Observe),
        1 => Just(Step::NetworkChanged),
        1 => any::<bool>().prop_map(Step::TunnelBroken),
        1 => any::<bool>().prop_map(Step::DiskFull),
        1 => Just(Step::RenewalDue),
        1 => Just(Step::KeysMade),
        1 => Just(Step::KeysAdopted),
    ]
}

/// The links that the shell still holds, in the order of their making.
#[derive(Default)]
struct Wires {
    dialed: Vec<LinkId>,
    held: BTreeSet<LinkId>,
}

impl Wires {
    fn watch(&mut self, actions: &[Action]) {
        for (link, _) in connects(actions) {
            self.dialed.push(link);
            self.held.insert(link);
        }
        for link in closed(actions) {
            self.held.remove(&link);
        }
    }

    /// Links near the newest one: alive, closed and lost ones alike.
    fn at(&self, back: usize) -> LinkId {
        let newest = self.dialed.len().saturating_sub(1 + back);
        self.dialed.get(newest).copied().unwrap_or(LinkId(0))
    }
}

fn run(world: &mut World, wires: &mut Wires, step: Step) {
    let frame = |link, message| Event::Frame {
        link,
        message: Box::new(message),
    };
    let event = match step {
        Step::Pass(ms) => {
            let actions = world.pass(ms);
            return wires.watch(&actions);
        }
        Step::TunnelBroken(broken) => {
            world.tunnel_broken = broken;
            return;
        }
        Step::DiskFull(full) => {
            world.disk_full = full;
            return;
        }
        Step::Connect(l) => connected(wires.at(l)),
        Step::Lose(l) => {
            let link = wires.at(l);
            wires.held.remove(&link);
            let error = LinkError::new(LinkFault::Closed, "reset");
            Event::Lost { link, error }
        }
        Step::Hear(l) => Event::Heard { link: wires.at(l) },
        Step::Welcome(l) => frame(wires.at(l), welcome()),
        Step::Snapshot(l, to) => frame(wires.at(l), ToNode::Snapshot(Box::new(netmap(to)))),
        Step::Delta(l, from, to) => {
            let delta = netmap(from).diff(&netmap(to));
            frame(wires.at(l), ToNode::Delta(Box::new(delta)))
        }
        Step::Farewell(l) => {
            let reason = FarewellReason::Restart;
            frame(wires.at(l), ToNode::Farewell { reason })
        }
        Step::Refuse(l, code) => {
            let text = "no".into();
            frame(wires.at(l), ToNode::Refused { code, text })
        }
        Step::Probe(up) => Event::Probed {
            service: ServiceId(3),
            state: if up {
                ServiceState::Up
            } else {
                ServiceState::Timeout
            },
        },
        Step::Observe(peer) => Event::Observed {
            peers: vec![PeerObservation {
                peer: NodeId(peer),
                endpoint: None,
                handshake_age_ms: Some(peer),
                rx_bytes: peer,
                tx_bytes: 0,
                path: None,
            }],
        },
        Step::NetworkChanged => Event::NetworkChanged,
        Step::RenewalDue => Event::RenewalDue,
        Step::KeysMade => Event::KeysMade {
            result: Ok(FreshKeys {
                csr: vec![1],
                wg_key: None,
            }),
        },
        Step::KeysAdopted => Event::KeysAdopted { result: Ok(()) },
    };
    let actions = world.tell(event);
    wires.watch(&actions);
}

/// Brings the agent into a session, whatever it did before.
fn reach(world: &mut World, wires: &mut Wires) -> LinkId {
    for link in std::mem::take(&mut wires.held) {
        let error = LinkError::new(LinkFault::Closed, "reset");
        let actions = world.tell(Event::Lost { link, error });
        wires.watch(&actions);
    }
    let (link, actions) = world.until_dialed();
    wires.watch(&actions);
    let actions = world.tell(connected(link));
    wires.watch(&actions);
    let actions = world.hear(link, welcome());
    wires.watch(&actions);
    assert!(sent(&actions).contains(&ToController::LeaseSaved));
    assert_eq!(world.agent.view().control.state, ControlState::Online);
    link
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn after_any_story_a_good_controller_gets_the_last_revision_through(
        steps in prop::collection::vec(step(), 0..60),
        with_map in any::<bool>(),
    ) {
        let mut world = World::new();
        let mut wires = Wires::default();
        let last_known_good = with_map.then(|| Box::new(netmap(3)));
        let actions = world.tell(Event::Started {
            last_known_good,
            pairs: None,
        });
        wires.watch(&actions);
        for step in steps {
            run(&mut world, &mut wires, step);
            // A race of two, a session and a greeting.
            prop_assert!(wires.held.len() <= 4, "{:?}", wires.held);
            prop_assert!(world.agent.actions.is_empty());
        }
        world.tunnel_broken = false;
        world.disk_full = false;
        let link = reach(&mut world, &mut wires);
        let actions = world.hear(link, ToNode::Snapshot(Box::new(netmap(99))));
        let acknowledged = ToController::Applied { revision: Revision(99) };
        prop_assert!(sent(&actions).contains(&acknowledged), "{actions:?}");
        prop_assert_eq!(&**world.applied.last().unwrap(), &netmap(99));
        prop_assert_eq!(world.saved.as_deref(), Some(&netmap(99)));
        prop_assert!(!world.agent.view().quarantined);
    }

    #[test]
    fn no_map_is_applied_twice_in_a_row(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        let mut wires = Wires::default();
        let actions = world.tell(Event::Started {
            last_known_good: None,
            pairs: None,
        });
        wires.watch(&actions);
        for step in steps {
            run(&mut world, &mut wires, step);
        }
        // A quarantine may leave a map without its peers as it was without peers: those count as one.
        for pair in world.applied.windows(2) {
            prop_assert!(pair[0] != pair[1] || pair[0].peers.is_empty());
        }
    }

    #[test]
    fn a_timer_is_never_left_in_the_past(steps in prop::collection::vec(step(), 0..60)) {
        let mut world = World::new();
        let mut wires = Wires::default();
        let actions = world.tell(Event::Started {
            last_known_good: None,
            pairs: None,
        });
        wires.watch(&actions);
        for step in steps {
            run(&mut world, &mut wires, step);
            world.tell(Event::TimerFired);
            if let Some(at) = world.agent.poll_timeout() {
                prop_assert!(at > world.now, "{at} at {}", world.now);
            }
        }
    }
}
