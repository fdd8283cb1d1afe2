//! Carries events to the agents and does what they say, against simulated disks, data planes and connections. Like the real
//! shell it decides nothing.

use malha_node::agent::{
    Action, Agent, AgentConfig, Ending, Event, LinkError, LinkFault, LinkId, Transport,
};
use malha_node::plane::Applied;
use malha_proto::{
    Fingerprint, FrameDecoder, MAX_FRAME_TO_CONTROLLER_BYTES, MAX_FRAME_TO_NODE_BYTES, NodeId,
    PeerObservation, ServiceState, ToController, WgKey, encode_frame,
};

use super::Fleet;
use super::agenda::{BoxId, Happening};
use super::failure::{Broken, broken};
use super::machine::{DiskWrite, Plane, PlaneOrder, Process, Renewing};
use super::network::{Certificate, Parcel, RETRANSMISSION_MS, Toward, Wire, WireId};

impl Fleet {
    /// Starts the agent of a machine that has an identity.
    pub(super) fn start_agent(&mut self, id: BoxId) -> Result<(), Broken> {
        let (number, seed) = (self.dice.number(), self.dice.number());
        let machine = &mut self.machines[id.0];
        let Some(identity) = machine
            .disk
            .identity
            .as_ref()
            .filter(|it| it.ended.is_none())
        else {
            return Ok(());
        };
        let agent = Agent::new(AgentConfig {
            node: identity.certificate.node,
            instance: number,
            seed,
            lease: identity.lease.clone(),
            controllers: identity.controllers.clone(),
            facts: machine.facts.clone(),
        });
        let last_known_good = identity.netmap.clone().map(Box::new);
        let pairs = identity.pairs.clone().map(Box::new);
        let pending = machine.disk.renewing;
        machine.process = Some(Process {
            number,
            agent,
            wake_at: None,
            links: Default::default(),
            writes: Default::default(),
            orders: Default::default(),
            certificate: identity.certificate,
            plane: Plane {
                key: identity.keys.wireguard,
                map: None,
            },
        });
        self.note(format_args!("{} starts as {number:x}", self.called(id)));
        self.tell(
            id,
            Event::Started {
                last_known_good,
                pairs,
            },
        )?;
        match pending {
            Some(keys) => self.tell(
                id,
                Event::KeysMade {
                    result: Ok(keys.public()),
                },
            ),
            None => Ok(()),
        }
    }

    /// Gives the agent one event and does everything that it says.
    pub(super) fn tell(&mut self, id: BoxId, event: Event) -> Result<(), Broken> {
        let now = self.now;
        if let Some(process) = &mut self.machines[id.0].process {
            process.agent.handle(event, now);
        }
        while let Some(process) = &mut self.machines[id.0].process {
            match process.agent.poll_action() {
                Some(action) => self.perform(id, action)?,
                None => break,
            }
        }
        self.wind_timer(id);
        Ok(())
    }

    pub(super) fn timer_fires(&mut self, id: BoxId, number: u64) -> Result<(), Broken> {
        let now = self.now;
        let Some(process) = self.process(id, number) else {
            return Ok(());
        };
        if process.wake_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        process.wake_at = None;
        if process.agent.poll_timeout().is_some_and(|at| at <= now) {
            self.tell(id, Event::TimerFired)?;
            let agent = self.process(id, number).map(|process| &process.agent);
            if agent
                .and_then(Agent::poll_timeout)
                .is_some_and(|at| at <= now)
            {
                return Err(Broken::new(format!(
                    "{} wants to be woken without end",
                    self.called(id)
                )));
            }
        }
        self.wind_timer(id);
        Ok(())
    }

    pub(super) fn disk_is_done(&mut self, id: BoxId, number: u64) -> Result<(), Broken> {
        let Some(write) = self
            .process(id, number)
            .and_then(|process| process.writes.pop_front())
        else {
            return Ok(());
        };
        let disk = &mut self.machines[id.0].disk;
        let result = disk.write(&write);
        let event = match write {
            DiskWrite::Lease(_) => Event::LeaseSaved { result },
            DiskWrite::Netmap(map) => Event::NetmapSaved {
                revision: map.revision,
                result,
            },
            DiskWrite::Controllers(_) => Event::ControllersSaved { result },
            DiskWrite::Pairs(_) => Event::PairsSaved { result },
            DiskWrite::MakeKeys(keys) => Event::KeysMade {
                result: result.map(|()| keys.public()),
            },
            DiskWrite::AdoptKeys(_) => {
                let renewed = disk
                    .identity
                    .as_ref()
                    .map(|it| (it.certificate, it.keys.wireguard));
                if let (Ok(()), Some((certificate, key))) = (&result, renewed) {
                    self.use_keys(id, number, certificate, key);
                }
                Event::KeysAdopted { result }
            }
            DiskWrite::Ending(_) => return Ok(()),
        };
        self.tell(id, event)
    }

    pub(super) fn plane_is_done(&mut self, id: BoxId, number: u64) -> Result<(), Broken> {
        let plane_broken = self.machines[id.0].plane_broken;
        let Some(process) = self.process(id, number) else {
            return Ok(());
        };
        let map = match process.orders.pop_front() {
            Some(PlaneOrder::Apply(map)) => map,
            Some(PlaneOrder::SetKey(key)) => {
                process.plane = Plane { key, map: None };
                return Ok(());
            }
            None => return Ok(()),
        };
        let revision = map.revision;
        if plane_broken {
            let result = Applied::failed("the tunnel is broken".to_owned());
            return self.tell(id, Event::Applied { revision, result });
        }
        let peers = map.peers.keys().map(|peer| self.seen(*peer)).collect();
        if let Some(process) = self.process(id, number) {
            process.plane.map = Some(map);
        }
        let result = Applied::whole();
        self.tell(id, Event::Applied { revision, result })?;
        self.tell(id, Event::Observed { peers })
    }

    pub(super) fn handshake(&mut self, id: WireId) -> Result<(), Broken> {
        let Some(wire) = self.network.wire_mut(id) else {
            return Ok(());
        };
        let (machine, link, transport) = (wire.machine, wire.link, wire.transport);
        let uplink = self.machines[machine.0].uplink;
        let silent = uplink.cut || (uplink.udp_blocked && transport == Transport::Quic);
        if silent {
            let at = self.now + RETRANSMISSION_MS;
            self.agenda.plan(at, Happening::Dialed { wire: id });
            return Ok(());
        }
        if self.controller.is_running() {
            wire.stands = true;
            let at = self.now + FIRST_MESSAGE_MS;
            self.agenda.plan(at, Happening::Silence { wire: id });
            return self.tell(machine, Event::Connected { link, remote: None });
        }
        self.network.remove(id);
        let error = LinkError::new(LinkFault::Unreachable, "nobody listens");
        self.lost(machine, link, error)
    }

    /// What is due in a direction arrives, unless the machine is cut off: then it is sent again.
    pub(super) fn deliver(&mut self, id: WireId, toward: Toward) -> Result<(), Broken> {
        let now = self.now;
        loop {
            let Some(wire) = self.network.wire_mut(id) else {
                return Ok(());
            };
            if self.machines[wire.machine.0].uplink.cut {
                if let Some(at) = wire.sent_in_vain(toward, now) {
                    self.agenda
                        .plan(at, Happening::Deliver { wire: id, toward });
                }
                return Ok(());
            }
            match (wire.arrive(toward, now), toward) {
                (None, _) => return Ok(()),
                (Some(Parcel::Frame(frame)), Toward::Controller) => {
                    self.controller_hears(id, &frame)?
                }
                (Some(Parcel::Frame(frame)), Toward::Node) => self.node_hears(id, &frame)?,
                (Some(Parcel::End), Toward::Controller) => {
                    self.controller_loses(id)?;
                    self.network.remove(id);
                }
                (Some(Parcel::End), Toward::Node) => self.node_loses(id)?,
            }
        }
    }

    fn node_hears(&mut self, id: WireId, frame: &[u8]) -> Result<(), Broken> {
        let Some((machine, link)) = self.listener(id) else {
            return Ok(());
        };
        let mut decoder = FrameDecoder::new(MAX_FRAME_TO_NODE_BYTES);
        decoder.push(frame);
        let message = decoder
            .next_message()
            .map_err(|error| broken("a frame", error))?;
        let message = message.ok_or_else(|| Broken::new("half a frame".to_owned()))?;
        self.tell(
            machine,
            Event::Frame {
                link,
                message: Box::new(message),
            },
        )
    }

    fn node_loses(&mut self, id: WireId) -> Result<(), Broken> {
        let listener = self.listener(id);
        self.controller_loses(id)?;
        self.network.remove(id);
        match listener {
            Some((machine, link)) => {
                self.lost(machine, link, LinkError::new(LinkFault::Closed, "ended"))
            }
            None => Ok(()),
        }
    }

    /// The machine and link at the node's end of a wire, while its process has it.
    fn listener(&mut self, id: WireId) -> Option<(BoxId, LinkId)> {
        let wire = self.network.wire(id)?;
        let (machine, number, link) = (wire.machine, wire.process, wire.link);
        let process = self.process(machine, number)?;
        (process.links.get(&link) == Some(&id)).then_some((machine, link))
    }

    pub(super) fn probed(
        &mut self,
        id: BoxId,
        number: u64,
        service: malha_proto::ServiceId,
    ) -> Result<(), Broken> {
        let state = match self.dice.percent(95) {
            true => ServiceState::Up,
            false => ServiceState::Refused,
        };
        match self.process(id, number) {
            Some(_) => self.tell(id, Event::Probed { service, state }),
            None => Ok(()),
        }
    }

    /// Tells an agent that its link is gone.
    pub(super) fn lost(&mut self, id: BoxId, link: LinkId, error: LinkError) -> Result<(), Broken> {
        if let Some(process) = &mut self.machines[id.0].process {
            process.links.remove(&link);
        }
        self.tell(id, Event::Lost { link, error })
    }

    pub(super) fn process(&mut self, id: BoxId, number: u64) -> Option<&mut Process> {
        let process = self.machines[id.0].process.as_mut()?;
        (process.number == number).then_some(process)
    }

    fn perform(&mut self, id: BoxId, action: Action) -> Result<(), Broken> {
        let Some(process) = &mut self.machines[id.0].process else {
            return Ok(());
        };
        match action {
            Action::Connect {
                link, transport, ..
            } => self.connect(id, link, transport),
            Action::Close { link } => {
                if let Some(wire) = process.links.remove(&link) {
                    self.hang_up(wire);
                }
            }
            Action::Send { link, message } => {
                if let Some(wire) = process.links.get(&link).copied() {
                    self.check_word(id, &message)?;
                    self.send_to_controller(wire, &message)?;
                }
            }
            Action::SaveLease(lease) => self.write_disk(id, DiskWrite::Lease(lease)),
            Action::SaveNetmap(map) => self.write_disk(id, DiskWrite::Netmap(map)),
            Action::SavePairs(pairs) => self.write_disk(id, DiskWrite::Pairs(pairs)),
            // Not simulated.
            Action::Share(_)
            | Action::OpenCarrier { .. }
            | Action::CloseCarrier { .. }
            | Action::NoteTooLarge(_)
            | Action::ProbePorts(_) => {}
            Action::SaveControllers(list) => self.write_disk(id, DiskWrite::Controllers(list)),
            Action::MakeKeys { wireguard } => {
                let keys = Renewing {
                    tls: Fingerprint(self.dice.bytes()),
                    wireguard: wireguard.then(|| WgKey(self.dice.bytes())),
                };
                self.write_disk(id, DiskWrite::MakeKeys(keys));
            }
            Action::AdoptKeys { certificate } => {
                self.write_disk(id, DiskWrite::AdoptKeys(certificate))
            }
            Action::RecordEnding(ending) => self.write_disk(id, DiskWrite::Ending(ending)),
            Action::Apply(map) => self.order_plane(id, PlaneOrder::Apply(map)),
            Action::Probe { service, .. } => {
                let (machine, process) = (id, process.number);
                let at = self.now + self.dice.between(1, 40);
                self.agenda.plan(
                    at,
                    Happening::Probed {
                        machine,
                        process,
                        service,
                    },
                );
            }
            Action::RebindTunnel | Action::RefreshTunnel => {}
            Action::Exit(ending) => self.exit(id, ending),
        }
        Ok(())
    }

    fn connect(&mut self, id: BoxId, link: LinkId, transport: Transport) {
        let uplink = self.machines[id.0].uplink;
        let Some(process) = &mut self.machines[id.0].process else {
            return;
        };
        let wire = Wire::new(
            id,
            process.number,
            link,
            transport,
            process.certificate,
            uplink,
        );
        let wire = self.network.lay(wire);
        process.links.insert(link, wire);
        let handshake_ms = uplink.delay_ms(&mut self.dice) * 3;
        self.agenda
            .plan(self.now + handshake_ms, Happening::Dialed { wire });
    }

    /// The agent's end of a link: what is queued still goes out.
    fn hang_up(&mut self, wire: WireId) {
        match self.network.wire(wire) {
            Some(known) if known.stands => {
                let (now, dice, agenda) = (self.now, &mut self.dice, &mut self.agenda);
                self.network
                    .send(wire, Toward::Controller, Parcel::End, now, dice, agenda);
            }
            _ => drop(self.network.remove(wire)),
        }
    }

    fn send_to_controller(&mut self, wire: WireId, message: &ToController) -> Result<(), Broken> {
        let frame = encode_frame(message, MAX_FRAME_TO_CONTROLLER_BYTES);
        let frame = frame.map_err(|error| broken("a frame to the controller", error))?;
        let (now, dice, agenda) = (self.now, &mut self.dice, &mut self.agenda);
        self.network.send(
            wire,
            Toward::Controller,
            Parcel::Frame(frame),
            now,
            dice,
            agenda,
        );
        Ok(())
    }

    fn write_disk(&mut self, id: BoxId, write: DiskWrite) {
        let at = self.now + self.dice.between(1, SLOWEST_WRITE_MS);
        if let Some(process) = &mut self.machines[id.0].process {
            process.writes.push_back(write);
            let process = process.number;
            self.agenda.plan(
                at,
                Happening::Disk {
                    machine: id,
                    process,
                },
            );
        }
    }

    fn order_plane(&mut self, id: BoxId, order: PlaneOrder) {
        let at = self.now + self.dice.between(1, SLOWEST_APPLY_MS);
        if let Some(process) = &mut self.machines[id.0].process {
            process.orders.push_back(order);
            let process = process.number;
            self.agenda.plan(
                at,
                Happening::Plane {
                    machine: id,
                    process,
                },
            );
        }
    }

    fn use_keys(&mut self, id: BoxId, number: u64, certificate: Certificate, key: WgKey) {
        let Some(process) = self.process(id, number) else {
            return;
        };
        process.certificate = certificate;
        if process.plane.key != key {
            self.order_plane(id, PlaneOrder::SetKey(key));
        }
    }

    /// The process ends in order: the disk gets what was handed to it.
    fn exit(&mut self, id: BoxId, ending: Ending) {
        self.note(format_args!("{} exits: {ending:?}", self.called(id)));
        let machine = &mut self.machines[id.0];
        if let Some(process) = machine.process.take() {
            for write in process.writes {
                // A full disk learns it again from the controller.
                let _ = machine.disk.write(&write);
            }
            for wire in process.links.into_values() {
                self.hang_up(wire);
            }
        }
    }

    fn wind_timer(&mut self, id: BoxId) {
        let Some(process) = &mut self.machines[id.0].process else {
            return;
        };
        let Some(at) = process.agent.poll_timeout() else {
            return;
        };
        let at = at.max(self.now);
        if process.wake_at.is_none_or(|planned| at < planned) {
            process.wake_at = Some(at);
            let process = process.number;
            self.agenda.plan(
                at,
                Happening::Timer {
                    machine: id,
                    process,
                },
            );
        }
    }

    fn seen(&mut self, peer: NodeId) -> PeerObservation {
        PeerObservation {
            peer,
            endpoint: None,
            handshake_age_ms: Some(self.dice.below(120_000)),
            rx_bytes: self.dice.below(1_000_000),
            tx_bytes: self.dice.below(1_000_000),
            path: None,
        }
    }
}

/// How long the controller waits for the first message of a connection.
const FIRST_MESSAGE_MS: u64 = 10_000;
const SLOWEST_WRITE_MS: u64 = 40;
const SLOWEST_APPLY_MS: u64 = 60;
