//! The controller's milliseconds as the dashboard's points in time.

use time::{Duration, OffsetDateTime};

/// Milliseconds of the Unix epoch; the last representable second where they lie beyond it.
pub(super) fn at(ms: u64) -> OffsetDateTime {
    let since = i64::try_from(ms).map_or(Duration::MAX, Duration::milliseconds);
    OffsetDateTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(LAST)
}

const LAST: OffsetDateTime = time::macros::datetime!(9999-12-31 23:59:59 UTC);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_some_moment() {
        assert_eq!(
            at(1_500),
            OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(1_500)
        );
        assert_eq!(at(u64::MAX), LAST);
        assert_eq!(at(i64::MAX as u64), LAST);
    }
}
