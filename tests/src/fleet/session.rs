//! The controller's side of sessions, step by step as the real one goes: challenge the rival, ask the state, welcome, take the
//! seat, send what is new. The decisions are the real state's and the real [`NodeSync`]'s.

use std::collections::BTreeMap;

use malha_core::{Answer, Command, LiveSession, NodeSync, Rejection};
use malha_node::agent::Millis;
use malha_proto::{
    FarewellReason, Fingerprint, FrameDecoder, Hello, Lease, MAX_FRAME_TO_CONTROLLER_BYTES,
    MAX_FRAME_TO_NODE_BYTES, MachineFacts, NodeId, RefusalCode, SESSION_TIMEOUT_MS, ToController,
    ToNode, Welcome, WgKey, encode_frame,
};

use super::Fleet;
use super::agenda::Happening;
use super::challenge::Challenge;
use super::controller::Verdict;
use super::failure::{Broken, broken};
use super::network::{Certificate, Parcel, Toward, WireId};

/// All of a running controller.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    seats: BTreeMap<NodeId, WireId>,
    open: BTreeMap<WireId, Session>,
    pub(super) challenging: BTreeMap<WireId, Challenge>,
}

#[derive(Debug)]
pub(super) struct Session {
    node: NodeId,
    certificate: Certificate,
    pub(super) instance: u64,
    facts: MachineFacts,
    /// The lease offered to it.
    lease: Lease,
    sync: NodeSync,
    heard_at: Millis,
}

impl Sessions {
    /// The session that has the node's seat.
    pub(super) fn seated(&self, node: NodeId) -> Option<(WireId, &Session)> {
        let wire = *self.seats.get(&node)?;
        Some((wire, self.open.get(&wire)?))
    }

    /// Which process sits in the node's seat, and what it is known to run with.
    pub(super) fn seat(&self, node: NodeId) -> Option<(u64, malha_proto::Revision)> {
        let (_, session) = self.seated(node)?;
        Some((session.instance, session.sync.applied_revision()))
    }

    fn leave(&mut self, wire: WireId) {
        self.challenging.remove(&wire);
        if let Some(session) = self.open.remove(&wire)
            && self.seats.get(&session.node) == Some(&wire)
        {
            self.seats.remove(&session.node);
        }
    }
}

impl Fleet {
    /// A frame from a node arrives at the controller.
    pub(super) fn controller_hears(&mut self, wire: WireId, frame: &[u8]) -> Result<(), Broken> {
        let mut decoder = FrameDecoder::new(MAX_FRAME_TO_CONTROLLER_BYTES);
        decoder.push(frame);
        let message = decoder
            .next_message()
            .map_err(|error| broken("a node's frame", error))?;
        let message = message.ok_or_else(|| Broken::new("half a frame".to_owned()))?;
        let now = self.now;
        let hung_up = self
            .network
            .wire_mut(wire)
            .is_none_or(|it| it.has_ended(Toward::Node));
        let Some(sessions) = self.sessions().filter(|_| !hung_up) else {
            return Ok(());
        };
        if let Some(session) = sessions.open.get_mut(&wire) {
            session.heard_at = now;
            self.rival_is_heard(wire);
            return self.take(wire, message);
        }
        match message {
            ToController::Hello(hello) => self.challenge(wire, *hello),
            other => Err(Broken::new(format!("a session opens with {other:?}"))),
        }
    }

    /// The node's end of this wire is gone, or the controller gives it up.
    pub(super) fn controller_loses(&mut self, wire: WireId) -> Result<(), Broken> {
        let Some(sessions) = self.sessions() else {
            return Ok(());
        };
        sessions.leave(wire);
        self.rival_is_gone(wire)
    }

    /// Ends sessions that are not heard any more.
    pub(super) fn controller_listens(&mut self, wire: WireId) -> Result<(), Broken> {
        let now = self.now;
        let Some(sessions) = self.sessions() else {
            return Ok(());
        };
        let silent_at = match sessions.open.get(&wire) {
            Some(session) => session.heard_at + SESSION_TIMEOUT_MS,
            None if sessions.challenging.contains_key(&wire) => now + SESSION_TIMEOUT_MS,
            None => now,
        };
        if silent_at > now {
            self.agenda.plan(silent_at, Happening::Silence { wire });
            return Ok(());
        }
        self.send_to_node(wire, Parcel::End);
        self.controller_loses(wire)
    }

    /// Sends what the node does not know yet, if anything.
    pub(super) fn bell_rings(&mut self, wire: WireId) -> Result<(), Broken> {
        let Some(running) = &mut self.controller.running else {
            return Ok(());
        };
        let Some(session) = running.sessions.open.get_mut(&wire) else {
            return Ok(());
        };
        let (node, state) = (session.node, &running.state);
        if state.node(node).is_none() {
            return self.close_session(wire, refused(RefusalCode::NodeRemoved));
        }
        match session.sync.advance(state, &running.history) {
            Some(message) => self.send_message(wire, &message),
            None => Ok(()),
        }
    }

    /// Rings for the open sessions of these nodes; they hear it a moment later.
    pub(super) fn ring(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        let Some(running) = &self.controller.running else {
            return;
        };
        for node in nodes {
            if let Some(wire) = running.sessions.seats.get(&node) {
                let at = self.now + self.dice.below(LONGEST_BELL_MS);
                self.agenda.plan(at, Happening::Bell { wire: *wire });
            }
        }
    }

    /// Says goodbye to every session.
    pub(super) fn say_restart(&mut self) -> Result<(), Broken> {
        let open = self
            .sessions()
            .map(|sessions| sessions.open.keys().copied().collect());
        let open: Vec<WireId> = open.unwrap_or_default();
        for wire in open {
            let reason = FarewellReason::Restart;
            self.close_session(wire, ToNode::Farewell { reason })?;
        }
        Ok(())
    }

    pub(super) fn sessions(&mut self) -> Option<&mut Sessions> {
        Some(&mut self.controller.running.as_mut()?.sessions)
    }

    pub(super) fn open_session(
        &mut self,
        wire: WireId,
        hello: Hello,
        alive: bool,
    ) -> Result<(), Broken> {
        let Some(certificate) = self.network.wire(wire).map(|wire| wire.certificate) else {
            return Ok(());
        };
        let node = certificate.node;
        let live = self.sessions().and_then(|sessions| {
            let (_, session) = sessions.seated(node)?;
            Some(LiveSession {
                instance: session.instance,
                tls_key: session.certificate.key,
                alive,
                facts: session.facts.clone(),
                source: None,
            })
        });
        let command = Command::OpenSession {
            node,
            tls_key: certificate.key,
            lease: hello.lease.clone(),
            instance: hello.instance,
            facts: hello.facts.clone(),
            source: None,
            live,
        };
        let (lease, rekey) = match self.submit(&command)? {
            Verdict::Accepted(accepted) => match accepted.answer {
                Answer::Session { lease, rekey } => (lease, rekey),
                _ => return self.separate(wire, node),
            },
            Verdict::Rejected(rejection) => {
                self.note(format_args!(
                    "{node} hello of {:x} refused: {rejection}",
                    hello.instance
                ));
                return self.close_session(wire, refusal(&rejection));
            }
            Verdict::Dead => return Ok(()),
        };
        self.seat(wire, certificate, hello, lease, rekey)
    }

    /// A copy was found: both sessions end.
    fn separate(&mut self, wire: WireId, node: NodeId) -> Result<(), Broken> {
        self.note(format_args!("{node} is copied"));
        self.summary.quarantines += 1;
        let rival = self.sessions().and_then(|it| it.seats.get(&node).copied());
        for wire in rival.into_iter().chain([wire]) {
            self.close_session(wire, refused(RefusalCode::Cloned))?;
        }
        Ok(())
    }

    fn seat(
        &mut self,
        wire: WireId,
        certificate: Certificate,
        hello: Hello,
        lease: Lease,
        rekey: bool,
    ) -> Result<(), Broken> {
        let (node, now) = (certificate.node, self.now);
        let Some(running) = &mut self.controller.running else {
            return Ok(());
        };
        let (state, history) = (&running.state, &running.history);
        let (sync, first) = NodeSync::open(node, hello.applied, hello.digest, state, history);
        match (&first, hello.applied) {
            (None, _) => self.summary.resumed_with_nothing += 1,
            (Some(ToNode::Delta(_)), _) => self.summary.resumed_with_delta += 1,
            _ => self.summary.snapshots += 1,
        }
        let welcome = Welcome {
            lease: lease.clone(),
            revision: state.revision(),
            seen_as: None,
            controllers: state.settings().controllers.clone(),
            rekey: rekey.then_some(true),
        };
        let session = Session {
            node,
            certificate,
            instance: hello.instance,
            facts: hello.facts,
            lease,
            sync,
            heard_at: now,
        };
        running.sessions.open.insert(wire, session);
        let former = running.sessions.seats.insert(node, wire);
        self.summary.sessions += 1;
        self.send_message(wire, &ToNode::Welcome(Box::new(welcome)))?;
        if let Some(first) = first {
            self.send_message(wire, &first)?;
        }
        if let Some(former) = former.filter(|former| *former != wire) {
            let reason = FarewellReason::Superseded;
            self.close_session(former, ToNode::Farewell { reason })?;
        }
        self.ring([node]);
        Ok(())
    }

    fn take(&mut self, wire: WireId, message: ToController) -> Result<(), Broken> {
        let now = self.now;
        let Some(session) = self.sessions().and_then(|it| it.open.get_mut(&wire)) else {
            return Ok(());
        };
        let (node, instance) = (session.node, session.instance);
        match message {
            ToController::LeaseSaved => {
                let lease = session.lease.clone();
                self.ask(
                    wire,
                    &Command::ConfirmLease {
                        node,
                        instance,
                        lease,
                    },
                )
                .map(drop)
            }
            ToController::Applied { revision } => {
                session.sync.applied(revision);
                self.bell_rings(wire)
            }
            ToController::Report(_) => self.send_message(wire, &ToNode::Heartbeat),
            ToController::NeedSnapshot => {
                session.sync.need_snapshot();
                self.summary.snapshots_asked += 1;
                self.bell_rings(wire)
            }
            ToController::Renew { csr, wg_key } => self.renew(wire, node, instance, &csr, wg_key),
            ToController::Farewell { .. } => {
                self.send_to_node(wire, Parcel::End);
                self.controller_loses(wire)
            }
            // Nobody asks for looks at ports, and no agent how it looks from here.
            ToController::ProbeResult(_) | ToController::Reflect => Ok(()),
            ToController::Enrol(_) | ToController::Hello(_) => Err(Broken::new(format!(
                "{node} opened a session twice at {now}"
            ))),
        }
    }

    fn renew(
        &mut self,
        wire: WireId,
        node: NodeId,
        instance: u64,
        csr: &[u8],
        wg_key: Option<WgKey>,
    ) -> Result<(), Broken> {
        let key = <[u8; 32]>::try_from(csr).map(Fingerprint);
        let tls_key = key.map_err(|_| Broken::new("a request without a key".to_owned()))?;
        let command = Command::RenewNode {
            node,
            instance,
            tls_key,
            wg_key,
        };
        if self.ask(wire, &command)? {
            self.summary.renewals += 1;
            let certificate = Certificate { node, key: tls_key }.bytes();
            self.send_message(wire, &ToNode::Renewed { certificate })?;
        }
        Ok(())
    }

    /// A session's command; a rejection ends the session.
    fn ask(&mut self, wire: WireId, command: &Command) -> Result<bool, Broken> {
        match self.submit(command)? {
            Verdict::Accepted(_) => Ok(true),
            Verdict::Rejected(rejection) => {
                self.note(format_args!("session refused: {rejection}"));
                self.close_session(wire, refusal(&rejection))
                    .map(|()| false)
            }
            Verdict::Dead => Ok(false),
        }
    }

    fn close_session(&mut self, wire: WireId, last: ToNode) -> Result<(), Broken> {
        self.send_message(wire, &last)?;
        self.send_to_node(wire, Parcel::End);
        self.controller_loses(wire)
    }

    fn send_message(&mut self, wire: WireId, message: &ToNode) -> Result<(), Broken> {
        let frame = encode_frame(message, MAX_FRAME_TO_NODE_BYTES);
        let frame = frame.map_err(|error| broken("a frame to a node", error))?;
        self.summary.bytes_to_nodes += frame.len() as u64;
        self.send_to_node(wire, Parcel::Frame(frame));
        Ok(())
    }

    fn send_to_node(&mut self, wire: WireId, parcel: Parcel) {
        let (now, dice, agenda) = (self.now, &mut self.dice, &mut self.agenda);
        self.network
            .send(wire, Toward::Node, parcel, now, dice, agenda);
    }
}

/// What a node hears of a command that did not go through.
pub(super) fn refusal(rejection: &Rejection) -> ToNode {
    match rejection {
        Rejection::Refused { code, .. } => refused(*code),
        _ => refused(RefusalCode::Malformed),
    }
}

fn refused(code: RefusalCode) -> ToNode {
    ToNode::Refused {
        code,
        text: format!("{code:?}"),
    }
}

/// A session is a task of its own and hears of a commit a little later.
const LONGEST_BELL_MS: Millis = 30;
