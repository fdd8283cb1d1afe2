//! One running balancer: listeners, checks and connections around one pool. It ends when it is stopped or dropped.

use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Admitted};

use super::checker::check_forever;
use super::health::Condition;
use super::link::{Arrival, Connector, Link, Listener};
use super::listener::accept_forever;
use super::open::Ending;
use super::pool::{Choice, Pool};
use super::spec::{Spec, SpecError};
use super::status::{BalancerCounters, BalancerStatus};
use super::stream::{Terms, serve};
use super::ways::{Ways, keep_forever};
use super::worker::{Entrance, Newcomer, PLACES, Places, Workers};

/// A balancer at work. Dropping it resets its connections.
#[derive(Debug)]
pub struct Balancer {
    floor: Arc<Floor>,
    /// They end with this.
    accept_loops: JoinSet<()>,
    /// Checks, and the ways to the backends; they end with this.
    loops: JoinSet<()>,
}

/// What accept loops, connections and checks share.
pub(super) struct Floor {
    pub(super) connector: Arc<dyn Connector>,
    /// Connections and checks meet here; held only to choose or to note, never across an await.
    pool: Mutex<Pool>,
    /// Read once per connection.
    spec: RwLock<Spec>,
    admission: Arc<Admission>,
    pub(super) counters: Arc<BalancerCounters>,
    pub(super) due_changed: Notify,
    pub(super) ways: Ways,
    pub(super) backends_changed: Notify,
    pub(super) connections: TaskTracker,
    /// Begun with the first need of them; None: they could not be.
    workers: OnceLock<Option<Workers>>,
    places: &'static Places,
    has_ended: AtomicBool,
}

impl Balancer {
    /// Starts on the current tokio runtime.
    ///
    /// # Errors
    /// [`SpecError`] names the value that is out of bounds.
    pub fn start(
        spec: Spec,
        listeners: Vec<Box<dyn Listener>>,
        connector: Arc<dyn Connector>,
    ) -> Result<Self, SpecError> {
        Self::start_among(&PLACES, spec, listeners, connector)
    }

    /// The same with workers from among these.
    pub(super) fn start_among(
        places: &'static Places,
        spec: Spec,
        listeners: Vec<Box<dyn Listener>>,
        connector: Arc<dyn Connector>,
    ) -> Result<Self, SpecError> {
        spec.check()?;
        let counters = Arc::new(BalancerCounters::default());
        let limits = spec.limits;
        let floor = Arc::new(Floor {
            connector,
            pool: Mutex::new(Pool::new(&spec, Instant::now())),
            spec: RwLock::new(spec),
            admission: Admission::new(
                limits.connections,
                limits.connections_per_source,
                Arc::clone(&counters) as _,
            ),
            counters,
            due_changed: Notify::new(),
            ways: Ways::default(),
            backends_changed: Notify::new(),
            connections: TaskTracker::new(),
            workers: OnceLock::new(),
            places,
            has_ended: AtomicBool::new(false),
        });
        let mut loops = JoinSet::new();
        loops.spawn(check_forever(Arc::clone(&floor)));
        if floor.connector.has_ways() {
            loops.spawn(keep_forever(Arc::clone(&floor)));
        }
        let is_accepting = floor.is_accepting(&listeners);
        let (at_workers, others): (Vec<_>, Vec<_>) = listeners
            .into_iter()
            .partition(|it| is_accepting && it.kernel().is_some());
        let mut accept_loops = JoinSet::new();
        for listener in others {
            accept_loops.spawn(accept_forever(Arc::clone(&floor), listener));
        }
        // They stay their owners', though the workers accept there.
        accept_loops.spawn(async move {
            let _at_workers = at_workers;
            pending().await
        });
        Ok(Self {
            floor,
            accept_loops,
            loops,
        })
    }

    /// Goes on with another spec; connections to backends that stay are not touched.
    ///
    /// # Errors
    /// [`SpecError`] names the value that is out of bounds; then nothing has changed.
    pub fn change(&self, spec: Spec) -> Result<(), SpecError> {
        spec.check()?;
        let limits = spec.limits;
        let admission = &self.floor.admission;
        admission.set_limits(limits.connections, limits.connections_per_source);
        self.floor.pool().change(&spec, Instant::now());
        let mut held = (self.floor.spec.write()).unwrap_or_else(PoisonError::into_inner);
        *held = spec;
        self.floor.due_changed.notify_one();
        self.floor.backends_changed.notify_one();
        Ok(())
    }

    /// Believes this of a backend until its first check, for it was so before a restart.
    pub fn assume(&self, backend: u64, condition: Condition) {
        self.floor.pool().assume(backend, condition, Instant::now());
    }

    pub fn status(&self) -> BalancerStatus {
        let counters = &self.floor.counters;
        BalancerStatus {
            backends: self.floor.pool().status(Instant::now()),
            open_connections: counters.open_connections.value(),
            accepted_connections: counters.accepted_connections.value(),
            refused_connections: counters.refused_connections.value(),
            strange_connections: counters.strange_connections.value(),
            unserved_connections: counters.unserved_connections.value(),
            retried_connections: counters.retried_connections.value(),
            bytes_in: counters.bytes_in.value(),
            bytes_out: counters.bytes_out.value(),
        }
    }

    pub fn counters(&self) -> &BalancerCounters {
        &self.floor.counters
    }

    #[cfg(test)]
    pub(super) fn floor(&self) -> &Arc<Floor> {
        &self.floor
    }

    #[cfg(test)]
    pub(super) fn workers(&self) -> Option<&Workers> {
        self.floor.workers()
    }

    /// Closes the listeners, resets the connections, and returns when that is done.
    pub async fn stop(self) {
        self.finish(Duration::ZERO).await;
    }

    /// Closes the listeners and, for so long, each connection as soon as its client has been answered; then it resets what is
    /// left, and returns when that is done.
    pub async fn finish(mut self, limit: Duration) {
        self.accept_loops.shutdown().await;
        let floor = &self.floor;
        if let Some(Some(workers)) = floor.workers.get() {
            workers.close_doors();
        }
        floor.connections.close();
        floor.pool().close(Ending::Finish);
        if timeout(limit, floor.connections.wait()).await.is_err() {
            floor.pool().close(Ending::Reset);
            floor.connections.wait().await;
        }
        // Not before: a worker may have accepted one more until its doors were closed, and that one needs a way.
        self.loops.shutdown().await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.floor.pool().close(Ending::Reset);
        self.floor.has_ended.store(true, Ordering::SeqCst);
        if let Some(Some(workers)) = self.floor.workers.get() {
            workers.end();
        }
    }
}

impl Floor {
    /// Gives the kernel's listeners to workers, if the kernel can reach the backends too. Whether that was done.
    fn is_accepting(self: &Arc<Self>, listeners: &[Box<dyn Listener>]) -> bool {
        let own = listeners.iter().filter_map(|it| it.kernel());
        let doors = match own.map(Entrance::new).collect::<io::Result<Vec<_>>>() {
            Ok(doors) if self.connector.has_ways() && !doors.is_empty() => doors,
            _ => return false,
        };
        self.workers
            .get_or_init(|| self.start_workers(doors))
            .is_some()
    }

    /// For connections between two sockets of the kernel; None: they can't be started.
    pub(super) fn workers(self: &Arc<Self>) -> Option<&Workers> {
        let workers = self.workers.get_or_init(|| self.start_workers(Vec::new()));
        let workers = workers.as_ref()?;
        if self.has_ended.load(Ordering::SeqCst) {
            workers.end();
        }
        Some(workers)
    }

    fn start_workers(self: &Arc<Self>, doors: Vec<Entrance>) -> Option<Workers> {
        let started = Workers::start(self, doors, self.places);
        let failed = |error: &io::Error| tracing::warn!(%error, "can't start a balancer's workers");
        started.inspect_err(failed).ok()
    }

    /// Takes a connection from here in, or counts why not.
    pub(super) fn admit(&self, source: IpAddr) -> Option<(Terms, Admitted)> {
        let spec = self.spec.read().unwrap_or_else(PoisonError::into_inner);
        let (allowed, terms) = (spec.allows(source), Terms::from(&*spec));
        drop(spec);
        if !allowed {
            self.counters.strange_connections.add(1);
            return None;
        }
        let place = self.admission.admit(source)?;
        self.counters.accepted_connections.add(1);
        Some((terms, place))
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with a connection that a worker has accepted while its source is not known, or not all backends can be reached by
    /// the kernel, or no longer. Must be called within the runtime.
    pub(super) fn serve(self: &Arc<Self>, newcomer: Newcomer, terms: Terms, place: Admitted) {
        // Only the runtime's own failure ends it here.
        let Ok(tcp) = TcpStream::from_std(newcomer.tcp.into()) else {
            return;
        };
        let (floor, source) = (Arc::clone(self), newcomer.source);
        self.connections.spawn(async move {
            let mut link = Link::kernel(tcp, None);
            if let Some(source) = newcomer.known {
                link.cut = Some(source.into_cut());
            } else if let Some(sources) = newcomer.sources {
                let learning = sources.learn(Arc::downgrade(&floor), source.ip());
                let learnt = timeout(terms.limits.connect, learning).await;
                match learnt.unwrap_or_else(|late| Err(late.into())) {
                    Ok(source) => link.cut = Some(source.into_cut()),
                    Err(error) => {
                        tracing::debug!(%source, %error, "a client that no peer answers for");
                        return link.abort();
                    }
                }
            }
            let arrival = Arrival {
                link,
                source,
                destination: None,
            };
            serve(floor, terms, arrival, place).await;
        });
    }

    /// A backend did not take a connection, or served nobody on it.
    pub(super) fn connect_failed(&self, choice: &Choice) {
        self.pool().connect_failed(choice, Instant::now());
        self.due_changed.notify_one();
    }
}

impl std::fmt::Debug for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Floor").finish_non_exhaustive()
    }
}
