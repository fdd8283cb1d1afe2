//! The threads of a tunnel, one per shard. The first makes the interface and binds the sockets, then starts the others; when one
//! ends, be it by a panic, all do.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use socket2::Socket;
use tokio::sync::{broadcast, mpsc, watch};

use super::Command;
use super::interface::{Interface, Outlet};
use super::task::Task;
use crate::config::TunnelConfig;
use crate::device::{Device, Gate};
use crate::error::TunnelError;
use crate::offload::join::Joins;
use crate::shard::ring::Neighbours;
use crate::socket::of_shards;
use crate::status::{InterfaceState, TunnelEvent};
use crate::underlay::Underlay;

type Inbox = mpsc::Receiver<Command>;
type Events = broadcast::Sender<TunnelEvent>;
type InterfaceSender = watch::Sender<InterfaceState>;

/// Starts a thread for each inbox, and returns when sockets and interface are there.
pub(super) fn start(
    config: TunnelConfig,
    inboxes: Vec<Inbox>,
    events: Events,
    state: InterfaceSender,
) -> Result<(), TunnelError> {
    spawn("malha-tunnel".into(), move || {
        first(config, inboxes, events, &state)
    })
}

/// What one shard among several is made of.
struct Part {
    config: Arc<TunnelConfig>,
    gate: Gate,
    joins: Joins,
    neighbours: Neighbours,
    sockets: Vec<Socket>,
    outlet: Outlet,
    inbox: Inbox,
    events: Events,
}

/// Makes the tunnel's interface and sockets, and starts all shards but the first, which it gives back.
fn first(
    config: TunnelConfig,
    mut inboxes: Vec<Inbox>,
    events: Events,
    state: &InterfaceSender,
) -> Result<Task, TunnelError> {
    if inboxes.len() == 1
        && let Some(inbox) = inboxes.pop()
    {
        return alone(&config, inbox, events, state);
    }
    let config = Arc::new(config);
    let of_shards = of_shards(&config, inboxes.len())?;
    let interface = interface(&config, state)?;
    let gate = Gate::new(&config, Instant::now());
    let mut parts = Vec::new();
    let neighbours = Neighbours::all(inboxes.len()).into_iter();
    for ((neighbours, sockets), inbox) in neighbours.zip(of_shards).zip(inboxes) {
        parts.push(Part {
            config: config.clone(),
            gate: gate.clone(),
            joins: interface.joins(),
            neighbours,
            sockets,
            outlet: outlet(&interface, &config)?,
            inbox,
            events: events.clone(),
        });
    }
    let own = parts.remove(0);
    for part in parts {
        let name = format!("malha-tunnel-{}", part.neighbours.place().number());
        spawn(name, move || part.task(None))?;
    }
    own.task(Some(interface))
}

/// The one shard of a tunnel that has no other.
fn alone(
    config: &TunnelConfig,
    inbox: Inbox,
    events: Events,
    state: &InterfaceSender,
) -> Result<Task, TunnelError> {
    let mut underlay = Underlay::start(config, events, Instant::now())?;
    let interface = interface(config, state)?;
    underlay.device.set_joins(interface.joins());
    let outlet = outlet(&interface, config)?;
    Ok(Task::new(underlay, Some(interface), outlet, inbox))
}

impl Part {
    /// Must be called within the shard's runtime.
    fn task(self, inlet: Option<Interface>) -> Result<Task, TunnelError> {
        let now = Instant::now();
        let place = self.neighbours.place();
        let mut device = Device::at(place, self.gate, &self.config, now)?;
        device.set_joins(self.joins);
        let (sockets, events) = (self.sockets, self.events);
        let underlay =
            Underlay::shard(&self.config, device, self.neighbours, sockets, events, now)?;
        Ok(Task::new(underlay, inlet, self.outlet, self.inbox))
    }
}

fn interface(config: &TunnelConfig, state: &InterfaceSender) -> Result<Interface, TunnelError> {
    Interface::create(config, state).map_err(|source| no_interface(config, source))
}

fn outlet(interface: &Interface, config: &TunnelConfig) -> Result<Outlet, TunnelError> {
    let outlet = interface.outlet();
    outlet.map_err(|source| no_interface(config, source))
}

fn no_interface(config: &TunnelConfig, source: io::Error) -> TunnelError {
    TunnelError::Interface {
        name: config.interface.clone(),
        source,
    }
}

/// Runs a shard on a thread and a runtime of its own; returns when it has been made there.
fn spawn(
    name: String,
    make: impl FnOnce() -> Result<Task, TunnelError> + Send + 'static,
) -> Result<(), TunnelError> {
    let (started, ready) = sync_channel(1);
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(TunnelError::Thread(error)));
                return;
            }
        };
        runtime.block_on(async move {
            let (task, outcome) = match make() {
                Ok(task) => (Some(task), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // Whoever started us waits for this.
            let _ = started.send(outcome);
            if let Some(task) = task {
                task.run().await;
            }
        });
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(work)
        .map_err(TunnelError::Thread)?;
    ready.recv().unwrap_or(Err(TunnelError::Stopped))
}
