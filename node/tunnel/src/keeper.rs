//! The door to whoever keeps descriptors over a restart of this program: listening sockets, so that nobody who comes meanwhile is
//! refused, and the TUN device, so that the machine's routes and connections stay. What is kept is only of use as it was.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Keeps descriptors by name: at most 255 printable characters without a colon.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// What is kept under this name, by the last run perhaps. It stays kept.
    fn take(&self, name: &str) -> Option<OwnedFd>;

    /// Keeps one more descriptor of this, if that is possible.
    fn keep(&self, name: &str, descriptor: BorrowedFd<'_>);

    /// Closes it.
    fn forget(&self, name: &str);

    /// Until when something that was forgotten may still be open.
    fn freed_at(&self) -> Instant;

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

/// The name for a bound UDP socket.
#[must_use]
pub fn datagrams_name(owner: &str, address: SocketAddr) -> String {
    plain(&format!("udp {owner} {address}"))
}

/// What is kept under this name, if it is right; else a new one, which is kept from now on.
///
/// # Errors
/// Those of `open`.
pub fn kept_or_opened<T: From<OwnedFd> + AsFd>(
    keeper: &dyn Keeper,
    name: &str,
    is_right: impl FnOnce(&T) -> bool,
    open: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if let Some(kept) = keeper.take(name).map(T::from).filter(is_right) {
        return Ok(kept);
    }
    keeper.forget(name);
    let opened = open()?;
    keeper.keep(name, opened.as_fd());
    Ok(opened)
}

/// Gives back what is kept under these names, and says until when it may still be in the way: whoever keeps a descriptor closes it a
/// moment after it has heard that nobody wants it. Where nothing is kept, nothing is in the way.
pub fn give_back(keeper: &dyn Keeper, names: &[String]) -> Instant {
    let mut kept = keeper.names();
    kept.retain(|name| names.contains(name));
    kept.iter().for_each(|name| keeper.forget(name));
    match kept.is_empty() {
        true => Instant::now(),
        false => Instant::now() + LONGEST_CLOSE,
    }
}

/// Opens an address that may be in use until then. Blocks, and looks again and again: nobody says when a descriptor is closed, since
/// systemd does that on the side, later than it answers `BARRIER=1` (sd_notify(3)).
///
/// # Errors
/// Those of `open`.
pub fn open_when_freed<T>(
    freed_at: Instant,
    mut open: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < freed_at => {
                sleep(LOOK_INTERVAL);
            }
            opened => return opened,
        }
    }
}

/// Opens an address that may be in use by what the keeper has been told to forget, a door of a moment ago that is wanted again. Waits
/// like [`open_when_freed`], and blocks nobody.
///
/// # Errors
/// Those of `open`.
pub async fn opened_when_freed<T>(
    keeper: Option<&Arc<dyn Keeper>>,
    mut open: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let began = Instant::now();
    loop {
        // An attempt that fails may forget something, too.
        let in_the_way = || keeper.is_some_and(|it| Instant::now() < it.freed_at());
        match open() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && began.elapsed() < LONGEST_CLOSE
                    && in_the_way() =>
            {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            opened => return opened,
        }
    }
}

/// Colons part names in the environment of the next start.
pub(crate) fn plain(name: &str) -> String {
    name.replace(':', "_")
}

/// From the word that something is not wanted any more until it is closed.
pub const LONGEST_CLOSE: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
