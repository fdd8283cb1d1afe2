//! The machine's TCP connections through the overlay that are older than the tunnel. The filter does not know which of them the
//! machine opened and refuses their answers, so they are ended; otherwise their programs would wait for minutes, or for ever. That of
//! the kernel engine may know some, of peers whose conntrack zone happens to be that of before, and they end, too.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use nix::sys::socket::SockProtocol;

use crate::config::{PeerConfig, Protocol};
use crate::netlink::Netlink;
use crate::netlink::connections::{Connection, end, list};

/// Those of peers that have not been set yet. Peers may be set by several callers at once.
pub(super) struct Leftovers(Mutex<Vec<Connection>>);

impl Leftovers {
    /// What there is while the tunnel has no peer.
    pub(super) fn of(own: &[IpAddr]) -> Self {
        let listed = Netlink::open(SockProtocol::NetlinkSockDiag)
            .and_then(|mut netlink| list(&mut netlink, own));
        if let Err(error) = &listed {
            tracing::warn!(%error, "connections from before the start can't be found; they stand still");
        }
        Self(Mutex::new(listed.unwrap_or_default()))
    }

    /// Ends those to a peer that has just been set, but for what it may open: that goes on, whoever did open it.
    pub(super) async fn end(&self, peer: &PeerConfig) {
        let lost = self.take_lost(peer);
        if !lost.is_empty() {
            // An error means that the runtime ends.
            let _ = tokio::task::spawn_blocking(move || end_all(&lost)).await;
        }
    }

    fn take_lost(&self, peer: &PeerConfig) -> Vec<Connection> {
        // An address within a wider prefix may be another peer's, who is set later.
        let is_peers =
            |it: &mut Connection| peer.allowed_ips.contains(&IpNet::from(it.remote.ip()));
        let goes_on = |it: &Connection| {
            let mut rules = peer.ingress.iter();
            rules.any(|rule| rule.covers(Protocol::Tcp, it.local.port()))
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.extract_if(.., is_peers);
        own.filter(|it| !goes_on(it)).collect()
    }
}

fn end_all(lost: &[Connection]) {
    let end_each = |mut netlink: Netlink| {
        let ended = lost.iter().map(|it| end(&mut netlink, it));
        ended.fold(Ok(()), io::Result::and)
    };
    match Netlink::open(SockProtocol::NetlinkSockDiag).and_then(end_each) {
        Ok(()) => {
            tracing::info!(
                count = lost.len(),
                "connections from before the start were ended"
            );
        }
        Err(error) => {
            tracing::warn!(%error, "connections from before the start can't be ended; they stand still");
        }
    }
}
