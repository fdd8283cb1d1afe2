//! Whether this node's certificate is valid now and for long enough.

use super::report::Finding;
use super::subject::Unread;
use crate::state::Validity;
use crate::text::doctor::{self as text, trouble};
use crate::text::{Lang, age};

pub(super) fn judge(
    validity: &Result<Option<Validity>, Unread>,
    now_s: i64,
    lang: Lang,
) -> Finding {
    let validity = match validity {
        Ok(Some(validity)) => validity,
        Ok(None) => {
            return Finding::could_not_test("certificate-none", text::not_enrolled(lang));
        }
        Err(Unread::Closed(why)) => {
            return Finding::could_not_test("certificate-unread", text::unreadable(lang, why));
        }
        Err(Unread::Damaged(why)) => {
            let trouble = trouble::certificate_damaged(lang, why);
            return Finding::problem("certificate-damaged", trouble);
        }
    };
    let days = |from_s: i64, to_s: i64| to_s.saturating_sub(from_s).max(0) / DAY_S;
    let left = days(now_s, validity.not_after_s);
    if now_s < validity.not_before_s {
        let wait_s = validity.not_before_s.saturating_sub(now_s);
        let wait = age(
            lang,
            u64::try_from(wait_s)
                .unwrap_or_default()
                .saturating_mul(1_000),
        );
        let trouble = trouble::certificate_not_yet(lang, wait);
        return Finding::problem("certificate-not-yet", trouble);
    }
    if now_s > validity.not_after_s {
        let since = days(validity.not_after_s, now_s);
        return Finding::problem("certificate-over", trouble::certificate_over(lang, since));
    }
    // The agent has from the renewal's day on a third of the life for it; half of that should do.
    let overdue_s = validity.renew_at_s().midpoint(validity.not_after_s);
    match now_s > overdue_s {
        true => {
            let trouble = trouble::certificate_overdue(lang, left);
            Finding::problem("certificate-overdue", trouble)
        }
        false => Finding::ok("certificate-valid", text::certificate_valid(lang, left)),
    }
}

const DAY_S: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn code(day: i64) -> &'static str {
        let validity = Validity {
            not_before_s: 1_000 * DAY_S,
            not_after_s: 1_180 * DAY_S,
        };
        judge(&Ok(Some(validity)), day * DAY_S, Lang::En).code
    }

    #[test]
    fn a_certificate_has_its_time_and_should_be_renewed_in_it() {
        assert_eq!(code(999), "certificate-not-yet");
        assert_eq!(code(1_001), "certificate-valid");
        assert_eq!(code(1_140), "certificate-valid");
        assert_eq!(code(1_160), "certificate-overdue");
        assert_eq!(code(1_181), "certificate-over");
    }

    #[test]
    fn none_is_no_problem_and_a_damaged_one_is() {
        let said = |it| judge(&it, 0, Lang::En).verdict;
        assert_eq!(said(Ok(None)), Verdict::CouldNotTest);
        assert_eq!(said(Err(Unread::Closed("x".into()))), Verdict::CouldNotTest);
        assert_eq!(said(Err(Unread::Damaged("x".into()))), Verdict::Problem);
    }
}
