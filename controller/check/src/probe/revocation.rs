//! Questions to OCSP responders and time-stamp authorities, over plain HTTP as both are asked everywhere.

use std::net::SocketAddr;

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;

use super::dial::{self, Dial, Missed};
use super::{Look, http, random, reachable, tls};
use crate::certificate;
use crate::check::Issuers;
use crate::observation::{Der, HttpSeen, OcspSeen, Seen, StampSeen};
use crate::subject::Subject;
use crate::{ocsp, stamp};

/// Asks for the state of the certificate that `tls` presents, and that one of the expected issuers issued.
pub(super) async fn ocsp(url: &str, tls: SocketAddr, subject: &Subject, dial: &dyn Dial) -> Look {
    let question = match question(tls, subject, dial).await {
        Ok(question) => question,
        Err(missed) => return (None, missed.into()),
    };
    post(
        url,
        "application/ocsp-request",
        question.request,
        dial,
        |http, answer| {
            Seen::Ocsp(OcspSeen {
                certificate: question.certificate,
                issuer: question.issuer,
                nonce: question.nonce,
                http,
                answer,
            })
        },
    )
    .await
}

/// What is asked of a responder, and about which certificate.
struct Question {
    certificate: Der,
    issuer: Der,
    nonce: Der,
    request: Vec<u8>,
}

async fn question(tls: SocketAddr, subject: &Subject, dial: &dyn Dial) -> Result<Question, Missed> {
    let mut chain = tls::chain(dial, tls).await?;
    let nonce = random::<NONCE_BYTES>()?;
    let mut issuers = certificate::from_pem(subject.issuers(Issuers::Organization));
    issuers.extend(chain.iter().skip(1).map(|it| it.0.clone()));
    let certificate = chain.swap_remove(0);
    let unknown = || Missed::before("the certificate's issuer is not declared");
    let leaf = certificate::parse(&certificate.0).ok_or_else(unknown)?;
    let issued = |issuer: &X509Certificate<'_>| {
        issuer.subject().as_raw() == leaf.issuer().as_raw()
            && leaf.verify_signature(Some(issuer.public_key())).is_ok()
    };
    let mut parsed = issuers.iter().filter_map(|it| certificate::parse(it));
    let issuer = parsed.find(issued).ok_or_else(unknown)?;
    Ok(Question {
        request: ocsp::request(&leaf, &issuer, &nonce.0),
        issuer: Der(issuer.as_raw().to_vec()),
        nonce,
        certificate: certificate.clone(),
    })
}

/// Asks for a stamp of random bytes.
pub(super) async fn time_stamp(url: &str, dial: &dyn Dial) -> Look {
    let drawn = random::<IMPRINT_BYTES>().and_then(|it| Ok((it, random::<NONCE_BYTES>()?)));
    let (imprint, nonce) = match drawn {
        Ok(drawn) => drawn,
        Err(missed) => return (None, missed.into()),
    };
    let request = stamp::request(&imprint.0, &nonce.0);
    let sent = OffsetDateTime::now_utc();
    post(
        url,
        "application/timestamp-query",
        request,
        dial,
        |http, answer| {
            Seen::TimeStamp(StampSeen {
                imprint,
                nonce,
                sent,
                received: OffsetDateTime::now_utc(),
                http,
                answer,
            })
        },
    )
    .await
}

/// Answers over TLS prove no more than these do by their own signatures, so only `http://` is asked.
async fn post(
    url: &str,
    content_type: &str,
    body: Vec<u8>,
    dial: &dyn Dial,
    seen: impl FnOnce(HttpSeen, Option<Der>) -> Seen,
) -> Look {
    let (target, address) = match reachable(url, false, dial).await {
        Ok(found) => found,
        Err(missed) => return (None, missed.into()),
    };
    let stream = match dial::connect(dial, address).await {
        Ok(stream) => stream,
        Err(missed) => return (Some(address), missed.into()),
    };
    let authority = target.authority();
    let (http, answer) = http::post(stream, &authority, &target.path, content_type, body).await;
    (Some(address), seen(http, answer))
}

const NONCE_BYTES: usize = 16;
/// Like a SHA-256, which nobody can tell from random bytes.
const IMPRINT_BYTES: usize = 32;
