//! The version number of a zone with the arithmetic of RFC 1982. It never compares as a plain number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A zone's serial. It has no `Ord`: serials wrap, so "newer" is a relation, not an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(u32);

impl Serial {
    /// Where a new zone starts.
    pub const FIRST: Self = Self(1);

    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    pub const fn value(self) -> u32 {
        self.0
    }

    /// The serial of the next change (RFC 1982 section 3.1).
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Whether `self` comes after `other` (RFC 1982 section 3.2). For two serials exactly half the
    /// number space apart neither is newer.
    pub const fn is_newer_than(self, other: Self) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        ahead != 0 && ahead < HALF_SPACE
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const HALF_SPACE: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_serial_after_the_last_number_is_zero_and_newer() {
        let last = Serial::new(u32::MAX);
        assert_eq!(last.next(), Serial::new(0));
        assert!(last.next().is_newer_than(last));
    }

    #[test]
    fn serials_half_the_space_apart_have_no_order() {
        let (a, b) = (Serial::new(0), Serial::new(HALF_SPACE));
        assert!(!a.is_newer_than(b) && !b.is_newer_than(a));
    }

    proptest! {
        #[test]
        fn up_to_half_the_space_ahead_is_newer_and_never_both_ways(
            start: u32, ahead in 1..HALF_SPACE
        ) {
            let (old, new) = (Serial::new(start), Serial::new(start.wrapping_add(ahead)));
            prop_assert!(new.is_newer_than(old) && !old.is_newer_than(new));
        }
    }
}
