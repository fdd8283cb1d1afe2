//! The event loop of a shard, on a thread of its own: TUN device on one side, sockets and other shards on the other. It owns all
//! state of its part of the tunnel, and takes batches from each side until there are none, so that small packets leave
//! together, too.

use std::io;
use std::net::IpAddr;
use std::time::Instant as Time;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::interface::{Interface, Outlet};
use super::{Command, CutSignal, Opener, nowhere};
use crate::device::Device;
use crate::offload::buffer::{Buffer, Pool};
use crate::offload::join::Arrival;
use crate::status::{StackCounters, TunnelStats};
use crate::underlay::{Request, Underlay};
use crate::watched::Watched;

/// One shard; mostly the only one of its tunnel.
pub(super) struct Task {
    underlay: Underlay,
    /// The reading side of the interface. Only the first shard has it: one reader keeps the order of every flow.
    inlet: Option<Interface>,
    outlet: Outlet,
    /// Addresses to which there are, or were, connections.
    watched: Watched,
    counters: StackCounters,
    packet: Buffer,
    /// The last to go: when it is closed, nothing is left of the shard.
    inbox: mpsc::Receiver<Command>,
}

impl Task {
    pub(super) fn new(
        underlay: Underlay,
        inlet: Option<Interface>,
        outlet: Outlet,
        inbox: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            underlay,
            inlet,
            outlet,
            watched: Watched::default(),
            counters: StackCounters::default(),
            packet: Pool::default().large(),
            inbox,
        }
    }

    pub(super) async fn run(mut self) {
        let asked_by = loop {
            if self.underlay.has_ended() {
                break None;
            }
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
                () = readable(&self.inlet), if self.underlay.is_shard() || !self.underlay.blocked() => {}
                heard = disturbed(&self.inlet) => if let Err(error) = heard.and_then(|()| self.mend()) {
                    tracing::error!(%error, "the interface was taken away; the tunnel ends");
                    break None;
                },
                () = self.underlay.wait() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        };
        self.watched.cut(|_| true);
        drop(self);
        if let Some(reply) = asked_by {
            let _ = reply.send(());
        }
    }

    fn mend(&mut self) -> io::Result<()> {
        self.inlet.as_mut().map_or(Ok(()), Interface::mend)
    }

    /// Moves packets both ways until there are none, or for a while. True if there is more to do.
    fn pump(&mut self) -> io::Result<bool> {
        for _ in 0..PUMP_ROUNDS {
            let received = self.receive();
            while let Some(arrival) = self.underlay.device.poll_packet() {
                let device = &mut self.underlay.device;
                deliver(arrival, device, &self.outlet, &mut self.counters);
            }
            let read = self.read()?;
            self.underlay.work(Time::now());
            if !received && !read {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// From the sockets and other shards, by way of the device, to the kernel. False if there was nothing.
    fn receive(&mut self) -> bool {
        let (outlet, counters) = (&self.outlet, &mut self.counters);
        let mut deliver_full = |device: &mut Device| {
            while let Some(arrival) = device.poll_full_packet() {
                deliver(arrival, device, outlet, counters);
            }
        };
        let received = self.underlay.receive(&mut deliver_full);
        self.underlay.take(&mut deliver_full) || received
    }

    /// From the kernel to the device of the peer's shard. False if there was nothing.
    fn read(&mut self) -> io::Result<bool> {
        let Some(inlet) = &self.inlet else {
            return Ok(false);
        };
        let now = Time::now();
        let mut total_bytes = 0;
        for number in 0..READ_PACKETS {
            // With others to read for, our own packets find their queue full instead.
            if self.underlay.blocked() && !self.underlay.is_shard() {
                return Ok(number > 0);
            }
            let room = self.packet.capacity() - SPARE_BYTES;
            let Some((bytes, work)) = inlet.read(&mut self.packet.room()[..room])? else {
                return Ok(number > 0);
            };
            match self.underlay.other_shard(self.packet.peek(0..bytes)) {
                Some(shard) => self
                    .underlay
                    .hand_over(shard, &mut self.packet, bytes, work),
                None => {
                    let device = &mut self.underlay.device;
                    device.handle_super_packet(self.packet.room(), bytes, work, now);
                    self.underlay.transmit_full();
                }
            }
            total_bytes += bytes;
            if total_bytes >= READ_BYTES {
                break;
            }
        }
        Ok(true)
    }

    fn handle(&mut self, command: Command) {
        let now = Time::now();
        match command {
            Command::Device(request) => {
                let remotes = match request {
                    Request::ChangePeers(..) => self.watched.remotes(),
                    _ => Vec::new(),
                };
                let gone = self.underlay.handle(request, &remotes, now);
                if !gone.is_empty() {
                    self.watched.cut(|remote| gone.contains(&remote));
                }
            }
            Command::Watch(remote, opener, reply) => {
                let _ = reply.send(self.watch(remote, opener));
            }
            Command::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            // Taken by the loop.
            Command::Shutdown(_) => {}
        }
    }

    fn watch(&mut self, remote: IpAddr, opener: Opener) -> io::Result<CutSignal> {
        let device = &self.underlay.device;
        if device.owner(remote).is_none() {
            return Err(io::Error::new(
                io::ErrorKind::NetworkUnreachable,
                "no peer owns this overlay address",
            ));
        }
        if opener == Opener::We && !device.is_foreign(remote) && !device.reachable(remote) {
            return Err(nowhere());
        }
        self.watched.signal(remote)
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

/// Completes when there is something to read, the end perhaps: what is wrong shows when it is read.
async fn readable(inlet: &Option<Interface>) {
    match inlet {
        Some(inlet) => {
            let _ = inlet.readable().await;
        }
        None => std::future::pending().await,
    }
}

/// Completes when somebody may have changed the interface.
async fn disturbed(inlet: &Option<Interface>) -> io::Result<()> {
    match inlet {
        Some(inlet) => inlet.disturbed().await,
        None => std::future::pending().await,
    }
}

fn deliver(arrival: Arrival, device: &mut Device, outlet: &Outlet, counters: &mut StackCounters) {
    if !outlet.write(&arrival) {
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
