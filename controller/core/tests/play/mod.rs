//! One identity on one or more machines, with everything that can go wrong between them and the controller.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::{BTreeMap, VecDeque};

use malha_core::{Answer, Command, LiveSession, NodeState, Rejection};
use malha_proto::{Fingerprint, Lease, MachineId, NodeId, Profile, RefusalCode, WgKey};
use proptest::prelude::*;

use crate::world::{World, bytes32, facts};

/// What survives a crash of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) machine: u8,
    pub(crate) tls_key: Fingerprint,
    pub(crate) lease: Lease,
}

/// A machine with its running agent.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    pub(crate) instance: u64,
    pub(crate) online: bool,
}

/// How far an exchange comes before something breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
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
pub(crate) enum Event {
    Restart,
    Hello(Fate),
    /// Two sessions, one beside the other: the lease of the first gets to disk when the second is open already.
    HelloBeside(Fate),
    /// A hello on a connection that the process gives up; it may come any time while the process lives.
    AbandonedHello,
    LateMessage,
    Renew(Fate),
}

pub(crate) enum Late {
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
pub(crate) struct Play {
    pub(crate) world: World,
    pub(crate) node: NodeId,
    pub(crate) machines: Vec<Machine>,
    /// Whose session the controller has.
    session: Option<usize>,
    /// The process that was answered last.
    answered: Option<u64>,
    pub(crate) late: VecDeque<Late>,
    numbers: u64,
    /// Which lease was handed out for showing which, and how many were before it.
    parents: BTreeMap<[u8; 16], ([u8; 16], usize)>,
    /// The lease of which the controller knows for sure that it was saved.
    pub(crate) known_saved: Option<[u8; 16]>,
}

impl Play {
    pub(crate) fn new() -> Self {
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
            answered: None,
            late: VecDeque::new(),
            numbers: 1_000,
            parents: BTreeMap::new(),
            known_saved: None,
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Copies a disk. A virtual machine's copy says that it is the same machine; a disk in another box does not.
    pub(crate) fn copy(&mut self, of: usize, same_machine: bool) -> usize {
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

    pub(crate) fn play(&mut self, at: usize, event: Event) {
        match event {
            Event::Restart => self.restart(at),
            Event::Hello(fate) => {
                let _ = self.hello(at, fate);
            }
            Event::HelloBeside(fate) => {
                let _ = self.hello_beside(at, fate);
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

    pub(crate) fn restart(&mut self, at: usize) {
        self.machines[at].instance = self.number();
        self.machines[at].online = false;
    }

    pub(crate) fn late_message(&mut self) {
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
    pub(crate) fn hello(&mut self, at: usize, fate: Fate) -> Result<bool, Option<RefusalCode>> {
        let disk = self.machines[at].disk.clone();
        self.machines[at].online = false;
        let (lease, rekey) = self.open(at, &disk)?;
        self.take(at, lease, fate);
        Ok(rekey)
    }

    fn hello_beside(&mut self, at: usize, fate: Fate) -> Result<(), Option<RefusalCode>> {
        let disk = self.machines[at].disk.clone();
        self.machines[at].online = false;
        let (first, _) = self.open(at, &disk)?;
        let (second, _) = self.open(at, &disk)?;
        self.take(at, first, Fate::Complete);
        self.take(at, second, fate);
        Ok(())
    }

    /// What a machine does with the lease of a session.
    fn take(&mut self, at: usize, lease: Lease, fate: Fate) {
        match fate {
            Fate::ReplyLost => return,
            Fate::CrashBeforeSaving => return self.restart(at),
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
    }

    /// The controller's part of a hello. Err holds the refusal's code, or None for a clone found just now.
    pub(crate) fn open(
        &mut self,
        at: usize,
        disk: &Disk,
    ) -> Result<(Lease, bool), Option<RefusalCode>> {
        let instance = self.machines[at].instance;
        let live = self.session.map(|holder| LiveSession {
            instance: self.machines[holder].instance,
            tls_key: self.machines[holder].disk.tls_key,
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
                    self.answered = Some(instance);
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

    /// Whoever gets a session shows the lease known to be saved last, or one handed out for showing it, or after it for showing the
    /// same as it.
    pub(crate) fn accepted(&mut self, disk: &Disk, handed_out: &Lease) {
        let shown = disk.lease.0;
        if let Some(known) = self.known_saved {
            assert!(
                shown == known || self.is_child(shown, known) || self.is_younger(shown, known),
                "a stale lease was accepted: a copy goes unnoticed"
            );
        }
        self.known_saved = Some(shown);
        self.parents
            .insert(handed_out.0, (shown, self.parents.len()));
    }

    fn is_child(&self, lease: [u8; 16], of: [u8; 16]) -> bool {
        (self.parents.get(&lease)).is_some_and(|(parent, _)| *parent == of)
    }

    fn is_younger(&self, lease: [u8; 16], than: [u8; 16]) -> bool {
        match (self.parents.get(&lease), self.parents.get(&than)) {
            (Some((parent, number)), Some((same, earlier))) => parent == same && number > earlier,
            _ => false,
        }
    }

    pub(crate) fn confirm(&mut self, lease: Lease, instance: u64) {
        let is_of_last = self.answered == Some(instance);
        let is_newer = (self.known_saved)
            .is_some_and(|known| self.is_child(lease.0, known) || self.is_younger(lease.0, known));
        if is_of_last && is_newer && !self.is_quarantined() {
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

    pub(crate) fn renew(&mut self, at: usize, fate: Fate) {
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

    pub(crate) fn end_sessions(&mut self) {
        self.session = None;
        for machine in &mut self.machines {
            machine.online = false;
        }
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        matches!(
            self.world.state.node(self.node).unwrap().state,
            NodeState::Quarantined(_)
        )
    }

    pub(crate) fn resolve(&mut self, keep: usize) {
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

pub(crate) fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        1 => Just(Fate::ReplyLost),
        1 => Just(Fate::CrashBeforeSaving),
        1 => Just(Fate::WordLost),
        1 => Just(Fate::WordLate),
        3 => Just(Fate::Complete),
    ]
}

pub(crate) fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Restart),
        6 => any_fate().prop_map(Event::Hello),
        1 => any_fate().prop_map(Event::HelloBeside),
        1 => Just(Event::AbandonedHello),
        2 => Just(Event::LateMessage),
        2 => any_fate().prop_map(Event::Renew),
    ]
}
