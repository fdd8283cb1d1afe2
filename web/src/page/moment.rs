//! Moments and amounts in words. The server writes UTC; the page's script turns it into the
//! reader's own time.

use maud::{Markup, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::language::Language;
use crate::text::Text;
use crate::visit::Visit;

/// "3 min ago" or "in 2 h", with the absolute time on hover.
pub(super) fn relative(visit: &Visit, at: OffsetDateTime) -> Markup {
    html! {
        time datetime=(machine(at)) data-time="relative" title=(absolute(visit.language, at)) {
            (distance(visit, at))
        }
    }
}

/// The absolute time, with its zone on hover.
pub(super) fn absolute_time(visit: &Visit, at: OffsetDateTime) -> Markup {
    let text = absolute(visit.language, at);
    html! { time datetime=(machine(at)) data-time="absolute" title=(text) { (text) } }
}

/// Like [`relative`], or a word where there was no such moment.
pub(super) fn relative_or(visit: &Visit, at: Option<OffsetDateTime>, otherwise: Text) -> Markup {
    match at {
        Some(at) => relative(visit, at),
        None => html! { (visit.say(otherwise)) },
    }
}

/// A number of seconds in its largest unit that fits; the page's script says it the same way.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..MINUTE_S => format!("{seconds} s"),
        MINUTE_S..HOUR_S => format!("{} min", seconds / MINUTE_S),
        HOUR_S..TWO_DAYS_S => format!("{} h", seconds / HOUR_S),
        _ => format!("{} d", seconds / DAY_S),
    }
}

/// An amount of data in the largest binary unit that fits, rounded down.
pub(super) fn bytes(language: Language, bytes: u64) -> String {
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} {}", UNITS[0]);
    }
    let point = match language {
        Language::Portuguese => ',',
        Language::English => '.',
    };
    format!("{}{point}{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn distance(visit: &Visit, at: OffsetDateTime) -> String {
    let seconds = (visit.now - at).whole_seconds();
    let far = duration(seconds.unsigned_abs());
    match seconds {
        0 => visit.say(Text::JustNow).to_owned(),
        1.. => visit.language.fill(Text::Ago, &[&far]),
        _ => visit.language.fill(Text::Ahead, &[&far]),
    }
}

fn machine(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC)
        .format(&Rfc3339)
        .unwrap_or_default()
}

fn absolute(language: Language, at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let text = match language {
        Language::Portuguese => at.format(format_description!(
            "[day]/[month]/[year] [hour]:[minute]:[second] UTC"
        )),
        Language::English => at.format(format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second] UTC"
        )),
    };
    text.unwrap_or_default()
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;
const TWO_DAYS_S: u64 = 2 * DAY_S;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_use_the_largest_unit_that_tells_something() {
        let said: Vec<String> = [59, 60, 7_199, 100_000, 200_000]
            .into_iter()
            .map(duration)
            .collect();
        assert_eq!(said, ["59 s", "1 min", "1 h", "27 h", "2 d"]);
    }

    #[test]
    fn amounts_use_the_decimal_sign_of_the_language() {
        assert_eq!(
            bytes(Language::Portuguese, 10 * 1024 * 1024 + 300 * 1024),
            "10,2 MiB"
        );
        assert_eq!(bytes(Language::English, 1_536), "1.5 KiB");
        assert_eq!(bytes(Language::English, 1_023), "1023 B");
        assert_eq!(bytes(Language::English, u64::MAX), "16777215.9 TiB");
    }
}
