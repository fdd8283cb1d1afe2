//! Connections between machines and the controller: bytes in order, late, stalled while the machine is cut off, and lost
//! with either end. It never looks into a frame.

use std::collections::{BTreeMap, VecDeque};

use malha_node::agent::{LinkId, Millis, Transport};
use malha_proto::{Fingerprint, NodeId};

use super::agenda::{Agenda, BoxId, Happening};
use super::dice::Dice;

/// One connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WireId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    Controller,
    Node,
}

/// What TLS tells the controller of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) node: NodeId,
    pub(super) key: Fingerprint,
}

#[derive(Debug)]
pub(super) enum Parcel {
    Frame(Vec<u8>),
    End,
}

/// A machine's way to the rest of the world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uplink {
    pub(super) cut: bool,
    pub(super) udp_blocked: bool,
    pub(super) slowest_ms: Millis,
}

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) machine: BoxId,
    pub(super) process: u64,
    pub(super) link: LinkId,
    pub(super) transport: Transport,
    pub(super) certificate: Certificate,
    pub(super) uplink: Uplink,
    /// The handshake is done.
    pub(super) stands: bool,
    to_controller: Lane,
    to_node: Lane,
}

/// One direction of a wire.
#[derive(Debug, Default)]
struct Lane {
    /// With the time at which each is due.
    parcels: VecDeque<(Millis, Parcel)>,
    /// The sender takes nothing more for it.
    ended: bool,
    newest_at: Millis,
    retry_at: Option<Millis>,
    /// How often the first parcel was sent in vain.
    retries: u32,
}

#[derive(Debug, Default)]
pub(super) struct Network {
    wires: BTreeMap<WireId, Wire>,
    laid: u64,
}

impl Uplink {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Self {
            cut: false,
            udp_blocked: dice.percent(TCP_ONLY_PERCENT),
            slowest_ms: dice.between(5, 120),
        }
    }

    pub(super) fn delay_ms(&self, dice: &mut Dice) -> Millis {
        dice.between(1, self.slowest_ms)
    }
}

impl Network {
    pub(super) fn lay(&mut self, wire: Wire) -> WireId {
        self.laid += 1;
        let id = WireId(self.laid);
        self.wires.insert(id, wire);
        id
    }

    pub(super) fn wire(&self, id: WireId) -> Option<&Wire> {
        self.wires.get(&id)
    }

    pub(super) fn wire_mut(&mut self, id: WireId) -> Option<&mut Wire> {
        self.wires.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: WireId) -> Option<Wire> {
        self.wires.remove(&id)
    }

    pub(super) fn of_machine(&self, machine: BoxId) -> Vec<WireId> {
        let own = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.machine == machine);
        own.map(|(id, _)| *id).collect()
    }

    /// Takes all wires: one end of each died at the same time.
    pub(super) fn take_all(&mut self) -> BTreeMap<WireId, Wire> {
        std::mem::take(&mut self.wires)
    }

    /// Puts a parcel on its way; after an end nothing follows.
    pub(super) fn send(
        &mut self,
        id: WireId,
        toward: Toward,
        parcel: Parcel,
        now: Millis,
        dice: &mut Dice,
        agenda: &mut Agenda,
    ) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let delay_ms = wire.uplink.delay_ms(dice);
        let lane = wire.lane(toward);
        if lane.ended {
            return;
        }
        lane.ended = matches!(parcel, Parcel::End);
        lane.newest_at = lane.newest_at.max(now + delay_ms);
        lane.parcels.push_back((lane.newest_at, parcel));
        agenda.plan(lane.newest_at, Happening::Deliver { wire: id, toward });
    }
}

impl Wire {
    pub(super) fn new(
        machine: BoxId,
        process: u64,
        link: LinkId,
        transport: Transport,
        certificate: Certificate,
        uplink: Uplink,
    ) -> Self {
        Self {
            machine,
            process,
            link,
            transport,
            certificate,
            uplink,
            stands: false,
            to_controller: Lane::default(),
            to_node: Lane::default(),
        }
    }

    /// The next parcel that is due.
    pub(super) fn arrive(&mut self, toward: Toward, now: Millis) -> Option<Parcel> {
        let lane = self.lane(toward);
        (lane.retries, lane.retry_at) = (0, None);
        let is_due = lane.parcels.front().is_some_and(|(at, _)| *at <= now);
        is_due
            .then(|| lane.parcels.pop_front())?
            .map(|(_, parcel)| parcel)
    }

    /// When what did not come through is sent again: later each time, as TCP (RFC 6298) and QUIC do. None when that is
    /// planned already.
    pub(super) fn sent_in_vain(&mut self, toward: Toward, now: Millis) -> Option<Millis> {
        let lane = self.lane(toward);
        if lane.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        lane.retries = (lane.retries + 1).min(MOST_DOUBLINGS);
        lane.retry_at = Some(now + (RETRANSMISSION_MS << (lane.retries - 1)));
        lane.retry_at
    }

    /// The sending process is gone, and what it sent too unless the kernel goes on with it.
    pub(super) fn sender_dies(&mut self, toward: Toward) {
        let lane = self.lane(toward);
        lane.ended = true;
        lane.parcels.clear();
    }

    /// Whether this direction takes no more.
    pub(super) fn has_ended(&mut self, toward: Toward) -> bool {
        self.lane(toward).ended
    }

    fn lane(&mut self, toward: Toward) -> &mut Lane {
        match toward {
            Toward::Controller => &mut self.to_controller,
            Toward::Node => &mut self.to_node,
        }
    }
}

/// What did not come through is sent again after this time, then after twice as long, and so on.
pub(super) const RETRANSMISSION_MS: Millis = 200;
/// Networks that let only TCP out are normal.
const TCP_ONLY_PERCENT: u64 = 25;
const MOST_DOUBLINGS: u32 = 5;
