//! The door to whoever keeps descriptors over a restart of this program: listening sockets, so that nobody who comes meanwhile is
//! refused, and the TUN device, so that the machine's routes and connections stay. What is kept is only of use as it was.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Keeps descriptors by name: at most 255 printable characters without a colon.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// What is kept under this name, by the last run perhaps. It stays kept.
    fn take(&self, name: &str) -> Option<OwnedFd>;

    /// Keeps one more descriptor of this, if that is possible.
    fn keep(&self, name: &str, descriptor: BorrowedFd<'_>);

    /// Closes it.
    fn forget(&self, name: &str);

    /// From now on nothing is forgotten: who closes its doors does it because the process ends, and they are to be there at its next
    /// start.
    fn leave(&self);

    fn names(&self) -> Vec<String>;

    /// Forgets what the last run kept and nobody has taken.
    fn forget_unclaimed(&self);
}

/// The name for a listening TCP socket.
#[must_use]
pub fn listener_name(interface: &str, address: SocketAddr) -> String {
    plain(&format!("tcp {interface} {address}"))
}

/// Colons part names in the environment of the next start.
pub(crate) fn plain(name: &str) -> String {
    name.replace(':', "_")
}
