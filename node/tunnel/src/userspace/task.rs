//! The event loop of the engine, on a thread of its own: TUN device on one side, sockets on the other. It owns all state of
//! the tunnel, and takes batches from each side until there are none, so that small packets leave together, too.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Instant as Time;

use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::interface::Interface;
use super::{Command, CutSignal};
use crate::config::TunnelConfig;
use crate::device::Device;
use crate::error::TunnelError;
use crate::offload::buffer::LARGE_BYTES;
use crate::offload::join::Arrival;
use crate::status::{StackCounters, TunnelEvent, TunnelStats};
use crate::underlay::{Request, Underlay};

/// Starts the thread, and returns when sockets and interface are there.
pub(super) fn start(
    config: TunnelConfig,
    inbox: mpsc::Receiver<Command>,
    events: broadcast::Sender<TunnelEvent>,
) -> Result<(), TunnelError> {
    let (started, ready) = std::sync::mpsc::sync_channel(1);
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
            let task = Task::create(&config, inbox, events);
            let (task, outcome) = match task {
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
        .name("malha-tunnel".into())
        .spawn(work)
        .map_err(TunnelError::Thread)?;
    ready.recv().unwrap_or(Err(TunnelError::Stopped))
}

struct Task {
    underlay: Underlay,
    interface: Interface,
    inbox: mpsc::Receiver<Command>,
    /// Addresses to which there are, or were, connections.
    watched: HashMap<IpAddr, Weak<CancellationToken>>,
    counters: StackCounters,
    packet: Vec<u8>,
}

impl Task {
    fn create(
        config: &TunnelConfig,
        inbox: mpsc::Receiver<Command>,
        events: broadcast::Sender<TunnelEvent>,
    ) -> Result<Self, TunnelError> {
        let mut underlay = Underlay::start(config, events, Time::now())?;
        let interface = Interface::create(config).map_err(|source| TunnelError::Interface {
            name: config.interface.clone(),
            source,
        })?;
        underlay.device.set_joins(interface.joins());
        Ok(Self {
            underlay,
            interface,
            inbox,
            watched: HashMap::new(),
            counters: StackCounters::default(),
            packet: vec![0; LARGE_BYTES],
        })
    }

    async fn run(mut self) {
        let asked_by = loop {
            let more = match self.pump() {
                Ok(more) => more,
                Err(error) => {
                    tracing::error!(%error, "the interface was taken away; the tunnel ends");
                    break None;
                }
            };
            let wake_at = match more {
                true => Some(Instant::now()),
                false => self.underlay.poll_timeout().map(Instant::from_std),
            };
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(Command::Shutdown(reply)) => break Some(reply),
                    Some(command) => self.handle(command),
                    None => break None,
                },
                // What is wrong with it shows when it is read.
                _ = self.interface.readable(), if !self.underlay.blocked() => {}
                () = self.underlay.ready() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        };
        for signal in self.watched.values().filter_map(Weak::upgrade) {
            signal.cancel();
        }
        drop(self);
        if let Some(reply) = asked_by {
            let _ = reply.send(());
        }
    }

    /// Moves packets both ways until there are none, or for a while. True if there is more to do.
    fn pump(&mut self) -> io::Result<bool> {
        for _ in 0..PUMP_ROUNDS {
            let received = self.receive();
            while let Some(arrival) = self.underlay.device.poll_packet() {
                let device = &mut self.underlay.device;
                deliver(arrival, device, &self.interface, &mut self.counters);
            }
            let read = !self.underlay.blocked() && self.read()?;
            self.underlay.work(Time::now());
            if !received && !read {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// From the sockets, by way of the device, to the kernel. False if there was nothing.
    fn receive(&mut self) -> bool {
        let (interface, counters) = (&self.interface, &mut self.counters);
        self.underlay.receive(|device| {
            while let Some(arrival) = device.poll_full_packet() {
                deliver(arrival, device, interface, counters);
            }
        })
    }

    /// From the kernel to the device. False if there was nothing.
    fn read(&mut self) -> io::Result<bool> {
        let now = Time::now();
        let mut total_bytes = 0;
        for number in 0..READ_PACKETS {
            let room = self.packet.len() - SPARE_BYTES;
            let Some((bytes, work)) = self.interface.read(&mut self.packet[..room])? else {
                return Ok(number > 0);
            };
            let device = &mut self.underlay.device;
            device.handle_super_packet(&mut self.packet, bytes, work, now);
            self.underlay.transmit_full();
            total_bytes += bytes;
            if total_bytes >= READ_BYTES || self.underlay.blocked() {
                break;
            }
        }
        Ok(true)
    }

    fn handle(&mut self, command: Command) {
        let now = Time::now();
        match command {
            Command::Device(request) => {
                let remotes: Vec<_> = match request {
                    Request::SetPeer(..) | Request::RemovePeer(..) => {
                        self.watched.keys().copied().collect()
                    }
                    _ => Vec::new(),
                };
                for gone in self.underlay.handle(request, &remotes, now) {
                    if let Some(signal) = self.watched.remove(&gone).and_then(|weak| weak.upgrade())
                    {
                        signal.cancel();
                    }
                }
            }
            Command::Watch(remote, reply) => {
                let _ = reply.send(self.watch(remote));
            }
            Command::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            // Taken by the loop.
            Command::Shutdown(_) => {}
        }
    }

    fn watch(&mut self, remote: IpAddr) -> io::Result<CutSignal> {
        if self.underlay.device.owner(remote).is_none() {
            return Err(io::Error::new(
                io::ErrorKind::NetworkUnreachable,
                "no peer owns this overlay address",
            ));
        }
        if !self.underlay.device.reachable(remote) {
            return Err(io::Error::new(
                io::ErrorKind::HostUnreachable,
                "nobody knows where the peer of this overlay address is",
            ));
        }
        if let Some(signal) = self.watched.get(&remote).and_then(Weak::upgrade) {
            return Ok(signal);
        }
        if self.watched.len() >= MAX_WATCHED {
            self.watched.retain(|_, signal| signal.strong_count() > 0);
        }
        if self.watched.len() >= MAX_WATCHED {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "connections to too many addresses",
            ));
        }
        let signal = CutSignal::default();
        self.watched.insert(remote, Arc::downgrade(&signal));
        Ok(signal)
    }

    fn stats(&self) -> TunnelStats {
        TunnelStats {
            device: self.underlay.device.counters(),
            filter: self.underlay.device.filter_counters(),
            relay: self.underlay.device.relay_counters(),
            underlay: self.underlay.counters(),
            stack: self.counters,
        }
    }
}

fn deliver(
    arrival: Arrival,
    device: &mut Device,
    interface: &Interface,
    counters: &mut StackCounters,
) {
    if !interface.write(&arrival) {
        counters.packets_dropped += 1;
    }
    device.recycle_packet(arrival);
}

/// Rounds before the loop looks at its inbox again.
const PUMP_ROUNDS: usize = 16;
/// Packets, and bytes of super-packets, read from the interface before they are sent.
const READ_PACKETS: usize = 128;
const READ_BYTES: usize = 512 * 1024;
/// Room that the device wants behind a packet.
const SPARE_BYTES: usize = 64;
const MAX_WATCHED: usize = 65_536;
