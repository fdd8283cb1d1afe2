//! Questions to OCSP responders and time-stamp authorities: over plain HTTP, as both are asked nearly everywhere, or over TLS to a
//! server that the declared issuers vouch for by its name.

use std::net::SocketAddr;

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;

use super::dial::{self, Dial, Missed, Stream};
use super::http::Target;
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
        subject,
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
pub(super) async fn time_stamp(url: &str, subject: &Subject, dial: &dyn Dial) -> Look {
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
        subject,
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

async fn post(
    url: &str,
    content_type: &str,
    body: Vec<u8>,
    subject: &Subject,
    dial: &dyn Dial,
    seen: impl FnOnce(HttpSeen, Option<Der>) -> Seen,
) -> Look {
    let (target, address) = match reachable(url, dial).await {
        Ok(found) => found,
        Err(missed) => return (None, missed.into()),
    };
    let stream = match target.is_tls {
        true => secured(&target, address, subject, dial).await,
        false => dial::connect(dial, address).await,
    };
    let stream = match stream {
        Ok(stream) => stream,
        Err(missed) => return (Some(address), missed.into()),
    };
    let authority = target.authority();
    let (http, answer) = http::post(stream, &authority, &target.path, content_type, body).await;
    (Some(address), seen(http, answer))
}

/// Nothing is asked of a server that nobody vouches for; what it would answer is proved by its own signature all the same.
async fn secured(
    target: &Target,
    address: SocketAddr,
    subject: &Subject,
    dial: &dyn Dial,
) -> Result<Box<dyn Stream>, Missed> {
    let name = tls::ServerName::try_from(target.host.clone()).map_err(Missed::local)?;
    let issuers = subject.issuers(Issuers::Web);
    let handshake = tls::handshake(dial, address, name, issuers).await?;
    let refused = |why: &str| Missed::before(format!("{}: {why}", target.host));
    let Some(stream) = handshake.stream else {
        return Err(refused(&handshake.seen.error.unwrap_or_default()));
    };
    let leaf = handshake.seen.chain.first();
    let names = leaf.and_then(|it| certificate::parse(&it.0));
    let names = names
        .map(|it| certificate::host_names(&it))
        .unwrap_or_default();
    match certificate::covers(&names, &target.host) {
        true => Ok(stream),
        false => Err(refused(&format!(
            "its certificate is for {}",
            names.join(", ")
        ))),
    }
}

const NONCE_BYTES: usize = 16;
/// Like a SHA-256, which nobody can tell from random bytes.
const IMPRINT_BYTES: usize = 32;
