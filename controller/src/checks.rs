//! Checks: each organization that has declared something is compared with what is there, on schedule and when somebody asks, one
//! after the other. They change nothing; what they find is kept on disk beside the store.

mod copies;
mod history;
mod looks;
mod record;
mod subject;
mod vantage;

pub use copies::{HistoryCopy, restore_file};
pub use history::{History, HistoryError, MAX_RUNS_KEPT, RunFile, RunSummary};
pub use vantage::{NoOutside, OUTSIDE_TAG};

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use malha_check::{EvidenceError, Report, look_all, plan};
use malha_core::declaration::{Host, Statement};
use malha_pki::Authority;
use malha_proto::OrganizationId;
use malha_proxy::Dialer;
use malha_web::Bilingual;
use thiserror::Error;
use time::OffsetDateTime;
use tokio::net::lookup_host;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::coordinator::Handle;
use crate::live::Live;
use crate::refusals;
use crate::session::Registry;

use looks::Ways;
use vantage::Lookouts;

/// Organizations that wait to be checked.
pub const MAX_WAITING: usize = 1_000;

/// What checks need of the rest of the controller.
pub struct ChecksContext {
    pub handle: Handle,
    pub registry: Arc<Registry>,
    pub live: Arc<Live>,
    /// Into the overlay; without it nothing there can be tested.
    pub hub: Option<Arc<dyn Dialer>>,
    /// Signs evidence.
    pub authority: Arc<Authority>,
    pub history: Arc<History>,
    /// The port at which the edge's public addresses answer.
    pub public_https_port: u16,
    /// How often each organization is checked by itself; None: only when asked.
    pub every: Option<Duration>,
}

/// All checks. One per controller.
pub struct Checks {
    context: ChecksContext,
    /// Locked for a look or a change; requests and the runner meet here.
    queue: Mutex<Queue>,
    /// The newest report of each organization that was looked at. Locked for a look.
    newest: Mutex<BTreeMap<OrganizationId, Arc<Report>>>,
    /// Somebody asked.
    bell: Notify,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    running: Option<(OrganizationId, u64)>,
    /// Why the last run of an organization came to nothing.
    failures: BTreeMap<OrganizationId, Bilingual>,
}

struct Request {
    organization: OrganizationId,
    /// None: the schedule.
    by: Option<String>,
}

/// How an organization's checks stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub state: StandingState,
    /// The newest run.
    pub newest: Option<RunSummary>,
    /// Why a later one came to nothing.
    pub failure: Option<Bilingual>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandingState {
    Idle,
    Waiting,
    Running { since_ms: u64 },
}

/// Why an organization is not checked.
#[derive(Debug, Error)]
pub enum CheckError {
    #[error(
        "organization {0} has declared nothing to compare with; declare with `malha check declare`"
    )]
    NotDeclared(String),
    #[error("too many organizations wait to be checked; try later")]
    Busy,
    #[error("what was found could not be kept: {0}")]
    History(#[from] HistoryError),
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error("the organization is gone")]
    Gone,
    #[error("the check was interrupted")]
    Interrupted,
}

impl Checks {
    #[must_use]
    pub fn new(context: ChecksContext) -> Self {
        Self {
            context,
            queue: Mutex::default(),
            newest: Mutex::default(),
            bell: Notify::new(),
            changed: watch::channel(0).0,
        }
    }

    /// Of a controller without a hub, which nobody runs.
    #[cfg(test)]
    pub(crate) fn alone(
        handle: Handle,
        registry: Arc<Registry>,
        live: Arc<Live>,
        folder: &std::path::Path,
        every: Option<Duration>,
    ) -> Arc<Self> {
        let profile = malha_pki::AuthorityProfile {
            name: "overlay".to_owned(),
            years: 10,
        };
        let authority = Authority::create(&profile, OffsetDateTime::now_utc()).expect("a key");
        let history = History::open(&folder.join("checks")).expect("an empty folder");
        Arc::new(Self::new(ChecksContext {
            handle,
            registry,
            live,
            hub: None,
            authority: Arc::new(authority),
            history: Arc::new(history),
            public_https_port: 443,
            every,
        }))
    }

    /// Has an organization checked, at once or after those that wait; asking twice is asking once.
    pub fn request(
        &self,
        organization: OrganizationId,
        by: Option<String>,
    ) -> Result<(), CheckError> {
        let state = self.context.handle.state();
        if state.declaration(organization).is_none() {
            let name = state
                .organization(organization)
                .map(|it| it.name.to_string());
            return Err(CheckError::NotDeclared(
                name.unwrap_or_else(|| organization.to_string()),
            ));
        }
        let mut queue = self.queue();
        let is_known = queue
            .waiting
            .iter()
            .any(|it| it.organization == organization);
        if is_known || queue.is_running(organization) {
            return Ok(());
        }
        if queue.waiting.len() >= MAX_WAITING {
            return Err(CheckError::Busy);
        }
        queue.waiting.push_back(Request { organization, by });
        drop(queue);
        self.bell.notify_one();
        self.ring();
        Ok(())
    }

    #[must_use]
    pub fn standing(&self, organization: OrganizationId) -> Standing {
        let queue = self.queue();
        let is_waiting = queue
            .waiting
            .iter()
            .any(|it| it.organization == organization);
        let state = match queue.running {
            Some((running, since_ms)) if running == organization => {
                StandingState::Running { since_ms }
            }
            _ if is_waiting => StandingState::Waiting,
            _ => StandingState::Idle,
        };
        Standing {
            state,
            newest: self.context.history.newest(organization),
            failure: queue.failures.get(&organization).cloned(),
        }
    }

    /// The certificate of who signs evidence, PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        self.context.authority.certificate_pem()
    }

    /// What all runs left.
    #[must_use]
    pub fn history(&self) -> &Arc<History> {
        &self.context.history
    }

    /// The report of a run; None if there is no such run.
    pub fn report(
        &self,
        organization: OrganizationId,
        started_ms: u64,
    ) -> Result<Option<Arc<Report>>, HistoryError> {
        let kept = self.newest().get(&organization).cloned();
        if let Some(kept) = kept.filter(|it| record::milliseconds(it.started) == started_ms) {
            return Ok(Some(kept));
        }
        let history = &self.context.history;
        let Some(report) = history.report(organization, started_ms)? else {
            return Ok(None);
        };
        let report = Arc::new(report);
        let is_newest = history.newest(organization).map(|run| run.started_ms) == Some(started_ms);
        if is_newest {
            self.newest().insert(organization, report.clone());
        }
        Ok(Some(report))
    }

    /// Changes whenever a run began, ended or was asked for.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Checks who asked and whose time has come, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut look = interval(SCHEDULE_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.serve() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = self.bell.notified() => {}
                _ = look.tick() => self.request_due(),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Runs until nobody waits.
    async fn serve(&self) {
        loop {
            let request = {
                let mut queue = self.queue();
                let next = queue.waiting.pop_front();
                queue.running = next.as_ref().map(|it| (it.organization, now_ms()));
                next
            };
            let Some(Request { organization, by }) = request else {
                return;
            };
            self.ring();
            let ended = self.check(organization, by).await;
            let mut queue = self.queue();
            queue.running = None;
            match ended {
                Ok(()) => drop(queue.failures.remove(&organization)),
                Err(error) => {
                    tracing::error!(%organization, %error, "an organization could not be checked");
                    queue.failures.insert(organization, refusals::check(&error));
                }
            }
            drop(queue);
            self.ring();
        }
    }

    async fn check(
        &self,
        organization: OrganizationId,
        by: Option<String>,
    ) -> Result<(), CheckError> {
        let context = &self.context;
        let state = context.handle.state();
        let started = OffsetDateTime::now_utc();
        let about = state.organization(organization).ok_or(CheckError::Gone)?;
        let declaration = state.declaration(organization).ok_or(CheckError::Gone)?;
        let addresses = resolve(&declaration.statement).await;
        let lookouts = Lookouts::new(&state, &context.registry, &context.live);
        let edge = state.settings().edge_addresses.iter();
        let control: Vec<SocketAddr> = edge
            .map(|ip| SocketAddr::new(*ip, context.public_https_port))
            .collect();
        let (subject, no_outside) = subject::subject(
            &state,
            about,
            &declaration.statement,
            &addresses,
            &lookouts,
            &control,
        );
        let checks = plan(&subject);
        let pools = state.settings().pools;
        let ways = Ways {
            hub: context.hub.clone(),
            pools,
        };
        let (by_nodes, own) = tokio::join!(
            looks::by_nodes(&context.registry, &pools, &checks),
            look_all(&checks, &subject, &ways),
        );
        let balancers = looks::of_balancers(&state, &context.live, &checks);
        let observations = [by_nodes, own, balancers].concat();
        let run = record::Run {
            organization,
            by,
            started,
            subject,
            observations,
            no_outside,
        };
        let (history, authority) = (context.history.clone(), context.authority.clone());
        let kept = spawn_blocking(move || record::keep(run, &history, &authority)).await;
        let report = kept.map_err(|_| CheckError::Interrupted)??;
        self.newest().insert(organization, Arc::new(report));
        if let Some(run) = context.history.newest(organization) {
            let noted = context.handle.note(record::line(organization, &run)).await;
            if let Err(error) = noted {
                tracing::warn!(%organization, %error, "the audit log does not have this check");
            }
        }
        Ok(())
    }

    /// Asks for everybody whose time has come.
    fn request_due(&self) {
        let Some(every) = self.context.every else {
            return;
        };
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        let (state, now_ms) = (self.context.handle.state(), now_ms());
        for declaration in state.declarations() {
            let organization = declaration.organization;
            let newest = self.context.history.newest(organization);
            let newest_ms = newest.map(|run| run.started_ms);
            let due_ms = due_ms(organization, declaration.declared_ms, newest_ms, every_ms);
            if due_ms <= now_ms
                && let Err(error) = self.request(organization, None)
            {
                tracing::warn!(%organization, %error, "an organization is not checked in time");
            }
        }
    }

    fn ring(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> MutexGuard<'_, BTreeMap<OrganizationId, Arc<Report>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_running(&self, organization: OrganizationId) -> bool {
        self.running.is_some_and(|(it, _)| it == organization)
    }
}

/// When an organization is checked next: up to a tenth of the interval early, each at another time, so that they don't come together.
fn due_ms(
    organization: OrganizationId,
    declared_ms: u64,
    newest_ms: Option<u64>,
    every_ms: u64,
) -> u64 {
    let Some(newest_ms) = newest_ms else {
        return declared_ms.saturating_add(FIRST_PAUSE_MS);
    };
    let spread = organization.0.wrapping_mul(SPREAD) ^ newest_ms.wrapping_mul(SPREAD);
    let early_ms = (spread >> 16) % (every_ms / 10).max(1);
    newest_ms.saturating_add(every_ms - early_ms)
}

/// The addresses of every host that a declaration names, as this machine resolves them.
async fn resolve(statement: &Statement) -> subject::Addresses {
    let mut addresses = subject::Addresses::new();
    for host in subject::hosts(statement) {
        let found = match &host {
            Host::Address(ip) => vec![*ip],
            Host::Name(name) => {
                let found = timeout(RESOLVE_LIMIT, lookup_host((name.as_str(), 0))).await;
                let found = found.ok().and_then(Result::ok).into_iter().flatten();
                let mut found: Vec<_> = found.map(|address| address.ip()).collect();
                found.sort_unstable();
                found.dedup();
                found
            }
        };
        addresses.insert(host, found);
    }
    addresses
}

/// How often it is looked whose time has come.
const SCHEDULE_LOOK: Duration = Duration::from_secs(60);
/// From a declaration to its first check by itself: its nodes may still have to come.
const FIRST_PAUSE_MS: u64 = 10 * 60 * 1_000;
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// Odd and large: neighbouring numbers come apart (Knuth, multiplicative hashing).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

    #[test]
    fn an_organization_comes_each_day_and_no_two_together() {
        let next = |id| due_ms(OrganizationId(id), 0, Some(1_000_000), DAY_MS) - 1_000_000;
        let all: std::collections::BTreeSet<u64> = (1..=100).map(next).collect();
        assert!(all.len() > 90, "{all:?}");
        assert!(all.iter().all(|at| (DAY_MS * 9 / 10..=DAY_MS).contains(at)));
        let first = due_ms(OrganizationId(1), 7, None, DAY_MS);
        assert_eq!(first, 7 + FIRST_PAUSE_MS);
    }
}
