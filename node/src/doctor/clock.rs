//! Whether this machine's clock is right, by the controller's.

use super::report::Finding;
use crate::text::doctor::{self as text, trouble};
use crate::text::{Lang, age};

/// `is_untimely`: the controller's certificate is right but for this machine's time.
pub(super) fn judge(behind_ms: Option<i64>, is_untimely: bool, lang: Lang) -> Finding {
    let Some(behind_ms) = behind_ms else {
        return match is_untimely {
            true => Finding::problem("clock-unfit", trouble::clock_unfit(lang)),
            false => Finding::could_not_test("clock-no-answer", text::clock_no_answer(lang)),
        };
    };
    let off_ms = behind_ms.unsigned_abs();
    match (off_ms > TOLERATED_MS, behind_ms > 0) {
        (true, true) => {
            let trouble = trouble::clock_behind(lang, age(lang, off_ms));
            Finding::problem("clock-behind", trouble)
        }
        (true, false) => {
            let trouble = trouble::clock_ahead(lang, age(lang, off_ms));
            Finding::problem("clock-ahead", trouble)
        }
        (false, _) if is_untimely => Finding::problem("clock-unfit", trouble::clock_unfit(lang)),
        (false, _) => Finding::ok("clock-right", text::clock_right(lang, off_ms)),
    }
}

/// What nothing here minds: logs of two machines can still be laid side by side.
const TOLERATED_MS: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn half_a_minute_is_tolerated_on_either_side() {
        for (behind_ms, code) in [
            (0, "clock-right"),
            (-29_000, "clock-right"),
            (31_000, "clock-behind"),
            (-31_000, "clock-ahead"),
            (i64::MIN, "clock-ahead"),
        ] {
            assert_eq!(judge(Some(behind_ms), false, Lang::En).code, code);
        }
    }

    #[test]
    fn a_certificate_tells_of_a_wrong_clock_where_nobody_says_the_time() {
        assert_eq!(judge(None, true, Lang::En).code, "clock-unfit");
        assert_eq!(judge(None, false, Lang::En).verdict, Verdict::CouldNotTest);
        // The certificate ended in the tolerated time, or the controller's clock is wrong.
        assert_eq!(judge(Some(0), true, Lang::En).code, "clock-unfit");
    }
}
