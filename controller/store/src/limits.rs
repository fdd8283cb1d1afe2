//! Every limit of the store in one place, checked above the engines so that they hold for all of them.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = KIB;
/// Longest value, in bytes; larger things go in chunks under one head key.
pub const MAX_VALUE_BYTES: usize = 512 * KIB;
/// Most operations and preconditions together in one batch.
pub const MAX_OPS: usize = 1024;
/// Most bytes of keys and values together in one batch.
pub const MAX_BATCH_BYTES: usize = MIB;

/// Most entries in one page of a range.
pub const MAX_PAGE_ENTRIES: usize = 1000;
/// A page ends once its keys and values hold this many bytes.
pub const MAX_PAGE_BYTES: usize = 4 * MIB;

/// Most transactions the change log keeps for watchers; a watcher further behind must read everything again.
pub const MAX_LOG_TRANSACTIONS: usize = 16 * 1024;
/// Most bytes the change log keeps for watchers.
pub const MAX_LOG_BYTES: usize = 64 * MIB;
/// Transactions a watcher reads ahead at most.
pub(crate) const WATCH_AHEAD_TRANSACTIONS: usize = 64;
/// A watcher's read-ahead ends once it holds this many bytes.
pub(crate) const WATCH_AHEAD_BYTES: usize = MIB;

/// Commits that may wait for the writer; further callers wait for a place.
pub(crate) const MAX_QUEUED_REQUESTS: usize = 512;
/// Most commits in one engine transaction.
pub(crate) const MAX_GROUP_REQUESTS: usize = 256;
/// The writer takes no further commit into a group that holds this many bytes.
pub(crate) const MAX_GROUP_BYTES: usize = MIB;

/// Memory redb may use for pages.
pub(crate) const CACHE_BYTES: usize = 64 * MIB;
/// A database file smaller than this is never compacted.
pub(crate) const COMPACT_FLOOR_BYTES: u64 = 16 * MIB as u64;

/// Pause before the first attempt to reopen after an I/O error; it doubles up to the longest.
pub(crate) const FIRST_REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between attempts to reopen.
pub(crate) const LONGEST_REOPEN_PAUSE: Duration = Duration::from_secs(30);

/// Longest file that goes along with a backup.
pub const MAX_BACKUP_FILE_BYTES: usize = 64 * MIB;
pub(crate) const MAX_BACKUP_FILE_NAME_BYTES: usize = 200;

/// Damaged records a check names; it counts the rest.
pub(crate) const MAX_NAMED_DAMAGES: usize = 100;
