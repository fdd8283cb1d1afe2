//! What goes wrong, at random: machines, disks, networks, the controller, and people who copy disks.

use malha_core::NodeState;
use malha_node::agent::{Event, LinkError, LinkFault, Transport};

use super::Fleet;
use super::agenda::{BoxId, Happening};
use super::controller::Death;
use super::failure::Broken;
use super::network::{Parcel, Toward};

impl Fleet {
    pub(super) fn misfortune(&mut self) -> Result<(), Broken> {
        match self.dice.below(100) {
            0..18 => self.with_runner(Self::kill_process),
            18..26 => self.with_runner(Self::cut_power),
            26..42 => self.with_runner(Self::cut_or_join),
            42..50 => self.with_runner(|fleet, id| {
                let blocked = !fleet.machines[id.0].uplink.udp_blocked;
                fleet.machines[id.0].uplink.udp_blocked = blocked;
                fleet.note(format_args!("{}: UDP blocked: {blocked}", fleet.called(id)));
                Ok(())
            }),
            50..58 => self.with_runner(Self::break_wires),
            58..63 => self.kill_controller(),
            63..69 => {
                let death = [Death::BeforeCommit, Death::AfterCommit][self.index(2)];
                self.controller.dies_in_commit = Some(death);
                Ok(())
            }
            69..71 => self.restart_controller_in_order(),
            71..76 => self.with_runner(|fleet, id| {
                let full = !fleet.machines[id.0].disk.full;
                fleet.machines[id.0].disk.full = full;
                fleet.note(format_args!("{}: disk full: {full}", fleet.called(id)));
                Ok(())
            }),
            76..81 => self.with_runner(|fleet, id| {
                let broken = !fleet.machines[id.0].plane_broken;
                fleet.machines[id.0].plane_broken = broken;
                fleet.note(format_args!(
                    "{}: tunnel broken: {broken}",
                    fleet.called(id)
                ));
                Ok(())
            }),
            81..86 => self.copy_disk(),
            86..91 => self.with_runner(|fleet, id| fleet.tell(id, Event::RenewalDue)),
            91..95 => self.with_runner(|fleet, id| fleet.tell(id, Event::NetworkChanged)),
            95..97 => self.with_runner(Self::scrap),
            97..98 => {
                self.pass_a_week();
                Ok(())
            }
            _ => self.switch_on(),
        }
    }

    /// Long enough for every freed address. Everybody sleeps meanwhile.
    pub(super) fn pass_a_week(&mut self) {
        self.note(format_args!("a week passes"));
        self.now += WEEK_MS;
    }

    /// Ends every fault that ends by itself in the real world. Who is off stays off, and who has no UDP has none.
    pub(super) fn heal(&mut self) -> Result<(), Broken> {
        self.note(format_args!("faults end"));
        self.controller.dies_in_commit = None;
        for id in self.ids() {
            let machine = &mut self.machines[id.0];
            machine.uplink.cut = false;
            machine.disk.full = false;
            machine.plane_broken = false;
            let renewal_waits = machine.disk.renewing.is_some();
            self.boot(id)?;
            if renewal_waits {
                // The shell says it again and again while it is due.
                self.tell(id, Event::RenewalDue)?;
            }
        }
        self.start_controller()
    }

    /// The controller dies, and with it the hub and all wires.
    pub(super) fn controller_dies(&mut self) -> Result<(), Broken> {
        if !self.controller.is_running() {
            return Ok(());
        }
        self.note(format_args!("the controller dies"));
        self.summary.controller_deaths += 1;
        self.lasting = self.lasting_flows();
        self.summary.lasting_flows += self.lasting.len() as u64;
        self.controller.running = None;
        self.controller.dies_in_commit = None;
        self.waited.clear();
        for (id, wire) in self.network.take_all() {
            let noticed = self.dice.percent(50) && !self.machines[wire.machine.0].uplink.cut;
            let known = self.process(wire.machine, wire.process);
            let known = known.is_some_and(|process| process.links.get(&wire.link) == Some(&id));
            if noticed && known {
                let error = LinkError::new(LinkFault::Closed, "reset");
                self.lost(wire.machine, wire.link, error)?;
            }
        }
        let at = self.now + self.dice.between(200, LONGEST_OUTAGE_MS);
        self.agenda.plan(at, Happening::ControllerStarts);
        Ok(())
    }

    pub(super) fn start_controller(&mut self) -> Result<(), Broken> {
        if self.controller.is_running() {
            return Ok(());
        }
        self.check_lasting_flows()?;
        self.lasting.clear();
        self.note(format_args!("the controller starts"));
        self.controller.restart()
    }

    /// A machine that is off or crashed comes up.
    pub(super) fn boot(&mut self, id: BoxId) -> Result<(), Broken> {
        let machine = &mut self.machines[id.0];
        if machine.off || machine.scrapped || machine.process.is_some() {
            return Ok(());
        }
        let attempt = machine.attempt;
        if machine.is_enrolling() {
            self.ask_to_enrol(id, attempt);
            return Ok(());
        }
        self.start_agent(id)
    }

    /// SIGKILL: what the kernel already has of a TCP connection still goes out.
    fn kill_process(&mut self, id: BoxId) -> Result<(), Broken> {
        self.note(format_args!("{} is killed", self.called(id)));
        self.crash(id, true);
        let at = self.now + self.dice.between(50, 6_000);
        self.agenda.plan(at, Happening::Boot { machine: id });
        Ok(())
    }

    fn cut_power(&mut self, id: BoxId) -> Result<(), Broken> {
        self.note(format_args!("{} loses its power", self.called(id)));
        self.crash(id, false);
        if self.dice.percent(30) {
            self.machines[id.0].off = true;
        } else {
            let at = self.now + self.dice.between(1_000, 20_000);
            self.agenda.plan(at, Happening::Boot { machine: id });
        }
        Ok(())
    }

    fn crash(&mut self, id: BoxId, kernel_lives: bool) {
        self.summary.crashes += 1;
        let cut = self.machines[id.0].uplink.cut;
        let machine = &mut self.machines[id.0];
        let Some(process) = machine.process.take() else {
            return;
        };
        let done = self.dice.below(process.writes.len() as u64 + 1);
        for write in process
            .writes
            .iter()
            .take(usize::try_from(done).unwrap_or(0))
        {
            // What a full disk refused is lost like the rest.
            let _ = machine.disk.write(write);
        }
        for wire in self.network.of_machine(id) {
            let Some(known) = self.network.wire_mut(wire) else {
                continue;
            };
            if !known.stands {
                self.network.remove(wire);
                continue;
            }
            if kernel_lives && known.transport == Transport::Tcp {
                let (now, dice, agenda) = (self.now, &mut self.dice, &mut self.agenda);
                self.network
                    .send(wire, Toward::Controller, Parcel::End, now, dice, agenda);
            } else if cut {
                known.sender_dies(Toward::Controller);
            }
        }
    }

    fn cut_or_join(&mut self, id: BoxId) -> Result<(), Broken> {
        let uplink = &mut self.machines[id.0].uplink;
        uplink.cut = !uplink.cut;
        let cut = uplink.cut;
        self.note(format_args!(
            "{} is {}",
            self.called(id),
            if cut { "cut off" } else { "back" }
        ));
        Ok(())
    }

    /// Connections break; each end may or may not hear of it.
    fn break_wires(&mut self, id: BoxId) -> Result<(), Broken> {
        for wire in self.network.of_machine(id) {
            let Some(broken) = self.network.remove(wire) else {
                continue;
            };
            if self.dice.percent(50) {
                self.controller_loses(wire)?;
            }
            let known = self.process(id, broken.process);
            let known = known.is_some_and(|process| process.links.get(&broken.link) == Some(&wire));
            if known && self.dice.percent(50) {
                self.lost(id, broken.link, LinkError::new(LinkFault::Closed, "reset"))?;
            }
        }
        Ok(())
    }

    fn kill_controller(&mut self) -> Result<(), Broken> {
        self.controller_dies()
    }

    fn restart_controller_in_order(&mut self) -> Result<(), Broken> {
        if !self.controller.is_running() {
            return Ok(());
        }
        self.note(format_args!("the controller restarts in order"));
        self.say_restart()?;
        self.run_for(GOODBYE_MS)?;
        self.controller_dies()
    }

    /// A copy of a disk starts in another machine, or in a twin that says it is the same machine.
    fn copy_disk(&mut self) -> Result<(), Broken> {
        let sources: Vec<BoxId> = self.ids().filter(|id| self.may_copy(*id)).collect();
        let Some(source) = self.dice.pick(&sources) else {
            return Ok(());
        };
        let twin = BoxId(self.machines.len());
        let mut copy = super::machine::Machine::new(twin.0, &mut self.dice);
        let original = &self.machines[source.0];
        copy.disk = original.disk.clone();
        copy.disk.full = false;
        if self.dice.percent(40) {
            copy.facts = original.facts.clone();
        }
        if let Some(node) = original.node() {
            self.ledger.copied(node);
        }
        self.summary.copies += 1;
        self.machines.push(copy);
        self.note(format_args!(
            "{} is copied to {}",
            self.called(source),
            self.called(twin)
        ));
        let at = self.now + self.dice.between(10, 10_000);
        self.agenda.plan(at, Happening::Boot { machine: twin });
        Ok(())
    }

    /// Few copies at a time keep most of the fleet legitimate.
    fn may_copy(&self, id: BoxId) -> bool {
        let machine = &self.machines[id.0];
        let state = self.controller.committed();
        let node = machine.node().and_then(|node| state.node(node));
        !machine.scrapped
            && node.is_some_and(|node| {
                node.state == NodeState::Active && !self.ledger.is_copied(node.id)
            })
    }

    fn scrap(&mut self, id: BoxId) -> Result<(), Broken> {
        self.note(format_args!("{} is scrapped", self.called(id)));
        self.crash(id, false);
        self.machines[id.0].scrapped = true;
        Ok(())
    }

    fn switch_on(&mut self) -> Result<(), Broken> {
        for id in self.ids() {
            let machine = &mut self.machines[id.0];
            if std::mem::take(&mut machine.off) {
                self.boot(id)?;
            }
        }
        Ok(())
    }

    fn with_runner(
        &mut self,
        fault: impl FnOnce(&mut Self, BoxId) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let running: Vec<BoxId> = self.ids().filter(|id| self.machines[id.0].runs()).collect();
        let unlucky = running
            .iter()
            .copied()
            .filter(|id| id.0 % MISERY == self.unlucky);
        let unlucky: Vec<BoxId> = unlucky.collect();
        let among = match self.dice.percent(60) && !unlucky.is_empty() {
            true => unlucky,
            false => running,
        };
        match self.dice.pick(&among) {
            Some(id) => fault(self, id),
            None => Ok(()),
        }
    }
}

/// One machine of so many is unlucky for the time of a storm: faults meet where they are rarely alone.
pub(super) const MISERY: usize = 12;
/// Longer than an address rests.
const WEEK_MS: u64 = 8 * 86_400 * 1_000;
const LONGEST_OUTAGE_MS: u64 = 40_000;
const GOODBYE_MS: u64 = 300;
