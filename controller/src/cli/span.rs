//! A length of time as people write it: `90s`, `30m`, `12h`, `7d`.

use std::str::FromStr;

/// A whole number of seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(u64);

impl Span {
    #[must_use]
    pub(super) fn seconds(self) -> u64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a number with s, m, h or d behind it, like 12h or 7d".to_owned();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit_s = match &text[digits.len()..] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let number: u64 = digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse().ok())
            .flatten()
            .ok_or_else(wrong)?;
        number
            .checked_mul(unit_s)
            .filter(|seconds| *seconds > 0)
            .map(Self)
            .ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_everything_else_is_refused() {
        assert_eq!("90s".parse(), Ok(Span(90)));
        assert_eq!("7d".parse(), Ok(Span(604_800)));
        for text in [
            "",
            "7",
            "d",
            "-1d",
            "+1d",
            "0s",
            "1.5h",
            "1 d",
            "99999999999999999999d",
            "9999999999999999999d",
            "1D",
            "1w",
            "١d",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }
}
