//! A clock that is wrong: what OpenSSL stamped with the present, moved to another time.

use time::macros::format_description;
use time::{Duration, PrimitiveDateTime};

/// Moves every GeneralizedTime to the second. Signatures over the bytes have to be made again.
pub(crate) fn move_times(der: &mut [u8], offset: Duration) {
    let form = format_description!("[year][month][day][hour][minute][second]Z");
    let mut moved = 0;
    for at in 2..der.len().saturating_sub(14) {
        if der[at - 2..at] != [0x18, 0x0f] {
            continue;
        }
        let text = str::from_utf8(&der[at..at + 15]).unwrap_or_default();
        // Random bytes may look like the head of one.
        if let Ok(time) = PrimitiveDateTime::parse(text, &form) {
            let time = (time + offset).format(&form).unwrap();
            der[at..at + 15].copy_from_slice(time.as_bytes());
            moved += 1;
        }
    }
    assert!(moved > 0, "no time in it");
}
