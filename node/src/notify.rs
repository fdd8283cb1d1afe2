//! Telling systemd how the service is doing (sd_notify(3)): one datagram per message, nothing when there is no one to tell.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

/// The way to the service supervisor.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`.
    #[must_use]
    pub fn from_env() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET");
        Self::to(name.as_deref())
    }

    /// Who listens at this address; an abstract one begins with `@`.
    pub(crate) fn to(name: Option<&OsStr>) -> Self {
        let socket = name.and_then(|name| {
            let address = match name.as_bytes().split_first()? {
                (b'@', name) => SocketAddr::from_abstract_name(name).ok()?,
                _ => SocketAddr::from_pathname(name).ok()?,
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        Self { socket }
    }

    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// To be told more often than the unit's `WatchdogSec=`.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Whether there is anyone to tell.
    pub(crate) fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// A message with a descriptor, of which the supervisor gets one of its own.
    pub(crate) fn hand_over(&self, message: &str, descriptor: RawFd) -> io::Result<()> {
        let (socket, address) = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let address = match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => UnixAddr::new(path)?,
            (None, Some(name)) => UnixAddr::new_abstract(name)?,
            (None, None) => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        let parts = [io::IoSlice::new(message.as_bytes())];
        let rights = [descriptor];
        let control = [ControlMessage::ScmRights(&rights)];
        let (socket, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        sendmsg(socket, &parts, &control, flags, Some(&address))?;
        Ok(())
    }

    pub(crate) fn tell(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            // A supervisor that does not listen is its own trouble.
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}
