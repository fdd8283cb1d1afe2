//! A whole fleet in one thread, on a virtual clock and from one seed: the real state, history, sessions' sync and store as
//! controller, dozens of real agents as nodes, and simulated disks, networks and tunnels between them. Nothing here reads a
//! clock, a socket or the system's randomness.
//!
//! A story is storms of random wishes and faults, each followed by rest. Every commit is held against the ledger, every
//! acknowledgement against the map of its revision; after each rest everybody must have the last map, and exactly the allowed
//! packets may pass.

mod agenda;
mod challenge;
mod controller;
mod dice;
mod enrolment;
mod failure;
mod faults;
mod ledger;
mod machine;
mod network;
mod operator;
mod oracle;
mod quiet;
mod session;
mod shell;
mod traffic;

use std::collections::BTreeSet;
use std::fmt;

use malha_core::{
    Affected, Change, Command, Context, Convergence, Entity, RetiredAddress, Settings, State,
};
use malha_node::agent::Millis;
use malha_proto::{MachineId, OverlayPools, Revision, ToController};

use agenda::{Agenda, BoxId, Happening};
use controller::{Controller, Verdict};
use dice::Dice;
use failure::{Broken, Journal, broken};
use ledger::Ledger;
use machine::Machine;
use network::Network;
use traffic::Flow;

pub use failure::Failure;

/// How much happens in one story.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Nodes that enrol at the beginning.
    pub machines: u32,
    pub storms: u32,
    /// Wishes and faults of one storm.
    pub steps: u32,
}

/// What a story went through, so that a test can say that it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Equal for equal stories.
    pub fingerprint: u64,
    pub virtual_ms: Millis,
    pub happenings: u64,
    pub changes: u64,
    pub rejections: u64,
    pub enrolled: u64,
    /// Of these, answers that were asked for again.
    pub enrolled_again: u64,
    pub refused: u64,
    pub sessions: u64,
    pub resumed_with_nothing: u64,
    pub resumed_with_delta: u64,
    pub snapshots: u64,
    pub snapshots_asked: u64,
    pub acknowledged: u64,
    pub renewals: u64,
    pub replacements: u64,
    pub copies: u64,
    pub quarantines: u64,
    pub resolutions: u64,
    pub crashes: u64,
    pub controller_deaths: u64,
    /// Flows that had to outlive a controller.
    pub lasting_flows: u64,
    pub bytes_to_nodes: u64,
}

/// Tells the story of a seed to its end, or to where it breaks.
pub fn run(seed: u64, plan: &Plan) -> Result<Summary, Failure> {
    let mut fleet = Fleet::new(seed).map_err(|what| Failure {
        seed,
        at_ms: 0,
        what: what.to_string(),
        last: Vec::new(),
    })?;
    match fleet.tell_story(plan) {
        Ok(()) => Ok(Summary {
            fingerprint: fleet.journal.fingerprint(),
            virtual_ms: fleet.now,
            ..fleet.summary
        }),
        Err(what) => Err(Failure {
            seed,
            at_ms: fleet.now,
            what: what.to_string(),
            last: fleet.journal.last(),
        }),
    }
}

struct Fleet {
    now: Millis,
    dice: Dice,
    agenda: Agenda,
    network: Network,
    controller: Controller,
    machines: Vec<Machine>,
    ledger: Ledger,
    /// Changes whose arrival an operator waits for.
    waited: Vec<Convergence>,
    /// Which machines most faults befall now.
    unlucky: usize,
    /// A machine was told that no address is free.
    pool_exhausted: bool,
    /// What flowed when the controller died.
    lasting: BTreeSet<Flow>,
    journal: Journal,
    summary: Summary,
}

impl Fleet {
    fn new(seed: u64) -> Result<Self, Broken> {
        let mut dice = Dice::new(seed);
        let (state, records) = first_state(&mut dice)?;
        let mut fleet = Self {
            now: 0,
            dice,
            agenda: Agenda::default(),
            network: Network::default(),
            controller: Controller::new(state.clone(), &records)?,
            machines: Vec::new(),
            ledger: Ledger::default(),
            waited: Vec::new(),
            unlucky: 0,
            pool_exhausted: false,
            lasting: BTreeSet::new(),
            journal: Journal::default(),
            summary: Summary::default(),
        };
        fleet
            .ledger
            .committed(None, &state, &Affected::default(), EPOCH_MS)?;
        Ok(fleet)
    }

    fn tell_story(&mut self, plan: &Plan) -> Result<(), Broken> {
        self.found()?;
        for _ in 0..plan.machines {
            self.enrol_machines(1, 1)?;
        }
        self.rest()?;
        for _ in 0..plan.storms {
            self.unlucky = self.index(faults::MISERY);
            for _ in 0..plan.steps {
                match self.dice.percent(55) {
                    true => self.operate()?,
                    false => self.misfortune()?,
                }
                let pause_ms = self.dice.below(LONGEST_PAUSE_MS);
                self.run_for(pause_ms)?;
                self.check_lasting_flows()?;
            }
            self.rest()?;
        }
        Ok(())
    }

    /// Lets the world come to rest and holds it against what must be true then, twice: it must also stay so.
    fn rest(&mut self) -> Result<(), Broken> {
        self.heal()?;
        let mut waited_ms = 0;
        loop {
            self.run_for(LOOK_MS)?;
            waited_ms += LOOK_MS;
            if std::mem::take(&mut self.pool_exhausted) {
                self.pass_a_week();
            }
            match self.check_quiet() {
                Ok(()) => break,
                Err(_) if waited_ms < PATIENCE_MS => {}
                Err(what) => return Err(broken("no rest", what)),
            }
        }
        self.note(format_args!("at rest after {waited_ms} ms"));
        self.stay_at_rest()?;
        self.waited.clear();
        self.forget_copies();
        Ok(())
    }

    /// A session that moves from one transport to the other needs a moment; nothing else may disturb the rest.
    fn stay_at_rest(&mut self) -> Result<(), Broken> {
        let mut quiet = Ok(());
        for _ in 0..LOOKS {
            self.run_for(LOOK_MS)?;
            quiet = self.check_quiet();
            if quiet.is_ok() {
                break;
            }
        }
        quiet.map_err(|what| broken("the rest does not last", what))
    }

    fn run_for(&mut self, ms: Millis) -> Result<(), Broken> {
        let until = self.now + ms;
        while let Some((at, happening)) = self.agenda.next(until) {
            self.now = self.now.max(at);
            self.summary.happenings += 1;
            self.happen(happening)?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Broken> {
        match happening {
            Happening::Timer { machine, process } => self.timer_fires(machine, process),
            Happening::Disk { machine, process } => self.disk_is_done(machine, process),
            Happening::Plane { machine, process } => self.plane_is_done(machine, process),
            Happening::Probed {
                machine,
                process,
                service,
            } => self.probed(machine, process, service),
            Happening::Boot { machine } => self.boot(machine),
            Happening::Enrol { machine, attempt } => {
                self.ask_to_enrol(machine, attempt);
                Ok(())
            }
            Happening::EnrolArrives { machine, attempt } => {
                self.enrolment_arrives(machine, attempt)
            }
            Happening::EnrolAnswer {
                machine,
                attempt,
                answer,
                netmap,
            } => self.enrolment_is_answered(machine, attempt, *answer, netmap),
            Happening::Dialed { wire } => self.handshake(wire),
            Happening::Deliver { wire, toward } => self.deliver(wire, toward),
            Happening::Silence { wire } => self.controller_listens(wire),
            Happening::ChallengeOver { wire } => self.challenge_is_over(wire),
            Happening::Bell { wire } => self.bell_rings(wire),
            Happening::ControllerStarts => self.start_controller(),
        }
    }

    /// Gives the controller one command. What it commits is held against the ledger before anybody hears of it.
    fn submit(&mut self, command: &Command) -> Result<Verdict, Broken> {
        let context = Context {
            now_ms: EPOCH_MS + self.now,
            random: self.dice.bytes(),
            request: None,
        };
        let revision = self.controller.committed().revision();
        let was_running = self.controller.is_running();
        let verdict = self.controller.submit(command, &context)?;
        match &verdict {
            Verdict::Accepted(accepted) => {
                if let Some(before) = &accepted.before {
                    self.note_command(command);
                    let state = self.controller.committed().clone();
                    let affected = &accepted.affected;
                    self.ledger
                        .committed(Some(before), &state, affected, context.now_ms)?;
                    self.ring(affected.nodes.iter().copied());
                }
            }
            Verdict::Rejected(_) => {}
            Verdict::Dead if was_running => {
                let state = self.controller.committed().clone();
                if state.revision() != revision {
                    self.note_command(command);
                    self.ledger.committed_unheard(&state, context.now_ms)?;
                }
                self.controller_dies()?;
            }
            Verdict::Dead => {}
        }
        Ok(verdict)
    }

    /// An agent may only acknowledge a map that it runs with, and only the map of that revision.
    fn check_word(&mut self, id: BoxId, message: &ToController) -> Result<(), Broken> {
        let ToController::Applied { revision } = message else {
            return Ok(());
        };
        self.summary.acknowledged += 1;
        let machine = &self.machines[id.0];
        let running = machine
            .process
            .as_ref()
            .and_then(|process| process.plane.map.as_ref());
        let right = machine
            .node()
            .and_then(|node| self.ledger.state(*revision)?.netmap(node));
        let (Some(running), Some(right)) = (running, right) else {
            return Err(Broken::new(format!(
                "{} acknowledges {revision} out of nothing",
                self.called(id)
            )));
        };
        if running.digest() != alone_if_held(right).digest() {
            return Err(Broken::new(format!(
                "{} acknowledges revision {revision} and runs with another map: {running:#?}",
                self.called(id)
            )));
        }
        Ok(())
    }

    /// A node whose only holder is back in session under keys of its own is an ordinary node again.
    fn forget_copies(&mut self) {
        for node in self
            .controller
            .committed()
            .nodes()
            .map(|node| node.id)
            .collect::<Vec<_>>()
        {
            let holders: Vec<BoxId> = self.holders(node).collect();
            if let [only] = holders[..]
                && self.is_present(only)
            {
                self.ledger.is_single(node);
            }
        }
    }

    fn wait_for(&mut self, revision: Revision, affected: &Affected) {
        self.waited.push(Convergence::new(revision, affected));
    }

    fn ids(&self) -> impl Iterator<Item = BoxId> + use<> {
        (0..self.machines.len()).map(BoxId)
    }

    fn called(&self, id: BoxId) -> String {
        match self.machines[id.0].disk.identity.as_ref() {
            Some(identity) => format!("box {} ({})", id.0, identity.certificate.node),
            None => format!("box {}", id.0),
        }
    }

    fn note(&mut self, line: fmt::Arguments) {
        self.journal.write(self.now, &line);
    }

    fn note_command(&mut self, command: &Command) {
        let revision = self.controller.committed().revision();
        let (now, journal) = (self.now, &mut self.journal);
        match command {
            Command::OpenSession {
                node,
                instance,
                live,
                ..
            } => {
                let alive = live.as_ref().is_some_and(|live| live.alive);
                journal.write(
                    now,
                    &format_args!("{revision}: {node} hello of {instance:x}, rival alive: {alive}"),
                );
            }
            Command::ConfirmLease { node, instance, .. } => {
                journal.write(
                    now,
                    &format_args!("{revision}: {node} lease confirmed by {instance:x}"),
                );
            }
            Command::Enrol { token, facts, .. } => {
                journal.write(
                    now,
                    &format_args!("{revision}: {} enrols with {token}", facts.machine),
                );
            }
            other => journal.write(now, &format_args!("{revision}: {other:?}")),
        }
    }
}

/// A quarantined node runs without peers, whatever it was sent.
fn alone_if_held(mut map: malha_proto::Netmap) -> malha_proto::Netmap {
    if map.me.quarantined {
        map.peers.clear();
    }
    map
}

/// An overlay with so few free addresses that they come round again.
fn first_state(dice: &mut Dice) -> Result<(State, Vec<Change>), Broken> {
    let pools = OverlayPools::new(POOL_V4, POOL_V6).map_err(|error| broken("the pools", error))?;
    let zone = "malha.internal"
        .parse()
        .map_err(|error| broken("the zone", error))?;
    let mut cluster = [0; 16];
    cluster.copy_from_slice(&dice.bytes()[..16]);
    let settings = Settings {
        controllers: vec![enrolment::CONTROLLER.to_owned()],
        ..Settings::new(MachineId(cluster), pools, zone)
    };
    let taken = (USABLE_ADDRESSES..pools.size()).map(|offset| {
        Entity::RetiredAddress(RetiredAddress {
            offset,
            until_ms: u64::MAX,
        })
    });
    let entities: Vec<Entity> = taken.chain([Entity::Settings(settings)]).collect();
    let records = entities.iter().cloned().map(Change::Put).collect();
    let state =
        State::restore(Revision(0), entities).map_err(|error| broken("the first state", error))?;
    Ok((state, records))
}

const POOL_V4: ipnet::Ipv4Net =
    ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(100, 64, 0, 0), 24);
const POOL_V6: ipnet::Ipv6Net =
    ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 48);
/// Offsets from here on are never given.
const USABLE_ADDRESSES: u32 = 75;
/// The virtual clock's zero, milliseconds of the Unix epoch.
const EPOCH_MS: u64 = 1_800_000_000_000;
const LONGEST_PAUSE_MS: Millis = 1_500;
const LOOK_MS: Millis = 2_000;
const LOOKS: u32 = 4;
/// Longer than every back-off, dial and retry together.
const PATIENCE_MS: Millis = 180_000;
