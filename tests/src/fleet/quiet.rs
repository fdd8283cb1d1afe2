//! What must be true once the faults are over and some time has passed: every machine knows what it is, runs with the last
//! map, has said so, and exactly the allowed packets pass.

use malha_core::{Node, NodeState};
use malha_node::agent::ControlState;
use malha_proto::{Fingerprint, NodeId, Revision};

use super::Fleet;
use super::agenda::BoxId;
use super::failure::Broken;

impl Fleet {
    /// Err says what is not quiet yet.
    pub(super) fn check_quiet(&self) -> Result<(), Broken> {
        for id in self.ids() {
            self.check_machine(id)?;
        }
        self.check_copies()?;
        self.check_convergence()?;
        self.check_traffic()
    }

    /// Whether it is the machine that its node's session is with.
    pub(super) fn is_present(&self, id: BoxId) -> bool {
        let machine = &self.machines[id.0];
        let (Some(process), Some(node)) = (&machine.process, machine.node()) else {
            return false;
        };
        let running = self.controller.running.as_ref();
        let seat = running.and_then(|running| running.sessions.seat(node));
        let active = self
            .controller
            .committed()
            .node(node)
            .is_some_and(|it| it.is_active());
        active && seat.is_some_and(|(instance, _)| instance == process.number)
    }

    /// Whether its data plane and its disk are as the last state says, and nothing is on the way there.
    pub(super) fn is_settled(&self, id: BoxId) -> bool {
        let machine = &self.machines[id.0];
        let (Some(process), Some(node)) = (&machine.process, machine.node()) else {
            return false;
        };
        let Some(identity) = &machine.disk.identity else {
            return false;
        };
        let state = self.controller.committed();
        let Some(known) = state.node(node).filter(|known| known.is_active()) else {
            return false;
        };
        let right = state.netmap(node).map(|map| map.digest());
        let calm = process.orders.is_empty() && process.writes.is_empty() && !machine.plane_broken;
        let is_in_force = process.plane.map.as_ref().map(|map| map.digest()) == right;
        let is_saved = identity.netmap.as_ref().map(|map| map.digest()) == right;
        let right_keys =
            known.wg_key == process.plane.key && known.wg_key == identity.keys.wireguard;
        calm && is_in_force && is_saved && right_keys && machine.disk.renewing.is_none()
    }

    /// Whether no other disk has its identity, nor had since the last new keys.
    pub(super) fn is_alone(&self, id: BoxId) -> bool {
        let node = self.machines[id.0].node();
        node.is_some_and(|node| !self.ledger.is_copied(node) && self.holders(node).count() == 1)
    }

    /// The machines whose disk says that they are this node.
    pub(super) fn holders(&self, node: NodeId) -> impl Iterator<Item = BoxId> {
        self.ids().filter(move |id| {
            let machine = &self.machines[id.0];
            machine.node() == Some(node) && !machine.scrapped
        })
    }

    fn check_machine(&self, id: BoxId) -> Result<(), Broken> {
        let machine = &self.machines[id.0];
        let wrong = |what: String| Err(Broken::new(format!("{}: {what}", self.called(id))));
        if machine.off || machine.scrapped {
            return Ok(());
        }
        if machine.is_enrolling() {
            return wrong("it is still not a node".to_owned());
        }
        let Some(node) = machine.node() else {
            return Ok(());
        };
        let Some(process) = &machine.process else {
            return wrong("it does not run".to_owned());
        };
        let state = self.controller.committed();
        let Some(known) = state.node(node) else {
            return wrong(format!("{node} was removed and it does not know"));
        };
        let view = process.agent.view();
        if !known.is_active() {
            if self.must_rekey(id, known) {
                return wrong(format!("{node} was given to it and it has no new keys"));
            }
            let has_peers = process
                .plane
                .map
                .as_ref()
                .is_some_and(|map| !map.peers.is_empty());
            return match has_peers {
                true => wrong(format!("{node} is held apart and still has peers")),
                false => Ok(()),
            };
        }
        if view.control.state != ControlState::Online || !self.is_present(id) {
            return wrong(format!("{node} has no session: {:?}", view.control));
        }
        let right = state.netmap(node).map(|map| map.digest());
        if process.plane.map.as_ref().map(|map| map.digest()) != right {
            return wrong(format!(
                "{node} runs with {:?}, not with the last map",
                view.in_force
            ));
        }
        if !self.is_settled(id) {
            return wrong(format!("{node} is not settled: {view:?}"));
        }
        self.check_acknowledged(node)
    }

    /// Whether the operator chose this machine and it can be told from the other one.
    fn must_rekey(&self, id: BoxId, node: &Node) -> bool {
        let machine = &self.machines[id.0];
        let NodeState::Rekeying { machine: chosen } = &node.state else {
            return false;
        };
        let (Some(identity), Some(process)) = (&machine.disk.identity, &machine.process) else {
            return false;
        };
        let same = |other: &BoxId| self.machines[other.0].facts.machine == machine.facts.machine;
        let has_twin = self.holders(node.id).filter(same).count() > 1;
        let lease = self.controller.committed().lease(node.id);
        let told_apart = lease.is_some_and(|lease| {
            let bound = lease.bound_to.as_ref();
            lease.accepts(&Fingerprint(identity.lease.hash()))
                && bound.is_none_or(|it| it.allows(machine.facts.machine, process.number))
        });
        chosen.machine == machine.facts.machine && (!has_twin || told_apart)
    }

    /// The controller knows that the node runs with the last content.
    fn check_acknowledged(&self, node: NodeId) -> Result<(), Broken> {
        let running = self.controller.running.as_ref();
        let seat = running.and_then(|running| running.sessions.seat(node));
        let applied = seat.map_or(Revision(0), |(_, applied)| applied);
        let then = self
            .ledger
            .state(applied)
            .and_then(|state| state.netmap(node));
        let now = self.controller.committed().netmap(node);
        if then.map(|map| map.digest()) == now.map(|map| map.digest()) {
            return Ok(());
        }
        Err(Broken::new(format!(
            "{node} is only known to run with revision {applied}"
        )))
    }

    /// Of two machines that both spoke with one identity at most one goes on, and only with the operator's word.
    fn check_copies(&self) -> Result<(), Broken> {
        for node in self.controller.committed().nodes() {
            let running = self
                .holders(node.id)
                .filter(|id| self.machines[id.0].runs());
            let running: Vec<BoxId> = running.collect();
            if running.len() > 1 && node.state == NodeState::Active {
                let names: Vec<String> = running.iter().map(|id| self.called(*id)).collect();
                return Err(Broken::new(format!(
                    "{} is on {names:?} and nobody noticed",
                    node.id
                )));
            }
        }
        Ok(())
    }

    /// What an operator waited for has come.
    fn check_convergence(&self) -> Result<(), Broken> {
        let Some(running) = &self.controller.running else {
            return Err(Broken::new("the controller is dead".to_owned()));
        };
        let seat = |node: NodeId| running.sessions.seat(node);
        for waited in &self.waited {
            let mut waited = waited.clone();
            let waiting: Vec<NodeId> = waited.waiting().collect();
            for node in waiting {
                if let Some((_, applied)) = seat(node) {
                    waited.applied(node, applied);
                }
            }
            if !waited.is_done(&running.state, |node| seat(node).is_some()) {
                let progress = waited.progress(&running.state, |node| seat(node).is_some());
                return Err(Broken::new(format!(
                    "a change does not arrive: {progress:?}"
                )));
            }
        }
        Ok(())
    }
}
