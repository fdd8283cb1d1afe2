//! A service manager, as far as systemd is one for the descriptors of its services: it keeps what a service sends it, and hands that
//! to the next start. It starts and ends nothing by itself.

use std::io::{IoSliceMut, Result as IoResult};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::Result;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

pub struct Supervisor {
    socket: PathBuf,
    store: Arc<Store>,
    hearing: Option<JoinHandle<()>>,
}

/// What services have sent, each with its name.
#[derive(Default)]
struct Store(Mutex<Vec<(String, OwnedFd)>>);

/// A command with what it is to be handed, which must live until it is started.
pub(super) struct Dressed {
    pub(super) command: Command,
    _handed: Vec<OwnedFd>,
}

impl Supervisor {
    pub(super) fn new(socket: &Path) -> Result<Self> {
        let listener = UnixDatagram::bind(socket)?;
        let store = Arc::<Store>::default();
        let hearer = Arc::clone(&store);
        let hearing = std::thread::spawn(move || while let Ok(true) = hearer.hear(&listener) {});
        Ok(Self {
            socket: socket.to_owned(),
            store,
            hearing: Some(hearing),
        })
    }

    /// The names of what is kept now.
    #[must_use]
    pub fn kept(&self) -> Vec<String> {
        let store = self.store.lock();
        store.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The same command, as a service's (sd_listen_fds(3)).
    pub(super) fn dress(&self, service: &Command) -> Result<Dressed> {
        let (mut handed, mut names, mut moves) = (Vec::new(), Vec::new(), String::new());
        for (number, (name, descriptor)) in (3..).zip(self.store.lock().iter()) {
            let copy = fcntl_dupfd_cloexec(descriptor, FIRST_COPY)?;
            fcntl_setfd(&copy, FdFlags::empty())?;
            let from = copy.as_raw_fd();
            moves.push_str(&format!("exec {number}<&{from} {from}<&-; "));
            names.push(name.clone());
            handed.push(copy);
        }
        let mut command = Command::new("bash");
        let script = format!("{moves}LISTEN_PID=$$ exec \"$@\"");
        command
            .args(["-c", &script, "bash"])
            .arg(service.get_program())
            .args(service.get_args())
            .env_clear()
            .envs(
                service
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("NOTIFY_SOCKET", &self.socket)
            .env("LISTEN_FDS", handed.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
        Ok(Dressed {
            command,
            _handed: handed,
        })
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Vec<(String, OwnedFd)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one message; false for the last one.
    fn hear(&self, listener: &UnixDatagram) -> IoResult<bool> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut message = [0; 1024];
        let mut parts = [IoSliceMut::new(&mut message)];
        let heard = recvmsg(listener, &mut parts, &mut rights, RecvFlags::CMSG_CLOEXEC)?;
        let text = String::from_utf8_lossy(&message[..heard.bytes]).into_owned();
        let says = |line: &str| text.lines().any(|it| it == line);
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let name = name.unwrap_or("stored");
        if says("FDSTORE=1") {
            let sent = rights.drain().filter_map(|it| match it {
                RecvAncillaryMessage::ScmRights(sent) => Some(sent),
                _ => None,
            });
            let sent = sent.flatten().map(|it| (name.to_owned(), it));
            self.lock().extend(sent);
        }
        if says("FDSTOREREMOVE=1") {
            self.lock().retain(|(it, _)| it != name);
        }
        Ok(!says(LAST))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let told = UnixDatagram::unbound().and_then(|it| it.send_to(LAST.as_bytes(), &self.socket));
        if let Some(hearing) = self.hearing.take().filter(|_| told.is_ok()) {
            // A thread that panicked has said so.
            let _ = hearing.join();
        }
    }
}

const LAST: &str = "X_LAST=1";
/// Beyond the numbers at which a service looks.
const FIRST_COPY: i32 = 500;
