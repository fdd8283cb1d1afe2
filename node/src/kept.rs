//! Descriptors that the service manager keeps over a restart: sent to it with `FDSTORE=1` (sd_notify(3)) and handed back at the next
//! start (sd_listen_fds(3)). Where no manager listens nothing is kept, and nothing here fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use malha_tunnel::{Keeper, LONGEST_CLOSE};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
    recvmsg, socketpair,
};

use crate::notify::Notifier;

/// What is kept, by name. One per process.
#[derive(Debug)]
pub struct Kept {
    notifier: Notifier,
    held: Mutex<Held>,
    /// The process ends: what is kept now is for the next start.
    leaving: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    all: BTreeMap<String, OwnedFd>,
    /// Those of the last run that nobody has asked for yet.
    unclaimed: BTreeSet<String>,
    /// Until when the manager may not have closed the last one that it was told to.
    freed_at: Option<Instant>,
}

impl Kept {
    /// Takes what the manager hands over. A second call in one process gets nothing.
    #[must_use]
    pub fn from_env() -> Self {
        static IS_TAKEN: AtomicBool = AtomicBool::new(false);
        let all = match IS_TAKEN.swap(true, Ordering::SeqCst) {
            true => BTreeMap::new(),
            false => handed_over(),
        };
        if !all.is_empty() {
            tracing::info!(count = all.len(), "what was kept over the restart is here");
        }
        Self::at(Notifier::from_env(), all)
    }

    fn at(notifier: Notifier, all: BTreeMap<String, OwnedFd>) -> Self {
        Self {
            notifier,
            held: Mutex::new(Held {
                unclaimed: all.keys().cloned().collect(),
                all,
                freed_at: None,
            }),
            leaving: AtomicBool::new(false),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper for Kept {
    fn take(&self, name: &str) -> Option<OwnedFd> {
        let mut held = self.held();
        held.unclaimed.remove(name);
        held.all.get(name)?.try_clone().ok()
    }

    fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) {
        let mut held = self.held();
        let fits = name.len() <= MAX_NAME_BYTES && held.all.len() < MAX_KEPT;
        if !fits || !self.notifier.is_heard() {
            return;
        }
        let Ok(own) = descriptor.try_clone_to_owned() else {
            return;
        };
        // Without polling: a socket whose last datagram was refused is not a dead one.
        let message = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}");
        match self.notifier.hand_over(&message, own.as_raw_fd()) {
            Ok(()) => drop(held.all.insert(name.to_owned(), own)),
            Err(error) => tracing::debug!(%error, "the service manager keeps nothing"),
        }
    }

    fn forget(&self, name: &str) {
        if self.leaving.load(Ordering::SeqCst) {
            return;
        }
        let mut held = self.held();
        held.unclaimed.remove(name);
        if held.all.remove(name).is_some() {
            let message = format!("FDSTOREREMOVE=1\nFDNAME={name}");
            self.notifier.tell(&message);
            held.freed_at = Some(Instant::now() + LONGEST_CLOSE);
        }
    }

    fn freed_at(&self) -> Instant {
        self.held().freed_at.unwrap_or_else(Instant::now)
    }

    fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    fn names(&self) -> Vec<String> {
        self.held().all.keys().cloned().collect()
    }

    fn forget_unclaimed(&self) {
        let unclaimed = std::mem::take(&mut self.held().unclaimed);
        unclaimed.iter().for_each(|name| self.forget(name));
    }
}

/// The manager's descriptors, by their names.
fn handed_over() -> BTreeMap<String, OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return BTreeMap::new();
    }
    let count = number("LISTEN_FDS").unwrap_or_default();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let last = FIRST_DESCRIPTOR.saturating_add_unsigned(count);
    let named = (FIRST_DESCRIPTOR..last).zip(names.split(':'));
    let named = named.take(MAX_KEPT);
    let owned = named.filter_map(|(descriptor, name)| match own(descriptor) {
        Ok(owned) => Some((name.to_owned(), owned)),
        Err(error) => {
            tracing::warn!(name, %error, "a kept descriptor can't be used");
            None
        }
    });
    owned.collect()
}

/// Makes a descriptor of this number ours: the kernel passes a new one, which no program we start inherits, and the old one is
/// closed.
fn own(descriptor: RawFd) -> io::Result<OwnedFd> {
    let (here, there) = socketpair(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let rights = [descriptor];
    let parts = [io::IoSlice::new(b"-")];
    let control = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(here.as_raw_fd(), &parts, &control, MsgFlags::empty(), None)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [io::IoSliceMut::new(&mut byte)];
    recvmsg(&there, &mut parts, &mut passed, RecvFlags::CMSG_CLOEXEC)?;
    nix::unistd::close(descriptor)?;
    let rights = passed.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    rights.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// SD_LISTEN_FDS_START.
const FIRST_DESCRIPTOR: RawFd = 3;
/// systemd takes names of up to 255 bytes.
const MAX_NAME_BYTES: usize = 255;
/// Two per service and balancer, some for a controller's own; `FileDescriptorStoreMax=` of both units is the same.
const MAX_KEPT: usize = 1024;

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;
    use std::os::fd::{AsFd, IntoRawFd};
    use std::os::unix::net::UnixDatagram;

    use tempfile::TempDir;

    use super::*;

    /// A manager's socket, and what is kept there.
    pub(crate) fn rig(all: BTreeMap<String, OwnedFd>) -> (TempDir, UnixDatagram, Kept) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(Some(path.as_os_str()));
        (folder, manager, Kept::at(notifier, all))
    }

    fn said(manager: &UnixDatagram) -> String {
        let mut message = [0; 200];
        let bytes = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..bytes]).into_owned()
    }

    fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn what_is_kept_is_told_to_the_manager_and_stays_open_until_it_is_forgotten() {
        let (_folder, manager, kept) = rig(BTreeMap::new());
        let (door, address) = listener();
        kept.keep("tcp * a", door.as_fd());
        assert_eq!(said(&manager), "FDSTORE=1\nFDPOLL=0\nFDNAME=tcp * a");
        drop(door);
        let again = TcpListener::from(kept.take("tcp * a").unwrap());
        assert_eq!(again.local_addr().unwrap(), address);
        drop(again);
        assert!(TcpListener::bind(address).is_err(), "it is kept open");
        kept.forget("tcp * a");
        assert_eq!(said(&manager), "FDSTOREREMOVE=1\nFDNAME=tcp * a");
    }

    /// Its queue takes but a few messages.
    #[test]
    fn a_manager_that_is_slow_to_listen_gets_everything() {
        let (_folder, manager, kept) = rig(BTreeMap::new());
        let (begun_in, begun) = std::sync::mpsc::channel();
        let keeping = std::thread::spawn(move || {
            for number in 0..MANY {
                if number == MANY / 2 {
                    let _ = begun_in.send(());
                }
                kept.keep(&number.to_string(), listener().0.as_fd());
            }
            kept.names().len()
        });
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may wait before that for somebody to listen.
        let _ = begun.recv_timeout(PATIENCE / 100);
        for number in 0..MANY {
            assert!(said(&manager).ends_with(&format!("FDNAME={number}")));
        }
        assert_eq!(keeping.join().unwrap(), MANY);
    }

    const MANY: usize = 40;
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

    #[test]
    fn who_leaves_forgets_nothing() {
        let (_folder, manager, kept) = rig(BTreeMap::new());
        kept.keep("a", listener().0.as_fd());
        said(&manager);
        kept.leave();
        kept.forget("a");
        assert_eq!(kept.names(), ["a"]);
    }

    #[test]
    fn what_nobody_wants_any_more_is_given_back() {
        let all = ["a", "b"].map(|name| (name.to_owned(), OwnedFd::from(listener().0)));
        let (_folder, manager, kept) = rig(all.into());
        assert!(kept.take("a").is_some());
        kept.forget_unclaimed();
        assert_eq!(said(&manager), "FDSTOREREMOVE=1\nFDNAME=b");
        assert_eq!(kept.names(), ["a"]);
    }

    #[test]
    fn without_a_manager_nothing_is_kept() {
        let kept = Kept::at(Notifier::to(None), BTreeMap::new());
        let (door, address) = listener();
        kept.keep("a", door.as_fd());
        drop(door);
        assert!(kept.take("a").is_none());
        TcpListener::bind(address).unwrap();
    }

    #[test]
    fn a_descriptor_by_its_number_becomes_ours_and_is_open_once() {
        let (door, address) = listener();
        let number = door.into_raw_fd();
        let own = own(number).unwrap();
        let flags = rustix::io::fcntl_getfd(&own).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        drop(own);
        TcpListener::bind(address).unwrap();
    }
}
