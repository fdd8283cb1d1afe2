//! The TUN device: super-packets in and out where the kernel can, single packets where it can't. It is gone when dropped, unless
//! it is kept for the next start, and nothing else of the host is touched.

mod kept;
mod link;

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use nix::sys::uio::{readv, writev};
use nix::unistd::read;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::config::TunnelConfig;
use crate::keeper::Keeper;
use crate::offload::join::{Arrival, Joins};
use crate::offload::vnet::{HEADER_BYTES, Work};
use crate::status::InterfaceState;
use crate::upkeep::Upkeep;
use crate::wire::super_packet_bytes;

/// The side that reads, and makes the device. One per tunnel: several readers would take the packets of a flow in an order of
/// their own.
pub(super) struct Interface {
    device: AsyncFd<OwnedFd>,
    upkeep: AsyncFd<Upkeep>,
    /// Whether packets come with a header that says what is left to do to them.
    offload: bool,
    joins: Joins,
}

/// What the kernel does for a device, for as long as there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ability {
    Packets,
    TcpSuperPackets,
    AllSuperPackets,
}

/// The side that writes. One per shard.
pub(super) struct Outlet {
    device: OwnedFd,
    offload: bool,
}

/// Gives up the device that the last run left to its keeper: another engine wants the name.
pub(super) fn give_up(config: &TunnelConfig) {
    kept::give_up(config);
}

/// Whether a device of this name stays when this process has closed it.
pub(super) fn is_kept(keeper: &dyn Keeper, interface: &str) -> bool {
    kept::holds(keeper, interface)
}

/// Blocks until there is no interface of this name, but not for longer than somebody who closes a descriptor of it takes.
pub(super) fn await_end(interface: &str) {
    let end = Instant::now() + LONGEST_END;
    while if_nametoindex(interface).is_ok() && Instant::now() < end {
        sleep(LOOK_INTERVAL);
    }
}

impl Interface {
    /// Must be called within a runtime.
    pub(super) fn create(
        config: &TunnelConfig,
        state: &watch::Sender<InterfaceState>,
    ) -> io::Result<Self> {
        let upkeep = || Upkeep::start(&config.interface, &config.addresses, state.clone());
        let (device, ability, upkeep) = match kept::take(config, upkeep) {
            Some(kept) => kept,
            None => {
                let (device, ability) = make(config)?;
                let upkeep = upkeep()?;
                kept::keep(config, ability, &device);
                (device, ability, upkeep)
            }
        };
        let offload = ability != Ability::Packets;
        let whole_udp = ability == Ability::AllSuperPackets;
        #[allow(deprecated, reason = "nobody else can close an owned descriptor")]
        let (device, upkeep) = (
            AsyncFd::with_interest(device, Interest::READABLE)?,
            AsyncFd::with_interest(upkeep, Interest::READABLE)?,
        );
        Ok(Self {
            device,
            upkeep,
            offload,
            joins: Joins {
                tcp: offload,
                udp: whole_udp && config.offload.tun_udp,
            },
        })
    }

    /// What may be written.
    pub(super) fn joins(&self) -> Joins {
        self.joins
    }

    /// Completes when there is something to read, the end perhaps.
    pub(super) async fn readable(&self) -> io::Result<()> {
        // Readiness stays noted until a read finds nothing.
        self.device.readable().await.map(|_| ())
    }

    /// Reads the next packet to the start of `buffer`: its length, and what is left to do to it. `None` if there is none now.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Work)>> {
        let mut header = [0; HEADER_BYTES];
        let read = self
            .device
            .try_io(Interest::READABLE, |device| match self.offload {
                true => {
                    let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
                    Ok(readv(device, &mut parts)?)
                }
                false => Ok(read(device, buffer)? + HEADER_BYTES),
            });
        match read {
            Ok(bytes) => {
                let work = Work::parse(&header);
                // What can't be understood is no packet: of length 0, nobody owns its destination.
                let bytes = work.map_or(0, |_| bytes.saturating_sub(HEADER_BYTES));
                Ok(Some((bytes, work.unwrap_or_default())))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Completes when somebody may have changed the interface, and it may be looked at. Cancel safe.
    pub(super) async fn disturbed(&self) -> io::Result<()> {
        match self.upkeep.get_ref().next_look() {
            Some(at) => sleep_until(at.into()).await,
            // What was told stays noted until it is mended.
            None => self.upkeep.readable().await?.clear_ready(),
        }
        Ok(())
    }

    /// Sets again what somebody has changed of the interface.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn mend(&mut self) -> io::Result<()> {
        self.upkeep.get_mut().mend(Instant::now())
    }

    /// One more way to write.
    pub(super) fn outlet(&self) -> io::Result<Outlet> {
        Ok(Outlet {
            device: self.device.get_ref().try_clone()?,
            offload: self.offload,
        })
    }
}

impl Outlet {
    /// False if the kernel did not take it.
    pub(super) fn write(&self, arrival: &Arrival) -> bool {
        let packet = IoSlice::new(&arrival.packet);
        let written = match self.offload {
            true => {
                let header = arrival.work.header(&arrival.packet);
                writev(&self.device, &[IoSlice::new(&header), packet])
            }
            false => writev(&self.device, &[packet]),
        };
        written.is_ok()
    }
}

/// Makes a device; its IPv6 addresses are somebody else's.
fn make(config: &TunnelConfig) -> io::Result<(OwnedFd, Ability)> {
    let wanted = config.offload.tun_tcp;
    let (device, offload) = match build(config, wanted) {
        Err(error) if wanted => {
            tracing::warn!(%error, "no offload on the TUN device, trying without");
            (build(config, false)?, false)
        }
        built => (built?, wanted),
    };
    // A longer queue loses fewer packets of a burst, and shorter super-packets fit one call each: both only help.
    if let Err(error) = device.set_tx_queue_len(QUEUE_PACKETS) {
        tracing::debug!(%error, "the interface keeps its queue length");
    }
    if offload {
        let longest = super_packet_bytes(config.mtu_bytes);
        if let Err(error) = link::set_super_packet_limit(device.if_index()?, longest) {
            tracing::debug!(%error, "the interface keeps its limit of super-packets");
        }
    }
    let ability = match (offload, device.udp_gso()) {
        (false, _) => Ability::Packets,
        (true, false) => Ability::TcpSuperPackets,
        (true, true) => Ability::AllSuperPackets,
    };
    device.set_nonblocking(true)?;
    Ok((device.as_fd().try_clone_to_owned()?, ability))
}

fn build(config: &TunnelConfig, offload: bool) -> io::Result<SyncDevice> {
    let mtu = u16::try_from(config.mtu_bytes).map_err(io::Error::other)?;
    let mut builder = DeviceBuilder::new()
        .name(&config.interface)
        .mtu(mtu)
        .offload(offload);
    let mut v4 = config.addresses.iter().filter_map(|net| match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    });
    if let Some(net) = v4.next() {
        builder = builder.ipv4(net.addr(), net.prefix_len(), None);
    }
    let device = builder.build_sync()?;
    for net in v4 {
        device.add_address_v4(net.addr(), net.prefix_len())?;
    }
    Ok(device)
}

/// The kernel's default is 500.
const QUEUE_PACKETS: u32 = 1000;
const LONGEST_END: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
