//! Entry point for fuzzing the texts that operators write, replayed over the committed corpus by an ordinary test. It panics when
//! an invariant breaks and never otherwise.

use crate::TextError;
use crate::declaration::Statement;
use crate::policy::{Policy, Schedule};
use crate::profile::ProfileSpec;

/// Any text as a policy, as a profile and as a declaration. A refusal points into the text, hours end when they say, and what is
/// declared reads the same when it is written again.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Policy::parse(text) {
        Ok(policy) => {
            for rule in &policy.rules {
                rule.schedule.iter().for_each(check_hours);
            }
        }
        Err(error) => check_place(text, &error),
    }
    if let Err(error) = ProfileSpec::parse(text) {
        check_place(text, &error);
    }
    match Statement::parse(text) {
        Ok(statement) => assert_eq!(Statement::parse(&statement.to_text()), Ok(statement)),
        Err(error) => check_place(text, &error),
    }
}

fn check_place(text: &str, error: &TextError) {
    let line = text.split('\n').nth(error.line.wrapping_sub(1));
    let line = line.unwrap_or_else(|| panic!("no such line: {error}"));
    assert!(error.column <= line.chars().count() + 1, "{error}");
}

fn check_hours(schedule: &Schedule) {
    for now_ms in TIMES_MS {
        let Some(end_ms) = schedule.next_boundary_ms(now_ms) else {
            panic!("a schedule without a day");
        };
        assert!(end_ms > now_ms);
        let holds = schedule.holds(now_ms);
        for at_ms in [now_ms + (end_ms - now_ms) / 2, end_ms - 1] {
            assert_eq!(schedule.holds(at_ms), holds, "{schedule:?} at {at_ms}");
        }
    }
}

/// The epoch, a Sunday night, a Wednesday, and the last second of 2100.
const TIMES_MS: [u64; 4] = [0, 1_795_996_740_000, 1_796_230_923_456, 4_133_980_799_000];
