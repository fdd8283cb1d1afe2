//! Telling systemd how the service is doing (sd_notify(3)): one datagram per message, nothing when there is no one to tell.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

/// The way to the service supervisor.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// It took nothing for [`PATIENCE`], and is not waited for until it takes something.
    is_stuck: AtomicBool,
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
            socket.set_write_timeout(Some(PATIENCE)).ok()?;
            Some((socket, address))
        });
        Self {
            socket,
            is_stuck: AtomicBool::new(false),
        }
    }

    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// To be told more often than the unit's `WatchdogSec=`, so that one may be lost.
    pub fn alive(&self) {
        let _ = self.send("WATCHDOG=1", &[], MsgFlags::MSG_DONTWAIT);
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Whether there is anyone to tell.
    pub(crate) fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// A message with a descriptor, of which the supervisor gets one of its own.
    ///
    /// # Errors
    /// Nobody is there, or what is there takes nothing for half a second.
    pub(crate) fn hand_over(&self, message: &str, descriptor: RawFd) -> io::Result<()> {
        self.send_patiently(message, &[descriptor])
    }

    pub(crate) fn tell(&self, message: &str) {
        // A supervisor that does not listen is its own trouble.
        let _ = self.send_patiently(message, &[]);
    }

    /// A supervisor may be busy, and its queue short: 11 datagrams, unless the kernel was told otherwise.
    fn send_patiently(&self, message: &str, descriptors: &[RawFd]) -> io::Result<()> {
        let flags = match self.is_stuck.load(Ordering::Relaxed) {
            true => MsgFlags::MSG_DONTWAIT,
            false => MsgFlags::empty(),
        };
        // With a limit of time, the kernel does not begin again by itself what a signal has interrupted.
        let attempts = (0..MAX_ATTEMPTS).map(|_| self.send(message, descriptors, flags));
        let was_interrupted = |it: &io::Error| it.kind() == io::ErrorKind::Interrupted;
        let mut attempts = attempts.skip_while(|it| it.as_ref().is_err_and(was_interrupted));
        let sent = (attempts.next()).unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into()));
        let is_full = |it: &io::Error| it.kind() == io::ErrorKind::WouldBlock;
        let is_stuck = sent.as_ref().is_err_and(is_full);
        self.is_stuck.store(is_stuck, Ordering::Relaxed);
        sent
    }

    fn send(&self, message: &str, descriptors: &[RawFd], flags: MsgFlags) -> io::Result<()> {
        let (socket, address) = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let address = match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => UnixAddr::new(path)?,
            (None, Some(name)) => UnixAddr::new_abstract(name)?,
            (None, None) => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        let parts = [io::IoSlice::new(message.as_bytes())];
        let control = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() {
            &[]
        } else {
            &control[..]
        };
        sendmsg(socket.as_raw_fd(), &parts, control, flags, Some(&address))?;
        Ok(())
    }
}

/// With one attempt at a message.
const PATIENCE: Duration = Duration::from_millis(500);
/// At one message, as long as signals come.
const MAX_ATTEMPTS: usize = 8;

#[cfg(test)]
mod tests {
    use std::os::unix::thread::JoinHandleExt;
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use nix::sys::pthread::pthread_kill;
    use nix::sys::signal::Signal;
    use nix::unistd::{Pid, gettid};
    use tokio::signal::unix::{SignalKind, signal};

    use super::*;

    /// Whether a thread of ours waits in the kernel.
    fn is_asleep(thread: Pid) -> bool {
        let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        let (_, behind_its_name) = status.rsplit_once(')').unwrap();
        behind_its_name.starts_with(" S")
    }

    #[tokio::test]
    async fn a_signal_costs_no_message() {
        let mut signals = signal(SignalKind::user_defined1()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(LIMIT)).unwrap();
        let notifier = Notifier::to(Some(path.as_os_str()));
        let (socket, _) = notifier.socket.as_ref().unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
        let without_waiting = |_: &usize| notifier.send("-", &[], MsgFlags::MSG_DONTWAIT).is_ok();
        let waiting = (0..).take_while(without_waiting).count();

        let (begun, begins) = sync_channel(1);
        let telling = thread::spawn(move || {
            begun.send(gettid()).unwrap();
            notifier.send_patiently("READY=1", &[])
        });
        let thread = begins.recv().unwrap();
        while !is_asleep(thread) {
            thread::yield_now();
        }
        pthread_kill(telling.as_pthread_t(), Signal::SIGUSR1).unwrap();
        signals.recv().await;
        let mut message = [0; 20];
        for _ in 0..waiting {
            manager.recv(&mut message).unwrap();
        }
        telling.join().unwrap().unwrap();
        let bytes = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..bytes], b"READY=1");
    }

    /// Longer than anything that works needs.
    const LIMIT: Duration = Duration::from_secs(20);
}
