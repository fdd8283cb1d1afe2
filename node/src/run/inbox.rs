//! Everything the loop waits for, as one closed enum.

use std::future::pending;

use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{RunError, disk::DiskAnswer};
use crate::agent::Event;
use crate::plane::{OBSERVE_INTERVAL, PlaneEvent};
use crate::status::StatusSocket;

/// What can happen to the process.
pub(super) enum Input {
    /// A link or a probe tells.
    Event(Event),
    Plane(PlaneEvent),
    Disk(DiskAnswer),
    /// Somebody asks for the status.
    Caller(UnixStream),
    /// The agent's own timer.
    Timer,
    /// Once a second.
    Tick,
    Stop,
    PlaneGone(String),
}

pub(super) struct Inbox {
    events: mpsc::Receiver<Event>,
    plane: mpsc::Receiver<PlaneEvent>,
    disk: mpsc::Receiver<DiskAnswer>,
    status: StatusSocket,
    tick: Interval,
    terminate: Signal,
    interrupt: Signal,
    stop: CancellationToken,
    is_stopping: bool,
    tasks: Option<(JoinHandle<()>, JoinHandle<()>)>,
}

impl Inbox {
    pub(super) fn new(
        events: mpsc::Receiver<Event>,
        plane: mpsc::Receiver<PlaneEvent>,
        disk: mpsc::Receiver<DiskAnswer>,
        status: StatusSocket,
        stop: CancellationToken,
    ) -> Result<Self, RunError> {
        let mut tick = interval(OBSERVE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            events,
            plane,
            disk,
            status,
            tick,
            terminate: signal(SignalKind::terminate()).map_err(RunError::Signal)?,
            interrupt: signal(SignalKind::interrupt()).map_err(RunError::Signal)?,
            stop,
            is_stopping: false,
            tasks: None,
        })
    }

    pub(super) fn with_tasks(mut self, plane: JoinHandle<()>, disk: JoinHandle<()>) -> Self {
        self.tasks = Some((plane, disk));
        self
    }

    /// The plane and the disk, to be waited for.
    pub(super) fn into_tasks(self) -> (JoinHandle<()>, JoinHandle<()>) {
        let nothing = || tokio::spawn(async {});
        self.tasks.unwrap_or_else(|| (nothing(), nothing()))
    }

    /// The next thing that happens; `due` is the agent's timer. Clears away tasks that have ended.
    pub(super) async fn next(
        &mut self,
        due: Option<Instant>,
        tasks: &mut JoinSet<()>,
        callers: &mut JoinSet<()>,
    ) -> Input {
        loop {
            let timer = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                Some(event) = self.events.recv() => return Input::Event(event),
                plane = self.plane.recv() => return match plane {
                    Some(event) => Input::Plane(event),
                    None => Input::PlaneGone("its task is gone".into()),
                },
                Some(answer) = self.disk.recv() => return Input::Disk(answer),
                () = timer => return Input::Timer,
                _ = self.tick.tick() => {
                    self.status.bind_again();
                    return Input::Tick;
                }
                _ = self.terminate.recv() => return Input::Stop,
                _ = self.interrupt.recv() => return Input::Stop,
                () = self.stop.cancelled(), if !self.is_stopping => {
                    self.is_stopping = true;
                    return Input::Stop;
                }
                Ok(caller) = self.status.accept() => return Input::Caller(caller),
                Some(ended) = tasks.join_next() => note(ended),
                Some(ended) = callers.join_next() => note(ended),
            }
        }
    }
}

/// A task that panicked is a fault of the program; the agent's timers notice what it did not do.
fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task failed");
    }
}
