//! The virtual clock: what will happen, in the order of its time. Time passes only from one happening to the next.

use std::collections::BTreeMap;

use malha_node::agent::Millis;
use malha_proto::{Netmap, ServiceId};

use super::controller::Verdict;
use super::network::{Toward, WireId};

/// A machine's place in the fleet's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BoxId(pub(super) usize);

/// Something that will happen. What names a process is void when that process is gone.
#[derive(Debug)]
pub(super) enum Happening {
    /// The agent asked to be woken.
    Timer {
        machine: BoxId,
        process: u64,
    },
    /// The first of the waiting disk writes is done.
    Disk {
        machine: BoxId,
        process: u64,
    },
    /// The first of the orders to the data plane is done.
    Plane {
        machine: BoxId,
        process: u64,
    },
    Probed {
        machine: BoxId,
        process: u64,
        service: ServiceId,
    },
    /// A machine that is off comes up.
    Boot {
        machine: BoxId,
    },
    /// A machine without an identity asks for one.
    Enrol {
        machine: BoxId,
        attempt: u64,
    },
    EnrolArrives {
        machine: BoxId,
        attempt: u64,
    },
    EnrolAnswer {
        machine: BoxId,
        attempt: u64,
        answer: Box<Verdict>,
        netmap: Option<Box<Netmap>>,
    },
    /// The handshake of a connection may be over.
    Dialed {
        wire: WireId,
    },
    /// The first parcel on its way in this direction arrives.
    Deliver {
        wire: WireId,
        toward: Toward,
    },
    /// The controller looks whether it still hears this node.
    Silence {
        wire: WireId,
    },
    /// The controller has waited long enough for a sign of life of a newcomer's rival.
    ChallengeOver {
        wire: WireId,
    },
    /// A session is told that something changed for its node.
    Bell {
        wire: WireId,
    },
    ControllerStarts,
}

/// Happenings in order of time, and of their planning where times are equal.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BTreeMap<(Millis, u64), Happening>,
    planned: u64,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Millis, happening: Happening) {
        self.planned += 1;
        self.entries.insert((at, self.planned), happening);
    }

    /// The next happening that is due by `until`.
    pub(super) fn next(&mut self, until: Millis) -> Option<(Millis, Happening)> {
        let entry = self.entries.first_entry()?;
        if entry.key().0 > until {
            return None;
        }
        let ((at, _), happening) = entry.remove_entry();
        Some((at, happening))
    }
}
