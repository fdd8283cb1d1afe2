//! Entry point for fuzzing what servers answer to a check, replayed over the committed corpus by an ordinary test. It panics when an
//! invariant breaks and never otherwise.

use time::OffsetDateTime;

use crate::certificate;
use crate::ocsp;
use crate::stamp::Token;

/// Any bytes as the answer of an OCSP responder, of a time-stamp authority, and as the certificate of a server; all as the checks
/// judge them. Nothing that an answer says of itself makes it a long one.
pub fn answer(data: &[u8]) {
    let (Some(issuer), Some(subject)) = (certificate::parse(ISSUER), certificate::parse(SUBJECT))
    else {
        panic!("the certificates of the corpus don't parse");
    };
    let declared = [ISSUER.to_vec(), data.to_vec()];
    if let Ok(answer) = ocsp::Answer::read(data) {
        drop(answer.check_nonce(b"nonce"));
        drop(answer.check_signer(&issuer, &declared, NOW));
        if let Ok(single) = answer.about(&subject, &issuer) {
            drop(single.check_times(NOW));
        }
    }
    if let Ok(token) = Token::read(data) {
        drop(token.check_signer(&declared, NOW));
    }
    if let Some(leaf) = certificate::parse(data) {
        drop(certificate::chain(
            data,
            &[data, SUBJECT],
            &declared[..1],
            NOW,
        ));
        drop(ocsp::request(&leaf, &issuer, b"nonce"));
        let names = certificate::host_names(&leaf);
        certificate::covers(&names, "ss.mt.example");
        certificate::extended_usage(&leaf);
        certificate::key_id(&leaf);
    }
}

const ISSUER: &[u8] = include_bytes!("../corpus/issuer.der");
/// Of this issuer.
const SUBJECT: &[u8] = include_bytes!("../corpus/subject.der");
/// 2026-11-23, when the corpus was made.
const NOW: OffsetDateTime = time::macros::datetime!(2026-11-23 12:00 UTC);
