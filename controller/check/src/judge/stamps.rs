//! Verdicts about time stamps: for what was sent, signed by whom, by which clock.

use data_encoding::HEXLOWER;
use time::Duration;

use super::{Case, Outcome, Trouble, broken, found, http_in_words, unknown};
use crate::certificate;
use crate::check::Issuers;
use crate::judge::handshakes::subjects;
use crate::observation::{Seen, StampSeen};
use crate::ocsp::SHA256;
use crate::stamp::Token;
use crate::verdict::{Cause, Fault};

pub(super) fn matches(case: &Case<'_>) -> Outcome {
    let seen = seen(case)?;
    let token = token(seen)?;
    let sent = &seen.imprint.0;
    if token.stamp.hash != SHA256 || token.stamp.imprint != *sent {
        let got = HEXLOWER.encode(&token.stamp.imprint);
        return Err(found(Fault::StampOtherImprint, HEXLOWER.encode(sent), got));
    }
    let nonce = token.stamp.nonce.as_deref();
    if nonce.map(without_zeros) != Some(without_zeros(&seen.nonce.0)) {
        let got = nonce.map_or_else(|| "-".to_owned(), |nonce| HEXLOWER.encode(nonce));
        let sent = HEXLOWER.encode(&seen.nonce.0);
        return Err(found(Fault::StampOtherNonce, sent, got));
    }
    Ok(token.stamp.time.to_string())
}

pub(super) fn signed(case: &Case<'_>) -> Outcome {
    let token = token(seen(case)?)?;
    let declared = certificate::from_pem(case.subject.issuers(Issuers::Organization));
    if declared.is_empty() {
        return Err(unknown(Cause::NothingDeclared, "issuers"));
    }
    let signer = token.check_signer(&declared, case.now);
    let signer = signer.map_err(broken(subjects(&declared)))?;
    signer.ok_or_else(|| unknown(Cause::Unsupported, ""))
}

pub(super) fn clock(case: &Case<'_>, tolerance: Duration) -> Outcome {
    let seen = seen(case)?;
    let time = token(seen)?.stamp.time;
    let offset = match time {
        early if early < seen.sent => early - seen.sent,
        late if late > seen.received => late - seen.received,
        _ => Duration::ZERO,
    };
    // Authorities may stamp whole seconds, cut off.
    let shown = format!("{:+.1} s", offset.as_seconds_f64());
    match offset.abs() <= tolerance + Duration::SECOND {
        true => Ok(shown),
        false => {
            let declared = format!("± {} s", tolerance.whole_seconds());
            Err(found(Fault::StampClockOff, declared, shown))
        }
    }
}

fn seen<'c>(case: &Case<'c>) -> Result<&'c StampSeen, Trouble> {
    match &case.seen(Fault::StampRefused)?.seen {
        Seen::TimeStamp(seen) => Ok(seen),
        _ => Err(unknown(Cause::NotObserved, "")),
    }
}

fn token(seen: &StampSeen) -> Result<Token<'_>, Trouble> {
    let Some(bytes) = &seen.answer else {
        let said = http_in_words(&seen.http);
        return Err(found(
            Fault::StampRefused,
            "application/timestamp-reply",
            said,
        ));
    };
    Token::read(&bytes.0).map_err(broken(""))
}

/// Numbers may be written with a zero before them.
fn without_zeros(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|byte| *byte != 0);
    &number[start.unwrap_or(number.len())..]
}
