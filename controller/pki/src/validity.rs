//! The window in which a certificate is valid. It starts a little early, for clocks that run late, and never leaves the
//! window of its authority.

use time::{Duration, OffsetDateTime};

use crate::PkiError;

/// From `not_before` to `not_after`, both included (RFC 5280 §4.1.2.5), in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl Validity {
    /// Starts five minutes before `now` and ends `lifetime` after it.
    ///
    /// # Errors
    /// [`PkiError::Lifetime`] when `lifetime` is not positive or leaves the calendar.
    pub fn starting(now: OffsetDateTime, lifetime: Duration) -> Result<Self, PkiError> {
        if !lifetime.is_positive() {
            return Err(PkiError::Lifetime);
        }
        let not_before = now.checked_sub(BACKDATE).ok_or(PkiError::Lifetime)?;
        let not_after = now.checked_add(lifetime).ok_or(PkiError::Lifetime)?;
        Self::between(not_before, not_after)
    }

    /// Exactly this window, cut to whole seconds.
    ///
    /// # Errors
    /// [`PkiError::Lifetime`] when it ends before it begins or holds no second.
    pub fn between(
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<Self, PkiError> {
        let whole = |time: OffsetDateTime| {
            OffsetDateTime::from_unix_timestamp(time.unix_timestamp())
                .map_err(|_| PkiError::Lifetime)
        };
        let window = Self {
            not_before: whole(not_before)?,
            not_after: whole(not_after)?,
        };
        if window.not_before < window.not_after && window.not_before.year() >= FIRST_YEAR {
            Ok(window)
        } else {
            Err(PkiError::Lifetime)
        }
    }

    #[must_use]
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    #[must_use]
    pub fn contains(&self, time: OffsetDateTime) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }

    /// When a third of the window is left: the time to renew.
    #[must_use]
    pub fn renew_at(&self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) * 2 / 3
    }

    /// Whether a successor is needed at `now`: a third of the window is left, or it has not begun, because the clock was ahead
    /// when it was made.
    #[must_use]
    pub fn needs_successor(&self, now: OffsetDateTime) -> bool {
        now < self.not_before || now >= self.renew_at()
    }

    /// The part of this window that lies inside `authority`'s: a certificate that outlives its issuer is worthless.
    pub(crate) fn within(&self, authority: &Self) -> Result<Self, PkiError> {
        if self.not_after <= authority.not_before {
            return Err(PkiError::AuthorityNotBegun {
                begins: authority.not_before,
            });
        }
        Self::between(
            self.not_before.max(authority.not_before),
            self.not_after.min(authority.not_after),
        )
        .map_err(|_| PkiError::AuthorityEnded {
            ends: authority.not_after,
        })
    }
}

/// How far a node's clock may be behind the controller's.
const BACKDATE: Duration = Duration::minutes(5);
/// The first year that both time forms of X.509 can hold.
const FIRST_YEAR: i32 = 1950;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(unix_s: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(unix_s).unwrap()
    }

    #[test]
    fn it_starts_five_minutes_early_and_is_renewed_with_a_third_left() {
        let window = Validity::starting(at(1_000_000), Duration::seconds(600)).unwrap();
        assert_eq!(window.not_before(), at(999_700));
        assert_eq!(window.not_after(), at(1_000_600));
        assert_eq!(window.renew_at(), at(1_000_300));
    }

    #[test]
    fn windows_that_hold_no_time_or_leave_the_calendar_are_refused() {
        assert!(Validity::starting(at(0), Duration::ZERO).is_err());
        assert!(Validity::starting(at(0), Duration::seconds(-1)).is_err());
        assert!(Validity::starting(at(0), Duration::days(4_000_000)).is_err());
        assert!(Validity::between(at(5), at(5)).is_err());
        assert!(Validity::between(at(-700_000_000), at(5)).is_err());
    }

    #[test]
    fn a_window_after_its_authority_is_refused_with_the_authoritys_end() {
        let authority = Validity::between(at(0), at(100)).unwrap();
        let late = Validity::between(at(100), at(200)).unwrap();
        assert!(matches!(
            late.within(&authority),
            Err(PkiError::AuthorityEnded { ends }) if ends == at(100)
        ));
    }

    #[test]
    fn a_window_before_its_authority_is_refused_with_the_authoritys_begin() {
        let authority = Validity::between(at(100), at(200)).unwrap();
        let early = Validity::between(at(0), at(100)).unwrap();
        let refused = early.within(&authority).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("this machine's clock"), "{said}");
        assert!(said.contains(&at(100).to_string()), "{said}");
    }

    proptest! {
        #[test]
        fn a_window_within_an_authority_never_leaves_it(
            a in 0_i64..1000, b in 1_i64..1000, c in 0_i64..1000, d in 1_i64..1000,
        ) {
            let authority = Validity::between(at(a), at(a + b)).unwrap();
            let window = Validity::between(at(c), at(c + d)).unwrap();
            if let Ok(cut) = window.within(&authority) {
                prop_assert!(authority.contains(cut.not_before()) && authority.contains(cut.not_after()));
                prop_assert!(window.contains(cut.not_before()) && window.contains(cut.not_after()));
                prop_assert!(cut.contains(cut.renew_at()));
            } else {
                prop_assert!(c >= a + b || a >= c + d);
            }
        }
    }
}
