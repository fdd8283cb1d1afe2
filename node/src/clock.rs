//! The machine's clock as time since the Unix epoch. It judges nothing: a clock that stands before the epoch says zero.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn unix_s() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}

pub(crate) fn unix_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

fn since_epoch() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}
