//! The agent's folder: identity, keys, lease, last-known-good netmap and pairs, each file whole or absent after a power cut, and one
//! agent at a time. It never keeps a secret where others can read it.

mod atomic;
mod checked_file;
mod error;
mod glimpse;
mod identity;
mod keys;
mod remembered;
mod staging;
mod started;
#[cfg(test)]
mod tests;
mod versioned;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use malha_proto::{EnrolReply, EnrolToken, Lease, Netmap, PairTable};
use zeroize::Zeroizing;

pub use error::StateError;
pub use glimpse::{Exposed, Glimpse, exposed};
pub use identity::{Ended, Identity};
pub use keys::{Keys, Validity};
pub use remembered::Remembered;
pub use started::{Arguments, Started};

use crate::agent::Ending;
use staging::Staging;

/// The status socket's name in the folder.
pub const STATUS_SOCKET: &str = "status.sock";

/// An open state folder, locked against a second agent for as long as it lives.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    lock: File,
}

impl StateFolder {
    /// Opens the folder and makes it if it is not there; finishes what a crash interrupted.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let path = std::path::absolute(path).map_err(|e| StateError::io("finding", path, e))?;
        make_private(&path)?;
        let lock = lock(&path.join(LOCK))?;
        atomic::remove_leftovers(&path)?;
        for staging in [Staging::enrolment(&path), Staging::renewal(&path)] {
            staging.finish(&path)?;
        }
        Ok(Self { path, lock })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// None before the first enrolment.
    pub fn identity(&self) -> Result<Option<Identity>, StateError> {
        Identity::read(&self.path.join(IDENTITY))
    }

    pub fn save_controllers(&self, controllers: Vec<String>) -> Result<(), StateError> {
        self.change_identity(|identity| identity.controllers = controllers)
    }

    /// Notes that this identity is over, so that no later start uses it.
    pub fn record_ending(&self, ending: Ending) -> Result<(), StateError> {
        let ended = match ending {
            Ending::Stopped => return Ok(()),
            Ending::Removed => Ended::Removed,
            Ending::Replaced => Ended::Replaced,
        };
        self.change_identity(|identity| identity.ended = Some(ended))
    }

    /// The keys in use and their certificate.
    pub fn keys(&self) -> Result<Keys, StateError> {
        Keys::read(&self.path)?.ok_or_else(|| StateError::missing(&self.path.join(keys::TLS_KEY)))
    }

    pub fn lease(&self) -> Result<Lease, StateError> {
        let path = self.path.join(LEASE);
        let text = atomic::read_secret(&path)?.ok_or_else(|| StateError::missing(&path))?;
        parse_lease(&text).ok_or_else(|| StateError::damaged(&path, "it holds no lease"))
    }

    pub fn save_lease(&self, lease: &Lease) -> Result<(), StateError> {
        atomic::write(&self.path.join(LEASE), lease_text(lease).as_bytes())
    }

    /// The last netmap that the data plane ran with; None before the first one.
    pub fn netmap(&self) -> Result<Option<Netmap>, StateError> {
        checked_file::read(&self.path.join(NETMAP))
    }

    pub fn save_netmap(&self, netmap: &Netmap) -> Result<(), StateError> {
        checked_file::write(&self.path.join(NETMAP), netmap)
    }

    /// What the controller last said of this node's pairs; None before the first time.
    pub fn pairs(&self) -> Result<Option<PairTable>, StateError> {
        let path = self.path.join(PAIRS);
        match atomic::exposure(&path)? {
            Some(mode) => Err(StateError::Exposed { path, mode }),
            None => checked_file::read(&path),
        }
    }

    pub fn save_pairs(&self, pairs: &PairTable) -> Result<(), StateError> {
        checked_file::write(&self.path.join(PAIRS), pairs)
    }

    /// Nothing before the first time.
    pub fn remembered(&self) -> Result<Remembered, StateError> {
        Ok(checked_file::read(&self.path.join(REMEMBERED))?.unwrap_or_default())
    }

    pub fn save_remembered(&self, remembered: &Remembered) -> Result<(), StateError> {
        checked_file::write(&self.path.join(REMEMBERED), remembered)
    }

    /// Notes how the agent is started, for who looks at the folder later.
    pub fn save_started(&self, started: &Started) -> Result<(), StateError> {
        started.save(&self.path)
    }

    /// Keys for an enrolment with this token: the ones of an earlier try whose answer was lost, or new ones.
    pub fn keys_for_enrolment(&self, token: &EnrolToken) -> Result<Keys, StateError> {
        let staging = Staging::enrolment(&self.path);
        let label = format!("{}\n", token.id);
        if let Some(keys) = staging.keys_labelled(&label)? {
            return Ok(keys);
        }
        let keys = Keys::generate(true)?;
        staging.begin(&self.path, &keys, &label)?;
        Ok(keys)
    }

    /// Becomes the node of this reply, all of it or nothing.
    pub fn adopt_enrolment(
        &self,
        token: &EnrolToken,
        reply: &EnrolReply,
    ) -> Result<Identity, StateError> {
        let staging = Staging::enrolment(&self.path);
        let identity = Identity::of(token, reply);
        staging.put(
            keys::CERTIFICATE,
            &keys::certificate_pem(&reply.certificate),
        )?;
        staging.put(LEASE, lease_text(&reply.lease).as_bytes())?;
        staging.put(NETMAP, &checked_file::encode(&reply.netmap))?;
        staging.put(IDENTITY, identity.to_json().as_bytes())?;
        // A renewal that was under way belongs to the identity before.
        Staging::renewal(&self.path).discard()?;
        staging.finish(&self.path)?;
        Ok(identity)
    }

    /// Fresh keys that wait for their certificate, if an earlier run made them.
    pub fn keys_in_renewal(&self) -> Result<Option<Keys>, StateError> {
        Staging::renewal(&self.path).keys_labelled(RENEWAL_LABEL)
    }

    /// Makes fresh keys beside the ones in use.
    pub fn begin_renewal(&self, wireguard: bool) -> Result<Keys, StateError> {
        let keys = Keys::generate(wireguard)?;
        Staging::renewal(&self.path).begin(&self.path, &keys, RENEWAL_LABEL)?;
        Ok(keys)
    }

    /// Puts the fresh keys and their certificate in the place of the old ones and gives them back; without a WireGuard key
    /// where that stayed.
    pub fn adopt_renewal(&self, certificate: &[u8]) -> Result<Keys, StateError> {
        let staging = Staging::renewal(&self.path);
        let fresh = (staging.keys_labelled(RENEWAL_LABEL)?)
            .ok_or_else(|| StateError::missing(&staging.path(keys::TLS_KEY)))?;
        fresh.check_certificate(certificate)?;
        staging.put(keys::CERTIFICATE, &keys::certificate_pem(certificate))?;
        staging.finish(&self.path)?;
        let mut keys = self.keys()?;
        if fresh.wireguard.is_none() {
            keys.wireguard = None;
        }
        Ok(keys)
    }

    fn change_identity(&self, change: impl FnOnce(&mut Identity)) -> Result<(), StateError> {
        let path = self.path.join(IDENTITY);
        let mut identity = Identity::read(&path)?.ok_or_else(|| StateError::missing(&path))?;
        change(&mut identity);
        atomic::write(&path, identity.to_json().as_bytes())
    }
}

impl Drop for StateFolder {
    /// A program that is being started right now has the descriptor for a moment more, and would hold the lock with it.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "the state folder's lock goes with its descriptor");
        }
    }
}

/// Makes the folder 0700. A folder that is not the agent's own is left alone.
fn make_private(path: &Path) -> Result<(), StateError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE);
    builder
        .create(path)
        .map_err(|e| StateError::io("making", path, e))?;
    let about = fs::metadata(path).map_err(|e| StateError::io("reading", path, e))?;
    if about.mode() & 0o077 == 0 {
        return Ok(());
    }
    let mut entries = fs::read_dir(path).map_err(|e| StateError::io("reading", path, e))?;
    if entries.next().is_some() && !path.join(LOCK).exists() {
        return Err(StateError::Foreign(path.to_owned()));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(FOLDER_MODE))
        .map_err(|e| StateError::io("making private", path, e))
}

fn lock(path: &Path) -> Result<File, StateError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(atomic::FILE_MODE);
    let file = options
        .open(path)
        .map_err(|e| StateError::io("opening", path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(StateError::io("locking", path, error)),
    }
}

fn lease_text(lease: &Lease) -> Zeroizing<String> {
    let hex = Zeroizing::new(HEXLOWER.encode(&lease.0));
    Zeroizing::new(format!("{LEASE_VERSION}{}\n", *hex))
}

fn parse_lease(text: &str) -> Option<Lease> {
    let hex = text.trim_end().strip_prefix(LEASE_VERSION)?;
    let bytes = Zeroizing::new(HEXLOWER.decode(hex.as_bytes()).ok()?);
    <[u8; 16]>::try_from(&bytes[..]).ok().map(Lease)
}

const IDENTITY: &str = "identity.json";
const LEASE: &str = "lease";
const NETMAP: &str = "netmap.cbor";
const PAIRS: &str = "pairs.cbor";
const REMEMBERED: &str = "remembered.cbor";
const STARTED: &str = "started.json";
const LOCK: &str = "lock";
const FOLDER_MODE: u32 = 0o700;
const LEASE_VERSION: &str = "1 ";
const RENEWAL_LABEL: &str = "renewal\n";
