//! One machine is never taken for two, and two are never taken for one: machines that crash at any step, lose replies,
//! speak late, renew keys and have their disks copied, against the rules of sessions.

mod world;

use std::collections::{BTreeMap, VecDeque};

use malha_core::{Answer, Command, LiveSession, NodeState, Rejection};
use malha_proto::{Fingerprint, Lease, MachineId, NodeId, Profile, RefusalCode, WgKey};
use proptest::prelude::*;
use world::{World, bytes32, facts};

/// What survives a crash of a machine.
#[derive(Clone, Debug)]
struct Disk {
    machine: u8,
    tls_key: Fingerprint,
    lease: Lease,
}

/// A machine with its running agent.
#[derive(Clone, Debug)]
struct Machine {
    disk: Disk,
    instance: u64,
    online: bool,
}

/// How far an exchange comes before something breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The controller does it, the reply never arrives.
    ReplyLost,
    /// The machine loses power with the reply in memory.
    CrashBeforeSaving,
    /// Saved, and the word of it is lost with the connection.
    WordLost,
    /// Saved, and the word of it comes later.
    WordLate,
    Complete,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Restart,
    Hello(Fate),
    /// A hello on a connection that the process gives up; it may come any time while the process lives.
    AbandonedHello,
    LateMessage,
    Renew(Fate),
}

enum Late {
    Hello {
        machine: usize,
        disk: Disk,
        instance: u64,
    },
    Word {
        lease: Lease,
        instance: u64,
    },
}

/// One identity, everyone who holds it, and the controller.
struct Play {
    world: World,
    node: NodeId,
    machines: Vec<Machine>,
    /// Whose session the controller has.
    session: Option<usize>,
    late: VecDeque<Late>,
    numbers: u64,
    /// Which lease was handed out for showing which.
    parents: BTreeMap<[u8; 16], [u8; 16]>,
    /// The lease of which the controller knows for sure that it was saved.
    known_saved: Option<[u8; 16]>,
}

impl Play {
    fn new() -> Self {
        let mut world = World::bare();
        let site = world.state.sites().next().unwrap().id;
        let node = world.enrol(site, Profile::Garage, 100);
        let holder = world.holders[&node].clone();
        let disk = Disk {
            machine: 100,
            tls_key: holder.tls_key,
            lease: holder.lease,
        };
        let first = Machine {
            disk,
            instance: 1,
            online: false,
        };
        Self {
            world,
            node,
            machines: vec![first],
            session: None,
            late: VecDeque::new(),
            numbers: 1_000,
            parents: BTreeMap::new(),
            known_saved: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Copies a disk. A virtual machine's copy says that it is the same machine; a disk in another box does not.
    fn copy(&mut self, of: usize, same_machine: bool) -> usize {
        let instance = self.number();
        let mut disk = self.machines[of].disk.clone();
        if !same_machine {
            disk.machine += 1;
        }
        self.machines.push(Machine {
            disk,
            instance,
            online: false,
        });
        self.machines.len() - 1
    }

    fn play(&mut self, at: usize, event: Event) {
        match event {
            Event::Restart => self.restart(at),
            Event::Hello(fate) => {
                let _ = self.hello(at, fate);
            }
            Event::AbandonedHello => {
                let machine = &self.machines[at];
                let (disk, instance) = (machine.disk.clone(), machine.instance);
                self.late.push_back(Late::Hello {
                    machine: at,
                    disk,
                    instance,
                });
            }
            Event::LateMessage => self.late_message(),
            Event::Renew(fate) => self.renew(at, fate),
        }
    }

    fn restart(&mut self, at: usize) {
        self.machines[at].instance = self.number();
        self.machines[at].online = false;
    }

    fn late_message(&mut self) {
        match self.late.pop_front() {
            Some(Late::Hello {
                machine,
                disk,
                instance,
            }) if self.machines[machine].instance == instance => {
                let _ = self.open(machine, &disk);
            }
            Some(Late::Word { lease, instance }) => self.confirm(lease, instance),
            Some(Late::Hello { .. }) | None => {}
        }
    }

    /// A hello and what follows it. Ok holds whether new keys are asked for.
    fn hello(&mut self, at: usize, fate: Fate) -> Result<bool, Option<RefusalCode>> {
        let disk = self.machines[at].disk.clone();
        self.machines[at].online = false;
        let (lease, rekey) = self.open(at, &disk)?;
        match fate {
            Fate::ReplyLost => return Ok(rekey),
            Fate::CrashBeforeSaving => {
                self.restart(at);
                return Ok(rekey);
            }
            Fate::WordLost => {}
            Fate::WordLate => {
                let instance = self.machines[at].instance;
                self.late.push_back(Late::Word {
                    lease: lease.clone(),
                    instance,
                });
            }
            Fate::Complete => self.confirm(lease.clone(), self.machines[at].instance),
        }
        self.machines[at].disk.lease = lease;
        self.machines[at].online = true;
        Ok(rekey)
    }

    /// The controller's part of a hello. Err holds the refusal's code, or None for a clone found just now.
    fn open(&mut self, at: usize, disk: &Disk) -> Result<(Lease, bool), Option<RefusalCode>> {
        let instance = self.machines[at].instance;
        let live = self.session.map(|holder| LiveSession {
            instance: self.machines[holder].instance,
            alive: holder != at && self.machines[holder].online,
            facts: facts(self.machines[holder].disk.machine),
            source: None,
        });
        let command = Command::OpenSession {
            node: self.node,
            tls_key: disk.tls_key,
            lease: disk.lease.clone(),
            instance,
            facts: facts(disk.machine),
            source: None,
            live,
        };
        match self.world.run(command) {
            Ok(outcome) => match outcome.answer {
                Answer::Session { lease, rekey } => {
                    self.accepted(disk, &lease);
                    self.session = Some(at);
                    Ok((lease, rekey))
                }
                Answer::Cloned { .. } => {
                    self.end_sessions();
                    Err(None)
                }
                other => panic!("{other:?}"),
            },
            Err(Rejection::Refused { code, .. }) => Err(Some(code)),
            Err(other) => panic!("{other}"),
        }
    }

    /// Whoever gets a session shows the lease known to be saved last, or one handed out for showing it.
    fn accepted(&mut self, disk: &Disk, handed_out: &Lease) {
        let shown = disk.lease.0;
        if let Some(known) = self.known_saved {
            let known_or_child = shown == known || self.parents.get(&shown) == Some(&known);
            assert!(
                known_or_child,
                "a stale lease was accepted: a copy goes unnoticed"
            );
        }
        self.known_saved = Some(shown);
        self.parents.insert(handed_out.0, shown);
    }

    fn confirm(&mut self, lease: Lease, instance: u64) {
        if self.parents.get(&lease.0).copied() == self.known_saved && !self.is_quarantined() {
            self.known_saved = Some(lease.0);
        }
        self.world
            .run(Command::ConfirmLease {
                node: self.node,
                instance,
                lease,
            })
            .unwrap();
    }

    fn renew(&mut self, at: usize, fate: Fate) {
        if !self.machines[at].online {
            return;
        }
        let key = bytes32(50_000 + self.number());
        let command = Command::RenewNode {
            node: self.node,
            instance: self.machines[at].instance,
            tls_key: Fingerprint(key),
            wg_key: Some(WgKey(key)),
        };
        if self.world.run(command).is_err() {
            self.machines[at].online = false;
            return;
        }
        match fate {
            Fate::ReplyLost => self.machines[at].online = false,
            Fate::CrashBeforeSaving => self.restart(at),
            Fate::WordLost | Fate::WordLate | Fate::Complete => {
                self.machines[at].disk.tls_key = Fingerprint(key)
            }
        }
    }

    fn end_sessions(&mut self) {
        self.session = None;
        for machine in &mut self.machines {
            machine.online = false;
        }
    }

    fn is_quarantined(&self) -> bool {
        matches!(
            self.world.state.node(self.node).unwrap().state,
            NodeState::Quarantined(_)
        )
    }

    fn resolve(&mut self, keep: usize) {
        let machine = &self.machines[keep];
        let command = Command::ResolveQuarantine {
            node: self.node,
            keep: MachineId([machine.disk.machine; 16]),
            instance: machine.instance,
        };
        self.world.run(command).unwrap();
        self.known_saved = None;
    }
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        1 => Just(Fate::ReplyLost),
        1 => Just(Fate::CrashBeforeSaving),
        1 => Just(Fate::WordLost),
        1 => Just(Fate::WordLate),
        3 => Just(Fate::Complete),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Restart),
        6 => any_fate().prop_map(Event::Hello),
        1 => Just(Event::AbandonedHello),
        2 => Just(Event::LateMessage),
        2 => any_fate().prop_map(Event::Renew),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn one_machine_is_never_quarantined_and_never_locked_out(events in prop::collection::vec(any_event(), 1..60)) {
        let mut play = Play::new();
        for event in events {
            play.play(0, event);
            prop_assert!(!play.is_quarantined(), "taken for two after {:?}", event);
        }
        play.restart(0);
        let answer = play.hello(0, Fate::Complete);
        prop_assert!(answer.is_ok(), "locked out: {:?}", answer);
    }

    /// The model itself checks each accepted hello, see [`Play::accepted`].
    #[test]
    fn a_copy_is_found_when_it_speaks_after_the_other_one(
        before in prop::collection::vec(any_event(), 0..12),
        same_machine: bool,
        events in prop::collection::vec((0_usize..2, any_event()), 0..30),
        first in 0_usize..2,
    ) {
        let mut play = Play::new();
        for event in before {
            play.play(0, event);
        }
        play.late.clear();
        play.copy(0, same_machine);
        for (at, event) in events {
            play.play(at, event);
        }
        if !play.is_quarantined() {
            let _ = play.hello(first, Fate::Complete);
            play.restart(1 - first);
            let answer = play.hello(1 - first, Fate::Complete);
            prop_assert!(play.is_quarantined(), "nobody noticed: {:?}", answer);
        }
    }

    #[test]
    fn two_living_copies_are_told_apart_at_the_hello_of_the_second(same_machine: bool, confirmed: bool) {
        let mut play = Play::new();
        play.hello(0, Fate::Complete).unwrap();
        let copy = play.copy(0, same_machine);
        if !confirmed {
            play.hello(0, Fate::WordLost).unwrap();
        }
        prop_assert_eq!(play.hello(copy, Fate::Complete), Err(None));
        prop_assert!(play.is_quarantined());
    }

    #[test]
    fn the_chosen_machine_comes_back_with_new_keys_and_the_other_never_does(
        same_machine: bool,
        stale_copy: bool,
        keep_holder: bool,
        events in prop::collection::vec((any::<bool>(), any_event()), 0..40),
    ) {
        let mut play = Play::new();
        play.hello(0, Fate::Complete).unwrap();
        let copy = play.copy(0, same_machine);
        if stale_copy {
            play.hello(0, Fate::Complete).unwrap();
        }
        prop_assert_eq!(play.hello(copy, Fate::Complete), Err(None));
        let (kept, other) = if keep_holder { (0, copy) } else { (copy, 0) };
        prop_assert_eq!(play.hello(kept, Fate::Complete), Err(Some(RefusalCode::Cloned)));
        play.resolve(kept);
        // Where nothing but the running process tells the two apart, it must not restart before it has new keys.
        let alike = same_machine && !stale_copy;
        for (is_kept, event) in events {
            match (is_kept, event) {
                (true, Event::Restart | Event::Hello(Fate::CrashBeforeSaving) | Event::Renew(Fate::CrashBeforeSaving))
                    if alike => {}
                (true, event) => play.play(kept, event),
                (false, Event::Restart) => play.restart(other),
                (false, _) => prop_assert!(play.hello(other, Fate::Complete).is_err(), "the other one got a session"),
            }
            prop_assert!(!play.is_quarantined(), "quarantined again after {:?}", event);
        }
        play.hello(kept, Fate::Complete).unwrap();
        play.renew(kept, Fate::Complete);
        prop_assert!(play.world.state.node(play.node).unwrap().is_active());
        prop_assert_eq!(play.hello(kept, Fate::Complete), Ok(false));
        prop_assert_eq!(play.hello(other, Fate::Complete), Err(Some(RefusalCode::Replaced)));
    }
}

#[test]
fn a_machine_of_a_restored_backup_opens_with_whatever_lease_it_has() {
    let mut play = Play::new();
    play.hello(0, Fate::Complete).unwrap();
    let backup: Vec<_> = play.world.state.entities().collect();
    play.hello(0, Fate::Complete).unwrap();
    play.hello(0, Fate::Complete).unwrap();
    let without_leases = backup
        .into_iter()
        .filter(|it| !matches!(it, malha_core::Entity::Lease(_)));
    play.world.state =
        malha_core::State::restore(play.world.state.revision(), without_leases).unwrap();
    play.restart(0);
    assert_eq!(play.hello(0, Fate::Complete), Ok(false));
}

#[test]
fn while_rekeying_old_keys_do_not_free_the_node() {
    let mut play = Play::new();
    play.hello(0, Fate::Complete).unwrap();
    let copy = play.copy(0, false);
    assert_eq!(play.hello(copy, Fate::Complete), Err(None));
    play.resolve(0);
    assert_eq!(play.hello(0, Fate::Complete), Ok(true));
    let node = play.world.state.node(play.node).unwrap().clone();
    let instance = play.machines[0].instance;
    let tls_only = Command::RenewNode {
        node: play.node,
        instance,
        tls_key: Fingerprint(bytes32(77_000)),
        wg_key: None,
    };
    assert!(play.world.run(tls_only).is_err());
    assert!(play.world.state.netmap(node.id).unwrap().peers.is_empty());
    play.renew(0, Fate::Complete);
    assert!(!play.world.state.netmap(node.id).unwrap().peers.is_empty());
}
