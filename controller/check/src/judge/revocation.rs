//! Verdicts about OCSP answers: who signed them, how fresh they are, what they say.

use x509_parser::certificate::X509Certificate;

use super::{Case, Outcome, Trouble, broken, found, http_in_words, unknown};
use crate::certificate;
use crate::check::Issuers;
use crate::observation::{OcspSeen, Seen};
use crate::ocsp::{Answer, State};
use crate::verdict::{Cause, Fault};

pub(super) fn signed(case: &Case<'_>) -> Outcome {
    let seen = seen(case)?;
    let (_, issuer) = certificates(seen)?;
    let answer = answer(seen)?;
    let declared = certificate::from_pem(case.subject.issuers(Issuers::Organization));
    answer
        .check_nonce(&seen.nonce.0)
        .map_err(broken(data_encoding::HEXLOWER.encode(&seen.nonce.0)))?;
    let signer = answer.check_signer(&issuer, &declared, case.now);
    let signer = signer.map_err(broken(issuer.subject().to_string()))?;
    signer.ok_or_else(|| unknown(Cause::Unsupported, ""))
}

pub(super) fn fresh(case: &Case<'_>) -> Outcome {
    let seen = seen(case)?;
    let (subject, issuer) = certificates(seen)?;
    let answer = answer(seen)?;
    let single = answer.about(&subject, &issuer).map_err(broken(""))?;
    single
        .check_times(case.now)
        .map_err(broken(case.now.to_string()))?;
    let next = single.next_update.map(|next| next.to_string());
    let next = next.unwrap_or_else(|| "-".to_owned());
    Ok(format!("{} / {next}", single.this_update))
}

pub(super) fn good(case: &Case<'_>) -> Outcome {
    let seen = seen(case)?;
    let (subject, issuer) = certificates(seen)?;
    let answer = answer(seen)?;
    let name = subject.subject().to_string();
    let single = answer
        .about(&subject, &issuer)
        .map_err(broken(name.clone()))?;
    match single.state {
        State::Good => Ok(format!("good: {name}")),
        State::Revoked { at } => Err(found(Fault::Revoked, "good", format!("{name}: {at}"))),
        State::Unknown => Err(found(Fault::OcspUnknown, "good", name)),
    }
}

fn seen<'c>(case: &Case<'c>) -> Result<&'c OcspSeen, Trouble> {
    match &case.seen(Fault::OcspRefused)?.seen {
        Seen::Ocsp(seen) => Ok(seen),
        _ => Err(unknown(Cause::NotObserved, "")),
    }
}

fn answer(seen: &OcspSeen) -> Result<Answer<'_>, Trouble> {
    let Some(bytes) = &seen.answer else {
        let said = http_in_words(&seen.http);
        return Err(found(Fault::OcspRefused, "application/ocsp-response", said));
    };
    Answer::read(&bytes.0).map_err(broken(""))
}

fn certificates(seen: &OcspSeen) -> Result<(X509Certificate<'_>, X509Certificate<'_>), Trouble> {
    let both = certificate::parse(&seen.certificate.0).zip(certificate::parse(&seen.issuer.0));
    both.ok_or_else(|| unknown(Cause::NotObserved, "certificate"))
}
