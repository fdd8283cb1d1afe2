//! Where a peer may be, and where its next datagram goes. It proves nothing: it is told by which paths genuine packets came.

use std::net::SocketAddr;

use crate::path::Path;

#[derive(Default)]
pub(crate) struct Route {
    /// Where the last authenticated packet came from.
    proven: Option<Path>,
    /// Addresses that were configured, best first.
    endpoints: Vec<SocketAddr>,
}

impl Route {
    pub(super) fn new(endpoints: Vec<SocketAddr>) -> Self {
        Self {
            proven: None,
            endpoints,
        }
    }

    pub(super) fn set_endpoints(&mut self, endpoints: Vec<SocketAddr>) {
        self.endpoints = endpoints;
    }

    /// A genuine packet came by this path. True if the one before came by another.
    pub(super) fn heard(&mut self, path: Path) -> bool {
        self.proven.replace(path) != Some(path)
    }

    /// The path that a genuine packet last came by.
    pub(super) fn proven(&self) -> Option<Path> {
        self.proven
    }

    /// Whether there is any path to try.
    pub(super) fn known(&self) -> bool {
        self.targets().next().is_some()
    }

    /// Whether this address is where we believe, or were told, that the peer is.
    pub(super) fn may_be_at(&self, remote: SocketAddr) -> bool {
        self.targets().any(|path| path.remote() == Some(remote))
    }

    /// Where the peer may be: the proven path first, then the candidates.
    pub(super) fn targets(&self) -> impl Iterator<Item = Path> + '_ {
        let proven = self.proven.and_then(|path| path.remote());
        let candidates = self.endpoints.iter().copied();
        let candidates = candidates.filter(move |remote| Some(*remote) != proven);
        self.proven.into_iter().chain(candidates.map(Path::udp))
    }
}
