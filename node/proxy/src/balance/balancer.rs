//! One running balancer: listeners, checks and connections around one pool. It ends when it is stopped or dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::admission::Admission;

use super::checker::check_forever;
use super::link::{Connector, Listener};
use super::listener::accept_forever;
use super::open::Ending;
use super::pool::{Choice, Pool};
use super::spec::{Spec, SpecError};
use super::status::{BalancerCounters, BalancerStatus};

/// A balancer at work. Dropping it resets its connections.
#[derive(Debug)]
pub struct Balancer {
    floor: Arc<Floor>,
    /// Accept loops and checks; they end with this.
    loops: JoinSet<()>,
}

/// What accept loops, connections and checks share.
pub(super) struct Floor {
    pub(super) connector: Arc<dyn Connector>,
    /// Connections and checks meet here; held only to choose or to note, never across an await.
    pool: Mutex<Pool>,
    /// Read once per connection.
    spec: RwLock<Spec>,
    pub(super) admission: Arc<Admission>,
    pub(super) counters: Arc<BalancerCounters>,
    pub(super) due_changed: Notify,
    pub(super) connections: TaskTracker,
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
            connections: TaskTracker::new(),
        });
        let mut loops = JoinSet::new();
        loops.spawn(check_forever(Arc::clone(&floor)));
        for listener in listeners {
            loops.spawn(accept_forever(Arc::clone(&floor), listener));
        }
        Ok(Self { floor, loops })
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
        Ok(())
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

    /// Closes the listeners, resets the connections, and returns when that is done.
    pub async fn stop(self) {
        self.finish(Duration::ZERO).await;
    }

    /// Closes the listeners and, for so long, each connection as soon as its client has been answered; then it resets what is
    /// left, and returns when that is done.
    pub async fn finish(mut self, limit: Duration) {
        self.loops.shutdown().await;
        let floor = &self.floor;
        floor.connections.close();
        floor.pool().close(Ending::Finish);
        if timeout(limit, floor.connections.wait()).await.is_err() {
            floor.pool().close(Ending::Reset);
            floor.connections.wait().await;
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.floor.pool().close(Ending::Reset);
    }
}

impl Floor {
    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spec(&self) -> RwLockReadGuard<'_, Spec> {
        self.spec.read().unwrap_or_else(PoisonError::into_inner)
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
