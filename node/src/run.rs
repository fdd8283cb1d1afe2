//! The agent's process: one loop that carries events to the machine and does what it says. It decides nothing itself.

mod contact;
mod disk;
mod inbox;
mod links;
mod names;
mod network;
mod renewal;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{FarewellReason, NodeId, PairTable};
use malha_tunnel::{Engine, Keeper};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::{Action, Agent, AgentConfig, Ending, Event, LinkError, LinkFault, Millis};
use crate::balancers::FINISH_LIMIT;
use crate::control::{Credentials, network_changed};
use crate::engine::EngineReason;
use crate::names::NamesChoice;
use crate::notify::Notifier;
use crate::plane::{
    Applied, Former, MAX_ORDERS, PlaneConfig, PlaneEvent, PlaneOrder, PlaneView, run_plane,
};
use crate::port_probe::ProbeChoice;
use crate::state::{Identity, Keys, Remembered, STATUS_SOCKET, StateError, StateFolder};
use crate::status::{StatusDocument, StatusError, StatusSocket, Surroundings};
use crate::streams::Overlay;
use crate::{clock, exit, machine};

use contact::ContactWatch;
use disk::{DiskAnswer, DiskJob, MAX_JOBS, former, run_disk};
use inbox::{Inbox, Input};
use links::{Links, Tries, credentials};
use names::Names;
use network::NetworkWatch;
use renewal::Renewal;
use stored::Stored;

/// How long the tunnel and the disk may take after the end: what the balancers have not finished in their time is still to be reset
/// then, and the tunnel to be shut down.
pub const DRAIN_LIMIT: Duration = FINISH_LIMIT.saturating_add(Duration::from_secs(2));

/// How long the last words may take meanwhile.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(2);

/// Callers of the status socket at a time.
const MAX_CALLERS: usize = 16;

/// Events that wait for the loop; their senders wait then.
const MAX_EVENTS: usize = 1_024;

/// What the process was told to be.
#[derive(Clone, Debug)]
pub struct RunConfig {
    pub plane: PlaneConfig,
    pub engine_reason: EngineReason,
    /// What a controller may have this machine look at.
    pub probes: ProbeChoice,
    /// Which names this machine's programs are to ask for.
    pub names: NamesChoice,
}

#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error("the operating system gave no random number: {0}")]
    Random(getrandom::Error),
    #[error("a signal can't be handled: {0}")]
    Signal(std::io::Error),
    #[error("the data plane has ended: {0}")]
    Plane(String),
}

impl From<&RunError> for exit::Exit {
    fn from(error: &RunError) -> Self {
        match error {
            RunError::State(StateError::Locked(_)) => Self::Locked,
            RunError::State(_) | RunError::Status(_) => Self::State,
            RunError::Random(_) | RunError::Signal(_) | RunError::Plane(_) => Self::Internal,
        }
    }
}

/// Runs the agent of an enrolled node until a signal, `stop`, or the controller ends it.
pub async fn run(
    folder: StateFolder,
    identity: Identity,
    mut config: RunConfig,
    stop: CancellationToken,
) -> Result<Ending, RunError> {
    let stored = Stored::read(&folder)?;
    config.plane.former = former(&folder);
    let agent = Agent::new(AgentConfig {
        node: identity.node,
        instance: random()?,
        seed: random()?,
        lease: stored.lease.clone(),
        controllers: identity.controllers.clone(),
        facts: machine::facts(Some(&config.plane.engine.to_string())),
    });
    let status = StatusSocket::bind(&folder.path().join(STATUS_SOCKET))?;
    let (mut shell, mut inbox) =
        Shell::start(agent, folder, identity, &stored, config, status, stop)?;
    shell.begin(stored);
    shell.notifier.ready();
    let ended = shell.run(&mut inbox).await;
    shell.finish(inbox).await;
    ended
}

struct Shell {
    agent: Agent,
    node: NodeId,
    engine: Engine,
    engine_reason: EngineReason,
    shards: usize,
    started: Instant,
    identity: Identity,
    credentials: Arc<Credentials>,
    renewal: Renewal,
    links: Links,
    carrier_tries: Tries,
    /// Links and probes.
    tasks: JoinSet<()>,
    callers: JoinSet<()>,
    events: mpsc::Sender<Event>,
    /// What the loop itself has to tell the agent next.
    next: VecDeque<Event>,
    disk: mpsc::Sender<DiskJob>,
    orders: mpsc::Sender<PlaneOrder>,
    pairs: watch::Sender<Option<Arc<PairTable>>>,
    plane: PlaneView,
    contact: ContactWatch,
    names: Names,
    /// What runs of the overlay, for looks at ports.
    overlay: watch::Receiver<Option<Overlay>>,
    probes: ProbeChoice,
    network: NetworkWatch,
    notifier: Notifier,
    keeper: Option<Arc<dyn Keeper>>,
    /// As it is on disk, or will be.
    remembered: Remembered,
}

impl Shell {
    fn start(
        agent: Agent,
        folder: StateFolder,
        identity: Identity,
        stored: &Stored,
        config: RunConfig,
        status: StatusSocket,
        stop: CancellationToken,
    ) -> Result<(Self, Inbox), RunError> {
        let (events, event_inbox) = mpsc::channel(MAX_EVENTS);
        let (orders, order_inbox) = mpsc::channel(MAX_ORDERS);
        let (pairs, pairs_out) = watch::channel(None);
        let (plane_events, plane_inbox) = mpsc::channel(MAX_ORDERS);
        let (disk, job_inbox) = mpsc::channel(MAX_JOBS);
        let (answers, answer_inbox) = mpsc::channel(MAX_JOBS);
        let engine = config.plane.engine;
        let shards = engine.shards(config.plane.shards);
        let Former { remembered, keeper } = config.plane.former.clone();
        let (overlay, running) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let contact = ContactWatch::start(engine, running.clone(), &mut tasks);
        let names = Names::start(&config, &identity, running.clone(), &mut tasks);
        let inbox = Inbox::new(event_inbox, plane_inbox, answer_inbox, status, stop)?.with_tasks(
            tokio::spawn(run_plane(
                config.plane,
                stored.private_key.clone(),
                order_inbox,
                pairs_out,
                plane_events,
                overlay,
            )),
            tokio::task::spawn_blocking(move || run_disk(&folder, job_inbox, &answers)),
        );
        let shell = Self {
            agent,
            node: identity.node,
            engine,
            engine_reason: config.engine_reason,
            shards,
            started: Instant::now(),
            credentials: Arc::new(credentials(&identity, &stored.keys)),
            identity,
            renewal: Renewal::of(&stored.keys),
            links: Links::default(),
            carrier_tries: Tries::default(),
            tasks,
            callers: JoinSet::new(),
            events,
            next: VecDeque::new(),
            disk,
            orders,
            pairs,
            plane: PlaneView::default(),
            contact,
            names,
            overlay: running,
            probes: config.probes,
            network: NetworkWatch::new(),
            notifier: Notifier::from_env(),
            keeper,
            remembered,
        };
        Ok((shell, inbox))
    }

    /// Tells the agent what was on the disk.
    fn begin(&mut self, stored: Stored) {
        self.tell(Event::Started {
            last_known_good: stored.last_known_good,
            pairs: stored.pairs,
        });
        if let Some(keys) = stored.in_renewal {
            let result = keys.public().map_err(|error| error.to_string());
            self.tell(Event::KeysMade { result });
        }
    }

    async fn run(&mut self, inbox: &mut Inbox) -> Result<Ending, RunError> {
        loop {
            while let Some(action) = self.agent.poll_action() {
                if let Some(ending) = self.perform(action) {
                    return Ok(ending);
                }
            }
            if let Some(event) = self.next.pop_front() {
                self.tell(event);
                continue;
            }
            let due = self.agent.poll_timeout();
            let due = due.map(|at| self.started + Duration::from_millis(at));
            let input = inbox.next(due, &mut self.tasks, &mut self.callers).await;
            self.take(input)?;
        }
    }

    fn take(&mut self, input: Input) -> Result<(), RunError> {
        match input {
            Input::Event(event) => self.tell(event),
            Input::Timer => self.tell(Event::TimerFired),
            Input::Plane(PlaneEvent::Applied { revision, result }) => {
                if let Some(error) = result.trouble() {
                    tracing::warn!(%revision, "the data plane could not follow; see the status");
                    tracing::debug!(%error, "why the data plane could not follow");
                }
                self.tell(Event::Applied { revision, result });
            }
            Input::Plane(PlaneEvent::Observed(view)) => {
                let peers = view.peers.iter().map(|peer| peer.seen).collect();
                self.plane = *view;
                self.remember();
                let balanced = self.plane.balanced.clone();
                self.tell(Event::Observed { peers });
                self.tell(Event::Balanced(balanced));
                let addresses = self.network.candidates(&self.plane.listen);
                self.tell(Event::Listens { addresses });
            }
            Input::Plane(PlaneEvent::TunnelEnded) => {
                tracing::error!("the tunnel ended by itself; another one is started");
                self.tell(Event::TunnelEnded);
            }
            Input::Plane(PlaneEvent::Down(view)) => self.plane = *view,
            Input::Plane(PlaneEvent::HubSilent) => self.tell(Event::HubSilent),
            Input::Plane(PlaneEvent::CarrierUp { carrier }) => {
                self.tell(Event::CarrierUp { carrier });
            }
            Input::Plane(PlaneEvent::CarrierEnded { carrier, why }) => {
                let error = LinkError::new(LinkFault::Closed, why);
                self.tell(Event::CarrierEnded { carrier, error });
            }
            Input::Disk(DiskAnswer::Event(event)) => self.tell(event),
            Input::Disk(DiskAnswer::Adopted(keys)) => self.adopt(keys),
            Input::Caller(caller) => self.answer(caller),
            Input::Tick => self.tick(),
            Input::Stop => {
                let reason = FarewellReason::Stopped;
                self.notifier.stopping();
                if let Some(keeper) = &self.keeper {
                    keeper.leave();
                }
                self.tell(Event::Stop { reason });
            }
            Input::PlaneGone(why) => return Err(RunError::Plane(why)),
        }
        Ok(())
    }

    /// Does what the agent says. Some(..) is the end.
    fn perform(&mut self, action: Action) -> Option<Ending> {
        match action {
            Action::Connect {
                link,
                controller,
                transport,
            } => self.connect(link, controller, transport),
            Action::Close { link } => self.links.close(link),
            Action::Send { link, message } => self.send(link, message),
            Action::SaveLease(lease) => self.write(DiskJob::SaveLease(lease)),
            Action::SaveNetmap(map) => self.write(DiskJob::SaveNetmap(map)),
            Action::SavePairs(pairs) => self.write(DiskJob::SavePairs(pairs)),
            Action::Share(pairs) => drop(self.pairs.send_replace(Some(pairs))),
            Action::SaveControllers(list) => {
                self.names.protect(&list);
                self.write(DiskJob::SaveControllers(list));
            }
            Action::MakeKeys { wireguard } => self.write(DiskJob::MakeKeys { wireguard }),
            Action::AdoptKeys { certificate } => self.write(DiskJob::AdoptKeys { certificate }),
            Action::RecordEnding(ending) => self.write(DiskJob::RecordEnding(ending)),
            Action::Apply(map) => {
                let revision = map.revision;
                self.names.follow(&map);
                if self.orders.try_send(PlaneOrder::Apply(map)).is_err() {
                    let result = Applied::failed("the data plane does not take orders".into());
                    self.next.push_back(Event::Applied { revision, result });
                }
            }
            Action::NoteTooLarge(why) => tracing::warn!(%why, "the newest map is not taken"),
            Action::RebindTunnel => {
                // With that many orders waiting, another rebind waits among them.
                let _ = self.orders.try_send(PlaneOrder::Rebind);
            }
            Action::OpenCarrier {
                carrier,
                controller,
            } => self.open_carrier(carrier, controller),
            Action::CloseCarrier { carrier } => {
                // It ends by itself if the order is lost: nothing goes over it any more.
                let _ = self.orders.try_send(PlaneOrder::DetachCarrier { carrier });
            }
            Action::RefreshTunnel => {
                let _ = self.orders.try_send(PlaneOrder::Refresh);
            }
            Action::Probe {
                service,
                target,
                kind,
            } => self.probe(service, target, kind),
            Action::ProbePorts(order) => self.probe_ports(*order),
            Action::Exit(ending) => return Some(ending),
        }
        None
    }

    fn write(&mut self, job: DiskJob) {
        if let Err(refused) = self.disk.try_send(job) {
            let answer = refused
                .into_inner()
                .refuse("too many writes wait for the disk");
            match answer {
                Some(DiskAnswer::Event(event)) => self.next.push_back(event),
                Some(DiskAnswer::Adopted(keys)) => self.adopt(keys),
                None => {}
            }
        }
    }

    /// The renewed keys are in use from now on; the running session keeps what it began with.
    fn adopt(&mut self, keys: Result<Keys, String>) {
        let result = keys.map(|keys| {
            self.credentials = Arc::new(credentials(&self.identity, &keys));
            self.renewal = Renewal::of(&keys);
            keys.wireguard
        });
        let result = result.and_then(|key| match key {
            Some(key) => {
                let ordered = self.orders.try_send(PlaneOrder::SetKey(key));
                ordered.map_err(|_| "the data plane does not take orders".to_owned())
            }
            None => Ok(()),
        });
        match &result {
            Ok(()) => tracing::info!("new keys and certificate are in use"),
            Err(error) => tracing::warn!(%error, "the renewal failed"),
        }
        self.next.push_back(Event::KeysAdopted { result });
    }

    fn tick(&mut self) {
        self.notifier.alive();
        self.contact.follow(&self.agent, &self.credentials);
        if self.network.has_changed() {
            tracing::info!("the network has changed");
            network_changed();
            self.tell(Event::NetworkChanged);
        }
        if self.renewal.is_to_be_told(clock::unix_s()) {
            self.tell(Event::RenewalDue);
        }
    }

    fn answer(&mut self, caller: UnixStream) {
        if self.callers.len() >= MAX_CALLERS {
            return;
        }
        let about = Surroundings {
            node: self.node,
            engine: self.engine,
            engine_reason: &self.engine_reason,
            shards: self.shards,
            plane: &self.plane,
            streams: self.contact.streams(),
            names: self.names.status(),
            started: 0,
            now: self.now(),
            wall_ms: clock::unix_ms(),
        };
        let map = self.agent.netmap().map(|map| &**map);
        let document = StatusDocument::new(&self.agent.view(), map, &about);
        match serde_json::to_string(&document) {
            Ok(json) => {
                self.callers.spawn(StatusSocket::answer(caller, json));
            }
            Err(error) => tracing::error!(%error, "the status can't be written"),
        }
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::Lost { error, .. } => {
                tracing::info!(fault = ?error.fault, "a link to the controller is gone");
                tracing::debug!(%error, "why the link is gone");
            }
            Event::CarrierUp { .. } => {
                self.carrier_tries.succeed();
                tracing::info!("the tunnel can go over TCP");
            }
            Event::CarrierEnded { error, .. } => {
                if self.carrier_tries.is_news() {
                    tracing::info!(fault = ?error.fault, "the way over TCP is gone");
                }
                tracing::debug!(%error, "why the way over TCP is gone");
            }
            Event::Connected { .. } => tracing::info!("connected to the controller"),
            _ => {}
        }
        let now = self.now();
        self.agent.handle(event, now);
    }

    fn now(&self) -> Millis {
        Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Ends everything: last words, tunnel, disk.
    async fn finish(self, inbox: Inbox) {
        let Self {
            links,
            mut tasks,
            callers,
            disk,
            orders,
            contact,
            names,
            ..
        } = self;
        drop((links, disk, orders, callers, contact, names));
        let (plane, disk) = inbox.into_tasks();
        let parts = async { tokio::join!(plane, disk) };
        let last_words = async { while tasks.join_next().await.is_some() {} };
        let (parts, last_words) = tokio::join!(
            timeout(DRAIN_LIMIT, parts),
            timeout(LAST_WORDS_LIMIT, last_words)
        );
        if parts.is_err() || last_words.is_err() {
            tracing::warn!("not everything ended in time");
        }
    }
}

fn random() -> Result<u64, RunError> {
    getrandom::u64().map_err(RunError::Random)
}
