//! One socket with many addresses: datagrams from any address of a large block that is routed to the near machine, since a
//! tunnel limits handshakes by the prefix that they come from.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

use super::wire::{Side, Wire};

/// A socket on the near machine.
pub(super) struct Block {
    socket: UdpSocket,
    to: SocketAddrV4,
}

impl Block {
    /// Gives the block to the near machine. It is needed once per wire; again it changes nothing.
    pub(super) fn route(wire: &Wire) -> Result<()> {
        wire.namespace(Side::Near)
            .ip(&format!("route replace local {BLOCK} dev lo"))?;
        let via = Side::Near.underlay();
        wire.namespace(Side::Far)
            .ip(&format!("route replace {BLOCK} via {via}"))
    }

    pub(super) fn open(to: SocketAddr) -> Result<Self> {
        let SocketAddr::V4(to) = to else {
            bail!("{to}: the block is IPv4");
        };
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER_BYTES)?;
        Ok(Self { socket, to })
    }

    /// Sends from the address with this number; each is in a prefix (/24) of its own.
    pub(super) fn send(&self, from: usize, datagram: &[u8]) -> Result<()> {
        let source = u32::from(FIRST) + (from as u32 % PREFIXES) * ADDRESSES_PER_PREFIX;
        let info = in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr {
                s_addr: source.to_be(),
            },
            ipi_addr: in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(self.to);
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(datagram)],
            &[ControlMessage::Ipv4PacketInfo(&info)],
            MsgFlags::empty(),
            Some(&to),
        )?;
        Ok(())
    }

    /// The next answer, to any of the addresses; none if there is none in time.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8], limit: Duration) -> Option<&'a [u8]> {
        // Zero would mean forever.
        let limit = limit.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(limit)).ok()?;
        let bytes = self.socket.recv(buffer).ok()?;
        Some(&buffer[..bytes])
    }
}

const BLOCK: &str = "10.128.0.0/9";
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 1);
const PREFIXES: u32 = 1 << 15;
const ADDRESSES_PER_PREFIX: u32 = 256;
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
