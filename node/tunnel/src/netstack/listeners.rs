//! Who takes the connections that come: the backlogs of the addresses on which there are listeners. It makes no connection.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::sync::mpsc;

use super::ports::free_port;
use crate::listener::{Accepted, TunnelListener};

#[derive(Default)]
pub(crate) struct Listeners(HashMap<SocketAddr, mpsc::Sender<Accepted>>);

impl Listeners {
    /// Listens on one of the `own` addresses, or on all of them.
    pub(crate) fn open(
        &mut self,
        address: SocketAddr,
        own: &[IpAddr],
    ) -> io::Result<TunnelListener> {
        self.forget_closed();
        let every = address.ip().is_unspecified();
        let ips = own.iter().copied();
        let ips: Vec<_> = ips.filter(|ip| every || *ip == address.ip()).collect();
        if ips.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let is_free = |port| {
            ips.iter()
                .all(|ip| !self.0.contains_key(&(*ip, port).into()))
        };
        let port = match address.port() {
            0 => free_port(is_free)?,
            port if is_free(port) => port,
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        };
        let addresses: Vec<SocketAddr> = ips.iter().map(|ip| (*ip, port).into()).collect();
        let (sender, accepted) = mpsc::channel(BACKLOG);
        for address in &addresses {
            self.0.insert(*address, sender.clone());
        }
        Ok(TunnelListener::netstack(accepted, addresses))
    }

    /// The backlog of whoever listens there.
    pub(crate) fn at(&mut self, local: SocketAddr) -> Option<&mpsc::Sender<Accepted>> {
        if self.0.get(&local)?.is_closed() {
            self.forget_closed();
        }
        self.0.get(&local)
    }

    /// Closes all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// With the last sender what came into a backlog just as it closed goes, too.
    fn forget_closed(&mut self) {
        self.0.retain(|_, listener| !listener.is_closed());
    }
}

/// Connections of a listener that are opening or not yet accepted.
pub(super) const BACKLOG: usize = 1024;
