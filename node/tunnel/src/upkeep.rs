//! Sees to it that an interface of ours stays as it was made: up, and with its addresses and their routes. It hears of changes instead
//! of asking for them, so it costs nothing while nobody makes any; and it never touches another interface.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, SockProtocol, recv};
use tokio::sync::watch;

use crate::netlink::{HEADER_BYTES, Netlink, address, array, link, listen, route};
use crate::status::InterfaceState;

/// One interface. Both of its sockets are opened with it: there may be no descriptor later.
pub(crate) struct Upkeep {
    name: String,
    index: u32,
    addresses: Vec<IpNet>,
    netlink: Netlink,
    /// Hears of links, addresses and routes. It never blocks.
    news: OwnedFd,
    heard: [u8; HEARD_BYTES],
    /// Somebody may have changed the interface, or it could not be mended.
    is_suspect: bool,
    /// No look before: somebody who undoes our work must not keep the machine busy.
    next_look: Option<Instant>,
    state: watch::Sender<InterfaceState>,
}

impl Upkeep {
    /// Has an interface up, with these addresses, from now on.
    ///
    /// # Errors
    /// There is no interface of this name, or the kernel refuses what it is to have.
    pub(crate) fn start(
        name: &str,
        addresses: &[IpNet],
        state: watch::Sender<InterfaceState>,
    ) -> io::Result<Self> {
        let mut upkeep = Self::open(name, if_nametoindex(name)?, addresses, state)?;
        upkeep.set()?;
        Ok(upkeep)
    }

    /// One that is not touched until somebody changes it.
    #[cfg(test)]
    pub(crate) fn untouched(name: &str, index: u32, addresses: &[IpNet]) -> io::Result<Self> {
        let (state, _) = watch::channel(InterfaceState::default());
        Self::open(name, index, addresses, state)
    }

    fn open(
        name: &str,
        index: u32,
        addresses: &[IpNet],
        state: watch::Sender<InterfaceState>,
    ) -> io::Result<Self> {
        Ok(Self {
            name: name.into(),
            index,
            addresses: addresses.into(),
            news: listen(SockProtocol::NetlinkRoute, &GROUPS)?,
            netlink: Netlink::open(SockProtocol::NetlinkRoute)?,
            heard: [0; HEARD_BYTES],
            is_suspect: false,
            next_look: None,
            state,
        })
    }

    /// When it is to be looked at though nothing more is heard.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// Sets again what somebody has changed since the last time.
    ///
    /// # Errors
    /// There is no such interface any more. What else fails is tried again, and said in the state.
    pub(crate) fn mend(&mut self, now: Instant) -> io::Result<()> {
        self.is_suspect |= self.has_news();
        if self.next_look.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.next_look = None;
        if !self.is_suspect {
            return Ok(());
        }
        self.next_look = Some(now + LOOK_PAUSE);
        let mended = match self.is_whole() {
            Ok(true) => self.set_routes(),
            Ok(false) => self.set().and_then(|()| self.set_routes()).map(|_| true),
            Err(error) => Err(error),
        };
        self.is_suspect = mended.is_err();
        match mended {
            Err(error) if is_absent(&error) => return Err(error),
            mended => self.note(mended),
        }
        Ok(())
    }

    /// Notes how a look ended: whether something had to be mended, or what could not be.
    fn note(&self, mended: io::Result<bool>) {
        let interface = self.name.as_str();
        self.state.send_if_modified(|state| {
            let before = state.clone();
            state.trouble = mended.as_ref().err().map(ToString::to_string);
            match mended {
                Ok(true) => {
                    tracing::warn!(interface, "somebody changed the interface; it is set again");
                    state.mended += 1;
                }
                Err(error) if state.trouble != before.trouble => {
                    tracing::error!(%error, interface, "somebody changed the interface, and it can't be set again yet");
                }
                Ok(false) | Err(_) => {}
            }
            *state != before
        });
    }

    /// Sets all that it is to have.
    pub(crate) fn set(&mut self) -> io::Result<()> {
        let (netlink, name) = (&mut self.netlink, self.name.as_str());
        link::set_up(netlink, self.index, true)?;
        let refused = address::give(netlink, name, self.index, &self.addresses)?;
        self.state.send_if_modified(|state| {
            let is_new = state.ipv4_only != refused;
            if let Some(why) = refused.as_ref().filter(|_| is_new) {
                tracing::warn!(why, interface = %name, "the overlay has no IPv6 on this machine; IPv4 goes on");
            }
            state.ipv4_only.clone_from(&refused);
            is_new
        });
        Ok(())
    }

    /// Whether a route was missing.
    fn set_routes(&mut self) -> io::Result<bool> {
        let ipv4_only = self.state.borrow().ipv4_only.is_some();
        let mut was_missing = false;
        for address in &self.addresses {
            if address.addr().is_ipv4() || !ipv4_only {
                was_missing |= route::give(&mut self.netlink, self.index, *address)?;
            }
        }
        Ok(was_missing)
    }

    fn is_whole(&mut self) -> io::Result<bool> {
        let seen = link::look(&mut self.netlink, self.index)?;
        if seen.name != self.name {
            // Filter, guard and sockets know it by its name.
            tracing::error!(interface = %self.name, name = %seen.name, "the interface has another name now");
            return Err(Errno::ENODEV.into());
        }
        let present = address::list(&mut self.netlink, self.index)?;
        let ipv4_only = self.state.borrow().ipv4_only.is_some();
        let mut wanted = self.addresses.iter();
        Ok(seen.is_up && wanted.all(|it| present.contains(it) || ipv4_only && it.addr().is_ipv6()))
    }

    /// Whether something was told of our interface, or so much of others that it may have been.
    fn has_news(&mut self) -> bool {
        let mut is_ours = false;
        loop {
            match recv(
                self.news.as_raw_fd(),
                &mut self.heard,
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(length) => is_ours |= self.concerns(&self.heard[..length]),
                Err(Errno::EAGAIN) => return is_ours,
                Err(Errno::EINTR) => {}
                // More was told than the socket could hold.
                Err(Errno::ENOBUFS) => is_ours = true,
                Err(_) => return true,
            }
        }
    }

    /// Whether a message is of our interface, or of a route to one of its networks.
    fn concerns(&self, told: &[u8]) -> bool {
        match array(told, KIND_AT).map(u16::from_ne_bytes) {
            Some(route::RTM_NEWROUTE | route::RTM_DELROUTE) => {
                let network = told.get(HEADER_BYTES..).and_then(route::destination);
                let mut own = self.addresses.iter();
                network.is_some_and(|network| own.any(|it| it.trunc() == network))
            }
            _ => array(told, INDEX_AT).map(u32::from_ne_bytes) == Some(self.index),
        }
    }
}

impl AsRawFd for Upkeep {
    /// Readable when there is news.
    fn as_raw_fd(&self) -> RawFd {
        self.news.as_raw_fd()
    }
}

/// Whether an interface is not there, by what the kernel answered.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::ENODEV | Errno::ENXIO))
}

/// RTNLGRP_LINK, and RTNLGRP_IPV4_ and RTNLGRP_IPV6_ with IFADDR and ROUTE, of linux/rtnetlink.h.
const GROUPS: [u32; 5] = [1, 5, 9, 7, 11];
const KIND_AT: usize = 4;
/// Messages of links and of addresses have the interface's index at the same place, behind four bytes that differ.
const INDEX_AT: usize = HEADER_BYTES + 4;
/// What is told comes one by one, and begins with what it is about, a route's table and network at most; the rest is not read.
const HEARD_BYTES: usize = 64;
const LOOK_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
