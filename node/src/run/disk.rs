//! The disk, one write after the other, beside the loop: an fsync must not hold up a heartbeat.

use std::sync::Arc;

use malha_proto::{Lease, Netmap, PairTable};
use tokio::sync::mpsc;

use super::Shell;
use crate::agent::{Ending, Event};
use crate::kept::Kept;
use crate::plane::Former;
use crate::state::{Keys, Remembered, StateError, StateFolder};

/// Writes that wait, and answers that wait.
pub(super) const MAX_JOBS: usize = 64;

pub(super) enum DiskJob {
    SaveLease(Lease),
    SaveNetmap(Arc<Netmap>),
    SaveControllers(Vec<String>),
    SavePairs(Arc<PairTable>),
    SaveRemembered(Remembered),
    MakeKeys { wireguard: bool },
    AdoptKeys { certificate: Vec<u8> },
    RecordEnding(Ending),
}

pub(super) enum DiskAnswer {
    Event(Event),
    /// The keys in use after a renewal; its WireGuard key is None where it stayed.
    Adopted(Result<Keys, String>),
}

/// Does the jobs in their order until no one can give one; blocks its thread.
pub(super) fn run_disk(
    folder: &StateFolder,
    mut jobs: mpsc::Receiver<DiskJob>,
    answers: &mpsc::Sender<DiskAnswer>,
) {
    while let Some(job) = jobs.blocking_recv() {
        if let Some(answer) = job.run(folder) {
            // Nobody listens any more at the end; the writes count all the same.
            let _ = answers.blocking_send(answer);
        }
    }
}

impl DiskJob {
    fn run(self, folder: &StateFolder) -> Option<DiskAnswer> {
        let event = match self {
            Self::SaveLease(lease) => Event::LeaseSaved {
                result: told(folder.save_lease(&lease)),
            },
            Self::SaveNetmap(map) => Event::NetmapSaved {
                revision: map.revision,
                result: told(folder.save_netmap(&map)),
            },
            Self::SaveControllers(list) => Event::ControllersSaved {
                result: told(folder.save_controllers(list)),
            },
            Self::SavePairs(pairs) => Event::PairsSaved {
                result: told(folder.save_pairs(&pairs)),
            },
            Self::SaveRemembered(remembered) => {
                // Then the next start takes longer.
                let _ = told(folder.save_remembered(&remembered));
                return None;
            }
            Self::MakeKeys { wireguard } => Event::KeysMade {
                result: told(
                    folder
                        .begin_renewal(wireguard)
                        .and_then(|keys| keys.public()),
                ),
            },
            Self::AdoptKeys { certificate } => {
                return Some(DiskAnswer::Adopted(told(
                    folder.adopt_renewal(&certificate),
                )));
            }
            Self::RecordEnding(ending) => {
                // Then the controller says it again at the next start.
                let _ = told(folder.record_ending(ending));
                return None;
            }
        };
        Some(DiskAnswer::Event(event))
    }

    /// The answer to a job that is not done.
    pub(super) fn refuse(self, why: &str) -> Option<DiskAnswer> {
        let why = why.to_owned();
        let event = match self {
            Self::SaveLease(_) => Event::LeaseSaved { result: Err(why) },
            Self::SaveNetmap(map) => Event::NetmapSaved {
                revision: map.revision,
                result: Err(why),
            },
            Self::SaveControllers(_) => Event::ControllersSaved { result: Err(why) },
            Self::SavePairs(_) => Event::PairsSaved { result: Err(why) },
            Self::MakeKeys { .. } => Event::KeysMade { result: Err(why) },
            Self::AdoptKeys { .. } => return Some(DiskAnswer::Adopted(Err(why))),
            Self::SaveRemembered(_) | Self::RecordEnding(_) => return None,
        };
        Some(DiskAnswer::Event(event))
    }
}

/// What the last run left.
pub(super) fn former(folder: &StateFolder) -> Former {
    let remembered = folder.remembered().unwrap_or_else(|error| {
        tracing::warn!(%error, "what the last run found out can't be used");
        Remembered::default()
    });
    Former {
        remembered,
        keeper: Some(Arc::new(Kept::from_env())),
    }
}

impl Shell {
    /// Has on disk what the next start can use of how the plane is now.
    pub(super) fn remember(&mut self) {
        let now = Remembered::of(&self.plane.listen, &self.plane.balanced.backends);
        if now != self.remembered {
            self.remembered = now.clone();
            self.write(DiskJob::SaveRemembered(now));
        }
    }
}

fn told<T>(result: Result<T, StateError>) -> Result<T, String> {
    result.map_err(|error| {
        tracing::error!(%error, "the state folder can't be used");
        error.to_string()
    })
}
