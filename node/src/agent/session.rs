//! The conversation of one session: hello, welcome, maps, reports, renewal. It never dials.

use std::net::SocketAddr;
use std::sync::Arc;

use malha_proto::{
    FRAME_PATIENCE_MS, FarewellReason, HEARTBEAT_INTERVAL_MS, Hello, PROTOCOL_VERSION, Revision,
    SESSION_TIMEOUT_MS, ToController, ToNode, Welcome,
};

use super::map::Misfit;
use super::{
    Action, Agent, LinkError, LinkFault, LinkId, Millis, RESTART_SPREAD_MS, Renewal,
    STABLE_SESSION_MS, Transport,
};

/// News go out at once, but not more often than this, milliseconds.
pub(super) const REPORT_GAP_MS: Millis = 100;

/// Keys that could not be stored are made anew after this time, milliseconds.
pub(super) const REKEY_RETRY_MS: Millis = 5_000;

/// A snapshot that does not come is asked for again after this time, milliseconds.
pub(super) const SNAPSHOT_RETRY_MS: Millis = 5_000;

/// When a link brought something.
#[derive(Debug)]
pub(super) struct Hearing {
    /// The last sign of life.
    heard_at: Millis,
    /// The last whole frame.
    frame_at: Millis,
}

/// A connection over which the hello went out.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) link: LinkId,
    pub(super) controller: Arc<str>,
    pub(super) transport: Transport,
    /// Where the controller was reached; `None` by a proxy.
    remote: Option<SocketAddr>,
    pub(super) hearing: Hearing,
}

/// A connection whose hello was welcomed.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: LinkId,
    pub(super) controller: Arc<str>,
    pub(super) transport: Transport,
    pub(super) since: Millis,
    pub(super) seen_as: Option<SocketAddr>,
    /// The list of controllers that came with the welcome, until the session has stood.
    told: Option<Vec<String>>,
    pub(super) report_at: Millis,
    reported_at: Option<Millis>,
    pub(super) hearing: Hearing,
    snapshot_asked_at: Option<Millis>,
    /// Whether the keys of now were asked for.
    pub(super) renewal_asked: bool,
    /// When keys that the disk refused are made anew.
    rekey_at: Option<Millis>,
}

impl Greeting {
    pub(super) fn new(
        link: LinkId,
        (controller, transport): (Arc<str>, Transport),
        remote: Option<SocketAddr>,
        now: Millis,
    ) -> Self {
        Self {
            link,
            controller,
            transport,
            remote,
            hearing: Hearing::new(now),
        }
    }

    pub(super) fn timeout(&self) -> Millis {
        self.hearing.silent_at()
    }
}

impl Session {
    /// Whether it was of use for so long that what failed before does not count any more.
    pub(super) fn has_stood(&self) -> bool {
        self.hearing.heard_at >= self.since + STABLE_SESSION_MS
    }

    pub(super) fn timeout(&self) -> Millis {
        let rekey_at = self.rekey_at.unwrap_or(Millis::MAX);
        self.hearing.silent_at().min(self.report_at).min(rekey_at)
    }
}

impl Hearing {
    /// Whether two reports in a row had no answer.
    pub(super) fn is_quiet(&self, now: Millis) -> bool {
        now >= self.heard_at + 2 * HEARTBEAT_INTERVAL_MS
    }

    fn new(now: Millis) -> Self {
        Self {
            heard_at: now,
            frame_at: now,
        }
    }

    /// When the link counts as silent if nothing more comes.
    pub(super) fn silent_at(&self) -> Millis {
        let silent_at = self.heard_at + SESSION_TIMEOUT_MS;
        silent_at.min(self.frame_at + FRAME_PATIENCE_MS)
    }
}

impl Agent {
    pub(super) fn hello(&self) -> ToController {
        let resumed = self.map.resumable();
        ToController::Hello(Box::new(Hello {
            version: PROTOCOL_VERSION,
            instance: self.config.instance,
            lease: self.config.lease.clone(),
            applied: resumed.map(|map| map.revision),
            digest: resumed.map(|map| map.digest()),
            facts: self.config.facts.clone(),
        }))
    }

    /// A part of a frame is a sign of life, too: the rest of a long one is on its way.
    pub(super) fn on_heard(&mut self, link: LinkId) {
        let greeting = self.greeting.as_mut().filter(|g| g.link == link);
        let session = self.session.as_mut().filter(|s| s.link == link);
        let hearing = greeting.map(|greeting| &mut greeting.hearing);
        if let Some(hearing) = hearing.or(session.map(|session| &mut session.hearing)) {
            hearing.heard_at = self.now;
        }
    }

    pub(super) fn on_frame(&mut self, link: LinkId, message: ToNode) {
        if let Some(greeting) = self.greeting.as_mut().filter(|g| g.link == link) {
            greeting.hearing = Hearing::new(self.now);
            return self.on_greeting_frame(link, message);
        }
        let Some(session) = self.session.as_mut().filter(|s| s.link == link) else {
            return;
        };
        let now = self.now;
        session.hearing = Hearing::new(now);
        self.map.reached.on_heard(now);
        match message {
            ToNode::Snapshot(map) if map.me.id != self.config.node => {
                self.break_off(link, "a netmap that is not for this node");
            }
            ToNode::Snapshot(map) => {
                session.snapshot_asked_at = None;
                if self.map.replace(*map, now, &mut self.actions).is_ok() {
                    self.held = false;
                }
            }
            ToNode::Delta(delta) => {
                if (delta.me.as_ref()).is_some_and(|me| me.id != self.config.node) {
                    return self.break_off(link, "a delta that is not for this node");
                }
                let taken = self.map.patch(*delta, now, &mut self.actions);
                if taken == Err(Misfit::Delta) {
                    self.ask_snapshot();
                }
            }
            ToNode::Heartbeat => {}
            ToNode::Pairs(news) => self.pairs.take(*news, &mut self.actions),
            ToNode::Probe(order) => self.on_probe_order(link, *order),
            ToNode::Renewed { certificate } => {
                if let Renewal::Ready(keys) = &self.renewal {
                    let with_wg_key = keys.wg_key.is_some();
                    self.renewal = Renewal::Adopting { with_wg_key };
                    self.actions.push_back(Action::AdoptKeys { certificate });
                }
            }
            ToNode::Refused { code, text } => self.on_refused(link, code, &text),
            ToNode::Farewell { reason } => self.on_farewell(link, reason),
            ToNode::Enrolled(_) | ToNode::Welcome(_) | ToNode::Reflection { .. } => {
                self.break_off(link, "an answer to a question that was not asked");
            }
        }
    }

    fn on_greeting_frame(&mut self, link: LinkId, message: ToNode) {
        match message {
            ToNode::Welcome(welcome) => self.on_welcome(*welcome),
            ToNode::Refused { code, text } => self.on_refused(link, code, &text),
            ToNode::Farewell { reason } => self.on_farewell(link, reason),
            _ => self.break_off(link, "the session did not open with a welcome"),
        }
    }

    fn on_welcome(&mut self, welcome: Welcome) {
        let Some(greeting) = self.greeting.take() else {
            return;
        };
        match self.session.take() {
            Some(older) => self.actions.push_back(Action::Close { link: older.link }),
            None if self.welcomed => self.actions.push_back(Action::RefreshTunnel),
            None => {}
        }
        self.session = Some(Session {
            link: greeting.link,
            controller: greeting.controller,
            transport: greeting.transport,
            since: self.now,
            seen_as: welcome.seen_as,
            told: Some(welcome.controllers),
            report_at: self.now,
            reported_at: None,
            hearing: Hearing::new(self.now),
            snapshot_asked_at: None,
            renewal_asked: false,
            rekey_at: None,
        });
        self.map.on_session(greeting.remote, &mut self.actions);
        self.carrier.on_change(self.now);
        self.tcp_was_needed = greeting.transport == Transport::Tcp;
        let retry_at = self.now + self.quic_retry_ms();
        self.dial_at = self.tcp_was_needed.then_some(retry_at);
        self.welcomed = true;
        self.last_error = None;
        self.control_since = self.now;
        self.health.tell_all();
        self.lease.want(welcome.lease);
        self.rekey_wanted = welcome.rekey == Some(true);
        match self.renewal {
            Renewal::NotDue if self.rekey_wanted => self.make_keys(),
            _ => self.ask_renewal(),
        }
    }

    fn on_farewell(&mut self, link: LinkId, reason: FarewellReason) {
        let detail = format!("the controller ended the session: {reason:?}");
        self.close(link, LinkError::new(LinkFault::Closed, detail));
        let is_alone = self.session.is_none() && self.greeting.is_none();
        if reason == FarewellReason::Restart && is_alone {
            self.dial_at = Some(self.now + self.jitter.up_to(RESTART_SPREAD_MS));
        }
    }

    fn break_off(&mut self, link: LinkId, detail: &str) {
        self.close(link, LinkError::new(LinkFault::Protocol, detail));
    }

    fn ask_snapshot(&mut self) {
        let Some(session) = &mut self.session else {
            return;
        };
        let waits = |at| self.now < at + SNAPSHOT_RETRY_MS;
        if !session.snapshot_asked_at.is_some_and(waits) {
            session.snapshot_asked_at = Some(self.now);
            let link = session.link;
            self.send(link, ToController::NeedSnapshot);
        }
    }

    /// Asks in each session, once, for the certificate of the fresh keys.
    pub(super) fn ask_renewal(&mut self) {
        let (Some(session), Renewal::Ready(keys)) = (&mut self.session, &self.renewal) else {
            return;
        };
        if self.rekey_wanted && keys.wg_key.is_none() {
            return self.make_keys();
        }
        if !std::mem::replace(&mut session.renewal_asked, true) {
            let (link, wg_key) = (session.link, keys.wg_key);
            let csr = keys.csr.clone();
            self.send(link, ToController::Renew { csr, wg_key });
        }
    }

    /// Acknowledges the newest map when it is in force and saved.
    pub(super) fn acknowledge(&mut self) {
        let Some(link) = self.session.as_ref().map(|session| session.link) else {
            return;
        };
        if let Some(revision) = self.map.take_ack() {
            self.send(link, ToController::Applied { revision });
        }
    }

    /// The disk refused the keys that the controller waits for, or their certificate. Without them this node has no peers, so
    /// it does not wait for the next session.
    pub(super) fn rekey_later(&mut self) {
        if let Some(session) = self.session.as_mut().filter(|_| self.rekey_wanted) {
            session.rekey_at = Some(self.now + REKEY_RETRY_MS);
        }
    }

    fn rekey_when_due(&mut self) {
        let now = self.now;
        let Some(session) = &mut self.session else {
            return;
        };
        let is_due = session.rekey_at.take_if(|at| now >= *at).is_some();
        if is_due && self.rekey_wanted && self.renewal == Renewal::NotDue {
            self.make_keys();
        }
    }

    pub(super) fn report_soon(&mut self) {
        if let Some(session) = &mut self.session {
            let earliest = session.reported_at.map_or(0, |at| at + REPORT_GAP_MS);
            session.report_at = session.report_at.min(earliest.max(self.now));
        }
    }

    pub(super) fn run_session_timers(&mut self) {
        let now = self.now;
        if let Some(session) = self.session.as_mut().filter(|s| s.has_stood()) {
            self.backoff.reset();
            self.dial.forget_refusals();
            if session.transport == Transport::Quic {
                self.quic_silences = 0;
            }
            if let Some(controllers) = session.told.take() {
                let stood_by = session.controller.clone();
                self.set_controllers(controllers, &stood_by);
            }
        }
        self.rekey_when_due();
        let Some(session) = self.session.as_mut().filter(|s| now >= s.report_at) else {
            return;
        };
        session.report_at = now + HEARTBEAT_INTERVAL_MS;
        session.reported_at = Some(now);
        let link = session.link;
        let applied = self.map.in_force().map_or(Revision(0), |map| map.revision);
        let mut report = self.health.report(applied, now);
        report.policy_given_up = self.map.given_up();
        let too_large = self.map.too_large();
        report.too_many_peers = too_large.and_then(|it| u64::try_from(it.peers).ok());
        self.send(link, ToController::Report(report));
    }
}
