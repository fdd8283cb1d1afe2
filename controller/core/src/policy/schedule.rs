//! When a grant holds: days of the week, a time of day, and the offset of a place. Pure arithmetic on milliseconds; no
//! clock and no time zone data is read.

use toml::value::{Datetime, Offset};

use crate::reason::Reason;

/// Hours of a week. A time that ends before it starts goes on past midnight and belongs to the day on which it starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Schedule {
    /// From Monday.
    pub days: [bool; 7],
    /// Minutes of the day.
    pub from_min: u16,
    /// Minutes of the day, not included; 1,440 is the day's end.
    pub to_min: u16,
    /// East of UTC.
    pub offset_min: i16,
}

impl Schedule {
    /// Whether it holds at this time.
    #[must_use]
    pub fn holds(&self, now_ms: u64) -> bool {
        let now_min = self.minute_of_week(now_ms);
        self.spans()
            .any(|(start_min, length_min)| (now_min - start_min).rem_euclid(WEEK_MIN) < length_min)
    }

    /// The next time after `now_ms` at which it may begin or cease to hold, in milliseconds of the epoch.
    #[must_use]
    pub fn next_boundary_ms(&self, now_ms: u64) -> Option<u64> {
        let now_min = self.minute_of_week(now_ms);
        let edges = self
            .spans()
            .flat_map(|(start_min, length_min)| [start_min, start_min + length_min]);
        let ahead_min = edges.map(|edge_min| match (edge_min - now_min).rem_euclid(WEEK_MIN) {
            0 => WEEK_MIN,
            ahead_min => ahead_min,
        });
        let ahead_min = u64::try_from(ahead_min.min()?).ok()?;
        Some((now_ms / MINUTE_MS + ahead_min) * MINUTE_MS)
    }

    /// Start in minutes of the week, and length.
    fn spans(&self) -> impl Iterator<Item = (i64, i64)> {
        let (from_min, to_min) = (i64::from(self.from_min), i64::from(self.to_min));
        let length_min = match to_min - from_min {
            length_min @ 1.. => length_min,
            past_midnight => past_midnight + DAY_MIN,
        };
        let days = (0_i64..).zip(self.days).filter(|(_, holds)| *holds);
        days.map(move |(day, _)| (day * DAY_MIN + from_min, length_min))
    }

    fn minute_of_week(&self, now_ms: u64) -> i64 {
        let now_min = i64::try_from(now_ms / MINUTE_MS).unwrap_or(i64::MAX / 2);
        // The epoch began on a Thursday.
        (now_min + i64::from(self.offset_min) + 3 * DAY_MIN).rem_euclid(WEEK_MIN)
    }
}

/// `mon` to `sun`, from Monday.
pub(super) fn day(text: &str) -> Result<usize, Reason> {
    let at = DAYS.iter().position(|day| *day == text);
    at.ok_or_else(|| Reason::NoDay {
        text: text.to_owned(),
        days: DAYS.join(", "),
    })
}

/// `HH:MM` in minutes of the day, up to `24:00`.
pub(super) fn time_of_day(text: &str) -> Result<u16, Reason> {
    let wrong = || Reason::NoTimeOfDay {
        text: text.to_owned(),
    };
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| match digits.len() == 2
        && digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        true => digits.parse::<u16>().map_err(|_| wrong()),
        false => Err(wrong()),
    };
    match (number(hours)?, number(minutes)?) {
        (hours @ 0..=23, minutes @ 0..=59) => Ok(hours * 60 + minutes),
        (24, 0) => Ok(24 * 60),
        _ => Err(wrong()),
    }
}

/// Minutes east of UTC. Brazil's zones have had no daylight saving time since 2019 (Decree 9,772), so each is one offset;
/// any other place is written as its offset.
pub(super) fn zone(text: &str) -> Result<i16, Reason> {
    if let Some((_, hours)) = ZONES.iter().find(|(name, _)| *name == text) {
        return Ok(hours * 60);
    }
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => 0,
    };
    let minutes = text.get(1..).and_then(|rest| time_of_day(rest).ok());
    match minutes.and_then(|minutes| i16::try_from(minutes).ok()) {
        Some(minutes @ 0..=840) if sign != 0 => Ok(sign * minutes),
        _ => Err(Reason::NoTimeZone {
            text: text.to_owned(),
            zones: ZONES.map(|(name, _)| name).join(", "),
        }),
    }
}

/// A moment in milliseconds of the epoch. Without an offset it would mean another moment on each machine.
pub(super) fn moment(datetime: &Datetime) -> Result<u64, Reason> {
    let wrong = || Reason::NoMoment {
        text: datetime.to_string(),
    };
    let (Some(date), Some(time), Some(offset)) = (datetime.date, datetime.time, datetime.offset)
    else {
        return Err(wrong());
    };
    let offset_min = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_from_epoch(
        i64::from(date.year),
        i64::from(date.month),
        i64::from(date.day),
    );
    let minutes = days * DAY_MIN + i64::from(time.hour) * 60 + i64::from(time.minute) - offset_min;
    let seconds = minutes * 60 + i64::from(time.second.unwrap_or(0));
    let millis = i64::from(time.nanosecond.unwrap_or(0) / 1_000_000);
    u64::try_from(seconds * 1_000 + millis).map_err(|_| wrong())
}

/// Days of the proleptic Gregorian calendar since 1970-01-01; years are counted from March, so that the leap day is last.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

const MINUTE_MS: u64 = 60_000;
const DAY_MIN: i64 = 24 * 60;
const WEEK_MIN: i64 = 7 * DAY_MIN;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const ZONES: [(&str, i16); 17] = [
    ("UTC", 0),
    ("America/Noronha", -2),
    ("America/Araguaina", -3),
    ("America/Bahia", -3),
    ("America/Belem", -3),
    ("America/Fortaleza", -3),
    ("America/Maceio", -3),
    ("America/Recife", -3),
    ("America/Santarem", -3),
    ("America/Sao_Paulo", -3),
    ("America/Boa_Vista", -4),
    ("America/Campo_Grande", -4),
    ("America/Cuiaba", -4),
    ("America/Manaus", -4),
    ("America/Porto_Velho", -4),
    ("America/Eirunepe", -5),
    ("America/Rio_Branco", -5),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23, a Monday, 00:00 UTC.
    const MONDAY_MS: u64 = 1_795_392_000_000;
    const HOUR_MS: u64 = 3_600_000;

    fn office(offset_min: i16) -> Schedule {
        Schedule {
            days: [true, true, true, true, true, false, false],
            from_min: 8 * 60,
            to_min: 18 * 60,
            offset_min,
        }
    }

    #[test]
    fn a_moment_is_the_same_from_every_offset() {
        for text in [
            "2026-11-23T00:00:00Z",
            "2026-11-22T20:00:00-04:00",
            "2026-11-23T05:30:00+05:30",
        ] {
            assert_eq!(moment(&text.parse().unwrap()), Ok(MONDAY_MS), "{text}");
        }
        let leap: Datetime = "2028-02-29T12:00:00.250Z".parse().unwrap();
        assert_eq!(moment(&leap), Ok(1_835_438_400_250));
        for text in ["2026-11-23", "2026-11-23T00:00:00", "1969-12-31T23:59:59Z"] {
            assert!(moment(&text.parse().unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn office_hours_hold_on_working_days_of_the_place() {
        let cuiaba = office(zone("America/Cuiaba").unwrap());
        let at = |hours: u64| cuiaba.holds(MONDAY_MS + hours * HOUR_MS);
        assert!(
            !at(11) && at(12) && at(21) && !at(22),
            "08:00 at -04:00 is 12:00 UTC"
        );
        assert!(at(4 * 24 + 12) && !at(5 * 24 + 12), "Friday, Saturday");
        let boundary = |hours: u64| cuiaba.next_boundary_ms(MONDAY_MS + hours * HOUR_MS + 1);
        assert_eq!(boundary(11), Some(MONDAY_MS + 12 * HOUR_MS));
        assert_eq!(boundary(12), Some(MONDAY_MS + 22 * HOUR_MS));
        assert_eq!(
            boundary(4 * 24 + 22),
            Some(MONDAY_MS + (7 * 24 + 12) * HOUR_MS)
        );
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_starts() {
        let night = Schedule {
            days: [false, false, false, false, false, false, true],
            from_min: 22 * 60,
            to_min: 6 * 60,
            offset_min: 0,
        };
        let sunday = MONDAY_MS - 24 * HOUR_MS;
        assert!(!night.holds(sunday + 5 * HOUR_MS) && night.holds(sunday + 22 * HOUR_MS));
        assert!(night.holds(MONDAY_MS + 5 * HOUR_MS) && !night.holds(MONDAY_MS + 6 * HOUR_MS));
    }

    /// Against a walk over every minute of two weeks.
    #[test]
    fn nothing_changes_between_boundaries() {
        for (from_min, to_min) in [(0, 1_440), (480, 1_080), (1_320, 360), (600, 600)] {
            let schedule = Schedule {
                from_min,
                to_min,
                ..office(-240)
            };
            let mut next = 0;
            let mut held = schedule.holds(MONDAY_MS);
            for minute in 0..2 * 7 * 24 * 60 {
                let now_ms = MONDAY_MS + minute * MINUTE_MS;
                if now_ms >= next {
                    held = schedule.holds(now_ms);
                    next = schedule.next_boundary_ms(now_ms).unwrap();
                }
                assert_eq!(schedule.holds(now_ms), held, "minute {minute}");
            }
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_would_be_right() {
        for text in ["8:00", "08.00", "24:01", "25:00", "08:60", "+8:00", ""] {
            assert!(
                time_of_day(text).unwrap_err().to_string().contains("HH:MM"),
                "{text:?}"
            );
        }
        for text in ["", "Cuiaba", "America/New_York", "-15:00", "04:00", "+é"] {
            assert!(
                zone(text).unwrap_err().to_string().contains("-04:00"),
                "{text:?}"
            );
        }
        assert_eq!((zone("-03:30"), zone("+05:45")), (Ok(-210), Ok(345)));
        assert!(day("seg").unwrap_err().to_string().contains("mon"));
    }
}
