//! Preshared keys of pairs of nodes: derived, never stored, from one secret per epoch. The secrets rest sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aws_lc_rs::{hkdf, rand};
use malha_proto::{Secret32, WgKey};
use zeroize::Zeroizing;

use crate::{MasterKey, PkiError, Sealed};

/// The secrets of the newest epochs. Values of it are never changed: a rotation makes another one.
///
/// A pair whose one end is away stays at the epoch that both have, so that a month away costs no tunnel. A secret is forgotten
/// when no pair has a key of it any more, and the oldest ones above [`MAX_EPOCHS_KEPT`] in any case.
#[derive(Clone)]
pub struct PairEpochs {
    /// Never empty.
    epochs: BTreeMap<u64, Epoch>,
    newest: u64,
}

#[derive(Clone)]
struct Epoch {
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    since_ms: u64,
}

impl PairEpochs {
    /// The first epoch.
    ///
    /// # Errors
    /// [`PkiError::Random`] when the system has no randomness.
    pub fn create(now_ms: u64) -> Result<Self, PkiError> {
        Ok(Self {
            epochs: [(FIRST_EPOCH, Epoch::fresh(now_ms)?)].into(),
            newest: FIRST_EPOCH,
        })
    }

    /// With one more epoch, and without those that no pair has a key of; the newest of now is one that pairs may just be
    /// getting.
    ///
    /// # Errors
    /// [`PkiError::Random`] when the system has no randomness.
    pub fn rotated(&self, now_ms: u64, in_use: &BTreeSet<u64>) -> Result<Self, PkiError> {
        let newest = self.newest.saturating_add(1);
        let mut epochs = self.epochs.clone();
        epochs.retain(|epoch, _| *epoch == self.newest || in_use.contains(epoch));
        epochs.insert(newest, Epoch::fresh(now_ms)?);
        while epochs.len() > MAX_EPOCHS_KEPT {
            epochs.pop_first();
        }
        Ok(Self { epochs, newest })
    }

    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// When an epoch began, milliseconds of the Unix epoch; None for one that is not kept.
    #[must_use]
    pub fn since_ms(&self, epoch: u64) -> Option<u64> {
        self.epochs.get(&epoch).map(|epoch| epoch.since_ms)
    }

    /// The preshared key of two nodes in an epoch, the same from both sides; None if the epoch is not kept. HKDF-SHA256
    /// (RFC 5869) of the epoch's secret over both WireGuard keys in their order.
    #[must_use]
    pub fn psk(&self, epoch: u64, one: &WgKey, other: &WgKey) -> Option<Secret32> {
        let secret = &self.epochs.get(&epoch)?.secret;
        let (low, high) = (one.min(other), one.max(other));
        let info = [PSK_LABEL, &low.0, &high.0];
        let mut psk = Secret32([0; 32]);
        let filled = hkdf::Salt::new(hkdf::HKDF_SHA256, &epoch.to_be_bytes())
            .extract(&secret[..])
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut psk.0));
        filled.ok().map(|()| psk)
    }

    /// The form to store.
    ///
    /// # Errors
    /// As [`Sealed::seal`].
    pub fn seal(&self, master: &MasterKey) -> Result<Sealed, PkiError> {
        let mut plain = Zeroizing::new(Vec::with_capacity(MAX_EPOCHS_KEPT * EPOCH_BYTES));
        for (number, epoch) in &self.epochs {
            plain.extend_from_slice(&number.to_be_bytes());
            plain.extend_from_slice(&epoch.since_ms.to_be_bytes());
            plain.extend_from_slice(&epoch.secret[..]);
        }
        Sealed::seal(master, SEALED_PURPOSE, &plain)
    }

    /// Reads the stored form back.
    ///
    /// # Errors
    /// As [`Sealed::open`]; [`PkiError::SealedDamaged`] too when what opens is not a list of epochs.
    pub fn open(stored: &Sealed, master: &MasterKey) -> Result<Self, PkiError> {
        let plain = stored.open(master, SEALED_PURPOSE)?;
        let damaged = || PkiError::SealedDamaged {
            purpose: SEALED_PURPOSE.to_owned(),
        };
        let (records, rest) = plain.as_chunks::<EPOCH_BYTES>();
        if !rest.is_empty() {
            return Err(damaged());
        }
        let epochs: BTreeMap<u64, Epoch> = records.iter().filter_map(Epoch::read).collect();
        let newest = *epochs.keys().next_back().ok_or_else(damaged)?;
        Ok(Self { epochs, newest })
    }
}

impl fmt::Debug for PairEpochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.epochs.keys()).finish()
    }
}

impl Epoch {
    fn fresh(now_ms: u64) -> Result<Self, PkiError> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rand::fill(&mut secret[..]).map_err(|_| PkiError::Random)?;
        Ok(Self {
            secret,
            since_ms: now_ms,
        })
    }

    fn read(record: &[u8; EPOCH_BYTES]) -> Option<(u64, Self)> {
        let (number, rest) = record.split_first_chunk()?;
        let (since_ms, secret) = rest.split_first_chunk()?;
        let epoch = Self {
            since_ms: u64::from_be_bytes(*since_ms),
            secret: Zeroizing::new(secret.try_into().ok()?),
        };
        Some((u64::from_be_bytes(*number), epoch))
    }
}

/// With one a day: a month, and some by hand.
pub const MAX_EPOCHS_KEPT: usize = 40;
const FIRST_EPOCH: u64 = 1;
const SECRET_BYTES: usize = 32;
/// Number, beginning, secret.
const EPOCH_BYTES: usize = 8 + 8 + SECRET_BYTES;
const PSK_LABEL: &[u8] = b"malha preshared key 1";
const SEALED_PURPOSE: &str = "pair epochs";

#[cfg(test)]
mod tests {
    use super::*;

    const A: WgKey = WgKey([1; 32]);
    const B: WgKey = WgKey([2; 32]);

    #[test]
    fn both_sides_get_the_same_key_and_every_other_pair_and_epoch_another() {
        let epochs = PairEpochs::create(1)
            .unwrap()
            .rotated(2, &[1].into())
            .unwrap();
        let psk = epochs.psk(2, &A, &B).unwrap();
        assert_eq!(epochs.psk(2, &B, &A), Some(psk.clone()));
        assert_ne!(epochs.psk(1, &A, &B), Some(psk.clone()));
        assert_ne!(epochs.psk(2, &A, &WgKey([3; 32])), Some(psk.clone()));
        let other = PairEpochs::create(1)
            .unwrap()
            .rotated(2, &[1].into())
            .unwrap();
        assert_ne!(other.psk(2, &A, &B), Some(psk));
    }

    #[test]
    fn what_was_sealed_gives_the_same_keys_and_no_other_master_key_opens_it() {
        let master = MasterKey::from_bytes([5; 32]);
        let epochs = PairEpochs::create(7)
            .unwrap()
            .rotated(8, &[].into())
            .unwrap();
        let sealed = epochs.seal(&master).unwrap();
        let opened = PairEpochs::open(&sealed, &master).unwrap();
        assert_eq!((opened.newest(), opened.since_ms(1)), (2, Some(7)));
        assert_eq!(opened.psk(1, &A, &B), epochs.psk(1, &A, &B));
        let stranger = MasterKey::from_bytes([6; 32]);
        assert!(matches!(
            PairEpochs::open(&sealed, &stranger),
            Err(PkiError::WrongMasterKey)
        ));
    }

    #[test]
    fn a_record_that_is_no_list_of_epochs_is_damaged() {
        let master = MasterKey::from_bytes([5; 32]);
        for plain in [vec![], vec![0; EPOCH_BYTES - 1], vec![0; EPOCH_BYTES + 1]] {
            let sealed = Sealed::seal(&master, SEALED_PURPOSE, &plain).unwrap();
            assert!(matches!(
                PairEpochs::open(&sealed, &master),
                Err(PkiError::SealedDamaged { .. })
            ));
        }
    }

    #[test]
    fn the_oldest_epochs_are_forgotten() {
        let mut epochs = PairEpochs::create(0).unwrap();
        for now_ms in 1..=MAX_EPOCHS_KEPT as u64 {
            let all = (1..=now_ms).collect();
            epochs = epochs.rotated(now_ms, &all).unwrap();
        }
        assert_eq!(epochs.psk(1, &A, &B), None);
        assert!(epochs.psk(2, &A, &B).is_some());
        assert!(epochs.psk(epochs.newest(), &A, &B).is_some());
    }

    #[test]
    fn a_secret_that_no_pair_needs_is_forgotten_and_one_in_use_outlives_any_haste() {
        let mut epochs = PairEpochs::create(0).unwrap();
        let old = epochs.psk(1, &A, &B);
        for now_ms in 1..=3 * MAX_EPOCHS_KEPT as u64 {
            epochs = epochs.rotated(now_ms, &[1].into()).unwrap();
        }
        assert_eq!(epochs.psk(1, &A, &B), old);
        assert_eq!(epochs.epochs.len(), 3);
    }

    #[test]
    fn debug_shows_numbers_only() {
        assert_eq!(format!("{:?}", PairEpochs::create(0).unwrap()), "[1]");
    }
}
