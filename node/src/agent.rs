//! The agent as a machine without I/O: events and the time go in, actions come out. It never reads a clock, a file, a socket
//! or a random number, so that a simulation can run hundreds of it on one virtual clock.

mod action;
mod carrier;
mod dial;
mod event;
mod fallback;
mod health;
mod hub_places;
mod jitter;
mod links;
mod map;
mod pairs;
mod probes;
#[cfg(test)]
mod properties;
mod renewal;
mod saving;
mod session;
#[cfg(test)]
mod tests;
mod view;

use std::collections::VecDeque;
use std::sync::Arc;

use malha_proto::{
    FarewellReason, Lease, MachineFacts, Netmap, NodeId, PeerObservation, RefusalCode, Revision,
    ToController,
};

pub use action::{Action, Ending};
pub use carrier::{CARRIER_CHANCE_MS, CARRIER_LINGER_MS, CARRIER_PAUSE_MS, SILENCE_COUNTS_MS};
pub use dial::{DIAL_TIMEOUT_MS, PROXY_REFUSED_PAUSE_MS, QUIC_HEAD_START_MS, TCP_HEAD_START_MS};
pub use event::{Event, FreshKeys, LinkError, LinkFault, LinkId, Transport};
pub use health::{HUB_PATIENCE_MS, MAX_REPORT_PEERS, PROBE_INTERVAL_MS};
pub use jitter::{BACKOFF_FIRST_MS, BACKOFF_LONGEST_MS};
pub use map::{MAX_SERVICES, REPAIR_FIRST_MS, REPAIR_LONGEST_MS, TooLarge};
pub use probes::{PROBE_PATIENCE_MS, PROBE_TARGET_INTERVAL_MS, PROBE_TARGETS_AT_ONCE};
pub use saving::SAVE_RETRY_MS;
pub use view::{AgentView, ControlState, ControlView, PolicyView, ServiceView};

use carrier::CarrierKeeper;
use dial::Dial;
pub(crate) use dial::with_proven;
use health::Health;
use jitter::{Backoff, Jitter};
use map::MapPipeline;
use pairs::PairKeeper;
use probes::PortProbes;
use renewal::Renewal;
use saving::Saving;
use session::{Greeting, Session};

use crate::plane::Applied;

/// Milliseconds of a clock that never goes back; its zero is the shell's choice.
pub type Millis = u64;

/// While the session runs over TCP, QUIC gets a chance this often, milliseconds.
pub const QUIC_RETRY_MS: Millis = 60_000;

/// Where QUIC comes up and falls silent, [`QUIC_RETRY_MS`] doubles with each further try up to this, milliseconds: each may cost
/// a session.
pub const QUIC_RETRY_LONGEST_MS: Millis = 1_800_000;

/// A restarting controller gets its nodes back spread over this time, milliseconds.
pub const RESTART_SPREAD_MS: Millis = 3_000;

/// How often a node that is held apart asks for its release, milliseconds.
pub const HELD_RETRY_MS: Millis = 10_000;

/// A refused node waits at least so long, and at most twice as long on top of its back-off, milliseconds.
pub const REFUSED_PAUSE_MS: Millis = 2_000;

/// A session of this length forgets earlier failures, milliseconds.
pub const STABLE_SESSION_MS: Millis = 10_000;

/// The data plane's start before the first dial, when there is a map on disk, milliseconds.
pub const RESTORE_HEAD_START_MS: Millis = 2_000;

/// Who this agent is.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    pub node: NodeId,
    /// Random at each start of the process.
    pub instance: u64,
    /// Spreads this agent's retries away from all others.
    pub seed: u64,
    /// The newest lease on disk.
    pub lease: Lease,
    /// `host:port`, at least one: those that a controller named, and perhaps one more, by which a session stood last.
    pub controllers: Vec<String>,
    pub facts: MachineFacts,
}

/// One node's agent. There is one per process.
///
/// Give it [`Event::Started`] first, then every event as it happens, and [`Event::TimerFired`] when the time of
/// [`Agent::poll_timeout`] has come. After each event take all of [`Agent::poll_action`].
///
/// ```text
///            ┌──────── pause (jittered, growing) ◀───────┐
///            ▼                                           │
///  dial: QUIC, then TCP ──▶ greeting: Hello sent ──▶ session: snapshot, deltas, reports
/// ```
///
/// A session over TCP dials QUIC beside it and moves over when the new one is welcomed. The data plane does not depend on any
/// of this: it follows the last map, from disk or from the controller.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    now: Millis,
    jitter: Jitter,
    dial: Dial,
    backoff: Backoff,
    /// When to dial: the next attempt, or the next try to leave TCP.
    dial_at: Option<Millis>,
    /// The map from disk is on its way to the data plane: the hello shall tell of it.
    is_restoring: bool,
    tcp_was_needed: bool,
    /// How often QUIC came up and fell silent since it last stood: some networks pass its handshake and nothing after it.
    quic_silences: u32,
    greeting: Option<Greeting>,
    session: Option<Session>,
    map: MapPipeline,
    pairs: PairKeeper,
    probes: PortProbes,
    carrier: CarrierKeeper,
    health: Health,
    /// A controller has welcomed this process at least once.
    welcomed: bool,
    /// Held apart by a refusal; only a snapshot ends it.
    held: bool,
    renewal: Renewal,
    /// The controller wants a new WireGuard key too: the old one is on another machine.
    rekey_wanted: bool,
    /// The lease that the session waits for.
    lease: Saving<Lease>,
    controllers: Saving<Vec<String>>,
    disk_error: Option<String>,
    last_error: Option<LinkError>,
    control_since: Millis,
    ending: Option<Ending>,
    actions: VecDeque<Action>,
}

impl Agent {
    #[must_use]
    pub fn new(config: AgentConfig) -> Self {
        Self {
            jitter: Jitter::new(config.seed),
            dial: Dial::new(&config.controllers),
            config,
            now: 0,
            backoff: Backoff::default(),
            dial_at: None,
            is_restoring: false,
            tcp_was_needed: false,
            quic_silences: 0,
            greeting: None,
            session: None,
            map: MapPipeline::default(),
            pairs: PairKeeper::default(),
            probes: PortProbes::default(),
            carrier: CarrierKeeper::default(),
            health: Health::default(),
            welcomed: false,
            held: false,
            renewal: Renewal::NotDue,
            rekey_wanted: false,
            lease: Saving::default(),
            controllers: Saving::default(),
            disk_error: None,
            last_error: None,
            control_since: 0,
            ending: None,
            actions: VecDeque::new(),
        }
    }

    /// Takes an event at a time. Events of links that are over, and all events after the end, change nothing.
    pub fn handle(&mut self, event: Event, now: Millis) {
        if self.ending.is_some() {
            return;
        }
        self.now = self.now.max(now);
        match event {
            Event::Started {
                last_known_good,
                pairs,
            } => {
                // Before the map, so that its peers come with the keys that they know.
                if let Some(table) = pairs {
                    self.pairs.restore(*table, &mut self.actions);
                }
                self.on_started(last_known_good);
            }
            Event::Connected { link, remote } => self.on_connected(link, remote),
            Event::Lost { link, error } => self.on_lost(link, error),
            Event::Heard { link } => self.on_heard(link),
            Event::Frame { link, message } => self.on_frame(link, *message),
            Event::Applied { revision, result } => self.on_applied(revision, result),
            Event::TunnelEnded => self.map.redo(&mut self.actions),
            Event::Probed { service, state } => {
                if self.health.on_probed(service, state, self.now) {
                    self.report_soon();
                }
            }
            Event::Observed { peers } => self.on_observed(peers),
            Event::Balanced(balanced) => {
                if self.health.on_balanced(balanced) {
                    self.report_soon();
                }
            }
            Event::Listens { addresses } => {
                if self.health.on_listens(addresses) {
                    self.report_soon();
                }
            }
            Event::HubSilent => {
                let (controller, now) = (self.controller(), self.now);
                self.carrier.on_silent(controller, now, &mut self.actions);
            }
            Event::CarrierUp { carrier } => self.carrier.on_up(carrier, self.now),
            Event::CarrierEnded { carrier, error } => {
                let (fault, now) = (error.fault, self.now);
                self.carrier.on_ended(carrier, fault, now, &mut self.jitter);
            }
            Event::NetworkChanged => self.on_network_changed(),
            Event::LeaseSaved { result } => self.on_lease_saved(result),
            Event::NetmapSaved { revision, result } => {
                let now = self.now;
                self.map.on_saved(revision, result, now, &mut self.actions);
            }
            Event::ControllersSaved { result } => _ = self.controllers.on_saved(result, self.now),
            Event::PairsSaved { result } => _ = self.pairs.saving.on_saved(result, self.now),
            Event::RenewalDue => {
                if self.renewal == Renewal::NotDue {
                    self.make_keys();
                }
            }
            Event::KeysMade { result } => self.on_keys_made(result),
            Event::KeysAdopted { result } => self.on_keys_adopted(result),
            Event::PortsProbed { result } => self.on_ports_probed(result),
            Event::TimerFired => {}
            Event::Stop { reason } => return self.stop(reason),
        }
        self.run_timers();
        self.acknowledge();
    }

    /// The next thing to do; None until the next event.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to send [`Event::TimerFired`] if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        if self.ending.is_some() {
            return None;
        }
        let timers = [
            self.dial_at,
            self.dial.timeout(),
            self.greeting.as_ref().map(Greeting::timeout),
            self.session.as_ref().map(Session::timeout),
            self.map.timeout(),
            self.lease.timeout(),
            self.controllers.timeout(),
            self.pairs.saving.timeout(),
            self.carrier.timeout(),
            self.health.timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    /// The revision that the data plane runs with.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.map.in_force().map(|map| map.revision)
    }

    /// The map that the data plane was last told to be, as the controller sent it. [`Agent::revision`] is older if a part of
    /// it failed.
    #[must_use]
    pub fn netmap(&self) -> Option<&Arc<Netmap>> {
        self.map.attempted()
    }

    /// By whom a session stands, or else who is greeted or has its turn.
    fn controller(&self) -> Option<Arc<str>> {
        let session = self.session.as_ref().map(|it| &it.controller);
        let greeting = self.greeting.as_ref().map(|it| &it.controller);
        let known = session.or(greeting).or_else(|| self.dial.controller());
        known.cloned()
    }

    fn on_started(&mut self, last_known_good: Option<Box<Netmap>>) {
        self.control_since = self.now;
        self.dial_at = Some(self.now);
        if let Some(map) = last_known_good {
            self.map.restore(*map, self.now, &mut self.actions);
            self.is_restoring = true;
            self.dial_at = Some(self.now + RESTORE_HEAD_START_MS);
        }
    }

    fn on_applied(&mut self, revision: Revision, result: Applied) {
        self.map
            .on_applied(revision, result, self.now, &mut self.actions);
        self.follow_map();
        if std::mem::take(&mut self.is_restoring) {
            self.dial_at = Some(self.now);
        }
    }

    fn on_observed(&mut self, peers: Vec<PeerObservation>) {
        let Some(map) = self.map.attempted() else {
            return;
        };
        let hub = peers.iter().find(|seen| is_hub(map, seen.peer));
        let path = hub.and_then(|hub| hub.path);
        self.carrier.on_hub_path(path, self.now);
        self.health.on_observed(peers, map, self.now);
        // Without a controller the hub is probably away too, and WireGuard's own timers are enough.
        if self.health.hub_went_silent(map, self.now) && self.session.is_some() {
            self.actions.push_back(Action::RefreshTunnel);
        }
    }

    /// The probes follow the data plane, not the wish: a service is looked at once its listener stands.
    fn follow_map(&mut self) {
        if let Some(map) = self.map.attempted() {
            self.health.follow(&self.map.effective(map), self.now);
        }
    }

    fn on_network_changed(&mut self) {
        self.actions.push_back(Action::RebindTunnel);
        self.backoff.reset();
        self.quic_silences = 0;
        self.carrier.on_change(self.now);
        self.dial.forget_refusals();
        self.map.reached.on_network_changed(self.now);
        match &mut self.session {
            Some(session) => {
                session.report_at = self.now;
                let moves_already = self.dial.is_dialing() || self.greeting.is_some();
                if session.transport == Transport::Tcp && !moves_already {
                    self.dial_at = Some(self.now);
                }
            }
            None if self.dial.is_dialing() || self.greeting.is_some() => {}
            None => self.dial_at = Some(self.now),
        }
    }

    fn run_timers(&mut self) {
        let now = self.now;
        self.time_out_links();
        if self.dial.on_timer(now, &mut self.actions) {
            self.note_failure(self.dial.error().cloned());
            self.dial_over();
        }
        if self.dial_at.take_if(|at| now >= *at).is_some() {
            self.is_restoring = false;
            let race = self.race();
            self.dial.start(race, now, &mut self.actions);
        }
        self.map.on_timer(now, &mut self.actions);
        let controller = self.controller();
        self.carrier.on_timer(controller, now, &mut self.actions);
        self.health.probe_due(now, &mut self.actions);
        self.run_session_timers();
        self.save_what_is_due();
    }

    fn save_what_is_due(&mut self) {
        // The controller forgets what it offered before a lease that it knows to be saved: an older one must not come to the disk late.
        if self.session.is_none() {
            self.lease.forget();
        }
        let now = self.now;
        let lease = self.lease.due(now).map(Action::SaveLease);
        let controllers = self.controllers.due(now).map(Action::SaveControllers);
        let pairs = self.pairs.saving.due(now).map(Action::SavePairs);
        let due = lease.into_iter().chain(controllers).chain(pairs);
        self.actions.extend(due);
    }

    fn on_lease_saved(&mut self, result: Result<(), String>) {
        let Some(lease) = self.lease.on_saved(result, self.now) else {
            return;
        };
        self.config.lease = lease;
        // An older lease is not the one that the session waits for.
        let session = self.session.as_ref().map(|session| session.link);
        if let Some(link) = session.filter(|_| self.lease.is_settled()) {
            self.send(link, ToController::LeaseSaved);
        }
    }

    fn end(&mut self, ending: Ending) {
        self.dial.cancel(&mut self.actions);
        self.actions.push_back(Action::RecordEnding(ending));
        self.exit(ending);
    }

    fn stop(&mut self, reason: FarewellReason) {
        self.dial.cancel(&mut self.actions);
        if let Some(link) = self.session.as_ref().map(|session| session.link) {
            self.send(link, ToController::Farewell { reason });
        }
        self.exit(Ending::Stopped);
    }

    fn exit(&mut self, ending: Ending) {
        let greeting = self.greeting.take().map(|greeting| greeting.link);
        let session = self.session.take().map(|session| session.link);
        for link in greeting.into_iter().chain(session) {
            self.actions.push_back(Action::Close { link });
        }
        self.ending = Some(ending);
        self.actions.push_back(Action::Exit(ending));
    }

    /// Takes the list that came with a session, once that has stood.
    fn set_controllers(&mut self, told: Vec<String>, stood_by: &str) {
        let controllers = with_proven(told, stood_by);
        if let Some(controllers) = controllers.filter(|it| *it != self.config.controllers) {
            self.dial.set_controllers(&controllers);
            self.config.controllers.clone_from(&controllers);
            self.controllers.want(controllers);
        }
    }

    fn on_refused(&mut self, link: LinkId, code: RefusalCode, text: &str) {
        if let Some(ending) = Ending::of(code) {
            return self.end(ending);
        }
        if code == RefusalCode::Cloned {
            self.held = true;
            self.map.quarantine(&mut self.actions);
        }
        if code == RefusalCode::Malformed && matches!(self.renewal, Renewal::Ready(_)) {
            self.renewal = Renewal::NotDue;
        }
        let detail = format!("{code:?}: {text}");
        self.close(link, LinkError::new(LinkFault::Refused, detail));
        // A controller that answered is not asked again as fast as one that did not.
        let earliest = self.now + REFUSED_PAUSE_MS + self.jitter.up_to(REFUSED_PAUSE_MS);
        self.dial_at = self.dial_at.map(|at| at.max(earliest));
    }

    fn send(&mut self, link: LinkId, message: ToController) {
        self.actions.push_back(Action::Send { link, message });
    }
}

fn is_hub(map: &Netmap, peer: NodeId) -> bool {
    map.peers.get(&peer).is_some_and(|peer| peer.hub)
}
