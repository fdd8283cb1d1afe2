//! What a start finds in the state folder. What a controller says again anyway may be unreadable; nothing else may.

use malha_proto::{Lease, Netmap, PairTable};
use malha_tunnel::PrivateKey;

use crate::state::{Keys, StateError, StateFolder};

pub(super) struct Stored {
    pub(super) keys: Keys,
    pub(super) private_key: PrivateKey,
    pub(super) lease: Lease,
    /// Keys of a renewal that was not over when the process ended.
    pub(super) in_renewal: Option<Keys>,
    pub(super) last_known_good: Option<Box<Netmap>>,
    pub(super) pairs: Option<Box<PairTable>>,
}

impl Stored {
    /// # Errors
    /// What an enrolled node must have is missing or damaged.
    pub(super) fn read(folder: &StateFolder) -> Result<Self, StateError> {
        let keys = folder.keys()?;
        let private_key = (keys.wireguard.clone())
            .filter(|_| keys.certificate.is_some())
            .ok_or_else(|| StateError::Missing(folder.path().join("wg.key, node.crt")))?;
        Ok(Self {
            keys,
            private_key,
            last_known_good: if_readable(folder.netmap(), "the last netmap"),
            pairs: if_readable(folder.pairs(), "the preshared keys"),
            in_renewal: folder.keys_in_renewal()?,
            lease: folder.lease()?,
        })
    }
}

fn if_readable<T>(read: Result<Option<T>, StateError>, what: &str) -> Option<Box<T>> {
    let read = read.inspect_err(|error| {
        tracing::warn!(%error, "{what} on disk can't be used; waiting for a controller");
    });
    read.ok().flatten().map(Box::new)
}
