//! The Online Certificate Status Protocol (RFC 6960): the request for one certificate, and what an answer says and who signed it.
//! Pure; it asks nobody.

use aws_lc_rs::digest;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::AlgorithmIdentifier;

use crate::asn1::{
    self, BIT_STRING, ENUMERATED, GENERALIZED_TIME, INTEGER, Malformed, NULL, OCTET_STRING, OID,
    Reader, SEQUENCE, context, element, implicit, sequence, unsigned,
};
use crate::certificate::{self, Broken, Signature};
use crate::verdict::Fault;

/// The request about `subject`, issued by `issuer`, with a nonce. SHA-1 names the certificate because every responder knows it
/// (RFC 5019 §2.1.1); nothing rests on its strength.
pub(crate) fn request(
    subject: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    nonce: &[u8],
) -> Vec<u8> {
    let hash = |bytes: &[u8]| {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
        element(OCTET_STRING, hash.as_ref())
    };
    let certificate_id = sequence(&[
        &sequence(&[&element(OID, SHA1), &element(NULL, &[])]),
        &hash(issuer.subject().as_raw()),
        &hash(&issuer.public_key().subject_public_key.data),
        &unsigned(subject.raw_serial()),
    ]);
    let nonce = sequence(&[
        &element(OID, NONCE),
        &element(OCTET_STRING, &element(OCTET_STRING, nonce)),
    ]);
    let requests = sequence(&[&sequence(&[&certificate_id])]);
    let extensions = element(context(2), &sequence(&[&nonce]));
    sequence(&[&sequence(&[&requests, &extensions])])
}

/// A successful answer, read but not believed.
pub(crate) struct Answer<'a> {
    signed: &'a [u8],
    algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
    certificates: Vec<&'a [u8]>,
    responder: Responder<'a>,
    nonce: Option<&'a [u8]>,
    singles: Vec<Single<'a>>,
}

enum Responder<'a> {
    Name(&'a [u8]),
    KeyHash(&'a [u8]),
}

/// What is said of one certificate.
pub(crate) struct Single<'a> {
    hash: &'a [u8],
    issuer_name_hash: &'a [u8],
    issuer_key_hash: &'a [u8],
    serial: &'a [u8],
    pub(crate) state: State,
    pub(crate) this_update: OffsetDateTime,
    pub(crate) next_update: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Good,
    Revoked { at: OffsetDateTime },
    Unknown,
}

impl<'a> Answer<'a> {
    /// Reads an OCSPResponse.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Broken> {
        let mut response = Reader::whole(bytes, SEQUENCE, "OCSPResponse").map_err(malformed)?;
        let status = response
            .take(ENUMERATED, "responseStatus")
            .map_err(malformed)?;
        if status.content != [0] {
            let code = status.content.first().copied().unwrap_or(u8::MAX);
            return Err((Fault::OcspRefused, refusal(code)));
        }
        Self::basic(response).map_err(malformed)
    }

    fn basic(mut response: Reader<'a>) -> Result<Self, Malformed> {
        let wrapped = response.take(context(0), "responseBytes")?;
        let mut typed = wrapped.inside().take(SEQUENCE, "responseBytes")?.inside();
        if typed.take(OID, "responseType")?.content != BASIC {
            return Err(Malformed("id-pkix-ocsp-basic"));
        }
        let basic = typed.take(OCTET_STRING, "response")?.content;
        let mut basic = Reader::whole(basic, SEQUENCE, "BasicOCSPResponse")?;
        let signed = basic.take(SEQUENCE, "tbsResponseData")?;
        let algorithm = basic.take(SEQUENCE, "signatureAlgorithm")?.raw;
        let (_, algorithm) = AlgorithmIdentifier::from_der(algorithm)
            .map_err(|_| Malformed("signatureAlgorithm"))?;
        let signature = basic.take(BIT_STRING, "signature")?.content;
        let mut certificates = Vec::new();
        if let Some(wrapped) = basic.optional(context(0)) {
            let mut list = wrapped.inside().take(SEQUENCE, "certs")?.inside();
            while let Some(certificate) = list.any() {
                certificates.push(certificate.raw);
            }
        }
        certificates.truncate(MAX_CERTIFICATES);
        let (responder, singles, nonce) = response_data(signed.inside())?;
        Ok(Self {
            signed: signed.raw,
            algorithm,
            signature: signature.get(1..).ok_or(Malformed("signature"))?,
            certificates,
            responder,
            nonce,
            singles,
        })
    }

    /// What it says of the certificate that was asked about.
    pub(crate) fn about(
        &self,
        subject: &X509Certificate<'_>,
        issuer: &X509Certificate<'_>,
    ) -> Result<&Single<'a>, Broken> {
        let is_it = |single: &&Single<'_>| {
            let Some(algorithm) = hash_of(single.hash) else {
                return false;
            };
            let hash = |bytes: &[u8]| digest::digest(algorithm, bytes);
            single.serial == subject.raw_serial()
                && single.issuer_name_hash == hash(issuer.subject().as_raw()).as_ref()
                && single.issuer_key_hash
                    == hash(&issuer.public_key().subject_public_key.data).as_ref()
        };
        self.singles.iter().find(is_it).ok_or_else(|| {
            let others = self.singles.len();
            (
                Fault::OcspOtherCertificate,
                format!("{others} other certificates"),
            )
        })
    }

    /// That a nonce, if the answer has one, is the one that was sent. Responders may leave it out (RFC 6960 §4.4.1).
    pub(crate) fn check_nonce(&self, sent: &[u8]) -> Result<(), Broken> {
        match self.nonce {
            Some(nonce) if nonce != sent => {
                let shown = data_encoding::HEXLOWER.encode(nonce);
                Err((Fault::OcspOtherNonce, shown))
            }
            _ => Ok(()),
        }
    }

    /// Who signed: the issuer itself, or a responder whose certificate the issuer signed for that use (RFC 6960 §4.2.2.2), or one
    /// that is declared by itself. None where the signature's algorithm can't be judged here.
    pub(crate) fn check_signer(
        &self,
        issuer: &X509Certificate<'_>,
        declared: &[Vec<u8>],
        now: OffsetDateTime,
    ) -> Result<Option<String>, Broken> {
        let declared: Vec<_> = declared
            .iter()
            .filter_map(|it| certificate::parse(it))
            .collect();
        let embedded = self
            .certificates
            .iter()
            .filter_map(|it| certificate::parse(it));
        let embedded: Vec<_> = embedded.collect();
        let mut all = std::iter::once(issuer).chain(&declared).chain(&embedded);
        let Some(signer) = all.find(|it| self.names(it)) else {
            return Err((Fault::OcspSignerUnknown, "no certificate of it".to_owned()));
        };
        if certificate::is_weak(&self.algorithm) {
            let algorithm = self.algorithm.algorithm.to_string();
            return Err((Fault::WeakSignature, algorithm));
        }
        let name = signer.subject().to_string();
        match certificate::verify(signer, &self.algorithm, self.signature, self.signed) {
            Signature::Good => {}
            Signature::Bad => return Err((Fault::OcspSignatureBad, name)),
            Signature::Unsupported => return Ok(None),
        }
        if signer.as_raw() == issuer.as_raw() {
            return Ok(Some(name));
        }
        let is_declared = declared.iter().any(|it| it.as_raw() == signer.as_raw());
        let by_issuer = signer.issuer().as_raw() == issuer.subject().as_raw()
            && signer.verify_signature(Some(issuer.public_key())).is_ok();
        if !is_declared && !by_issuer {
            return Err((
                Fault::OcspSignerUnknown,
                format!("{name}, issued by {}", signer.issuer()),
            ));
        }
        if !certificate::extended_usage(signer).is_some_and(|(usage, _)| usage.ocsp_signing) {
            return Err((Fault::OcspSignerUsage, name));
        }
        let ends = certificate::not_after(signer);
        if now > ends {
            return Err((Fault::Expired, format!("{name}: {ends}")));
        }
        Ok(Some(name))
    }

    fn names(&self, candidate: &X509Certificate<'_>) -> bool {
        match self.responder {
            Responder::Name(name) => candidate.subject().as_raw() == name,
            Responder::KeyHash(hash) => {
                let key = &candidate.public_key().subject_public_key.data;
                digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key).as_ref() == hash
            }
        }
    }
}

impl Single<'_> {
    /// That the answer's times are sane: not from the future, and not past its own end, or the age limit where it names no end.
    pub(crate) fn check_times(&self, now: OffsetDateTime) -> Result<(), Broken> {
        if self.this_update > now + CLOCK_SKEW {
            return Err((
                Fault::OcspFromFuture,
                format!("thisUpdate {}", self.this_update),
            ));
        }
        match self.next_update {
            Some(next) if next < now - CLOCK_SKEW || next < self.this_update => {
                Err((Fault::OcspStale, format!("nextUpdate {next}")))
            }
            None if self.this_update < now - MAX_AGE_WITHOUT_END => Err((
                Fault::OcspStale,
                format!("thisUpdate {}, no nextUpdate", self.this_update),
            )),
            _ => Ok(()),
        }
    }
}

type Data<'a> = (Responder<'a>, Vec<Single<'a>>, Option<&'a [u8]>);

fn response_data(mut data: Reader<'_>) -> Result<Data<'_>, Malformed> {
    let _version = data.optional(context(0));
    let responder = if let Some(name) = data.optional(context(1)) {
        Responder::Name(name.content)
    } else {
        let hash = data.take(context(2), "responderID")?;
        Responder::KeyHash(hash.inside().take(OCTET_STRING, "responderID")?.content)
    };
    data.take(GENERALIZED_TIME, "producedAt")?;
    let mut list = data.take(SEQUENCE, "responses")?.inside();
    let mut singles = Vec::new();
    while list.has_more() && singles.len() < MAX_SINGLES {
        singles.push(single(list.take(SEQUENCE, "SingleResponse")?.inside())?);
    }
    let mut nonce = None;
    if let Some(wrapped) = data.optional(context(1)) {
        let mut extensions = wrapped
            .inside()
            .take(SEQUENCE, "responseExtensions")?
            .inside();
        while extensions.has_more() {
            let mut extension = extensions.take(SEQUENCE, "extension")?.inside();
            let name = extension.take(OID, "extension")?.content;
            let _critical = extension.optional(asn1::BOOLEAN);
            let value = extension.take(OCTET_STRING, "extension")?;
            if name == NONCE {
                // Some old responders leave the inner octet string out.
                let inner = value.inside().optional(OCTET_STRING);
                nonce = Some(inner.map_or(value.content, |inner| inner.content));
            }
        }
    }
    Ok((responder, singles, nonce))
}

fn single(mut reader: Reader<'_>) -> Result<Single<'_>, Malformed> {
    let mut id = reader.take(SEQUENCE, "certID")?.inside();
    let hash = id
        .take(SEQUENCE, "hashAlgorithm")?
        .inside()
        .take(OID, "hashAlgorithm")?;
    let issuer_name_hash = id.take(OCTET_STRING, "issuerNameHash")?.content;
    let issuer_key_hash = id.take(OCTET_STRING, "issuerKeyHash")?.content;
    let serial = id.take(INTEGER, "serialNumber")?.content;
    let state = if reader.optional(implicit(0)).is_some() {
        State::Good
    } else if let Some(revoked) = reader.optional(context(1)) {
        let at = asn1::generalized_time(&mut revoked.inside(), "revocationTime")?;
        State::Revoked { at }
    } else {
        reader.take(implicit(2), "certStatus")?;
        State::Unknown
    };
    let this_update = asn1::generalized_time(&mut reader, "thisUpdate")?;
    let next_update = match reader.optional(context(0)) {
        Some(next) => Some(asn1::generalized_time(&mut next.inside(), "nextUpdate")?),
        None => None,
    };
    Ok(Single {
        hash: hash.content,
        issuer_name_hash,
        issuer_key_hash,
        serial,
        state,
        this_update,
        next_update,
    })
}

fn hash_of(oid: &[u8]) -> Option<&'static digest::Algorithm> {
    match oid {
        SHA1 => Some(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        _ => strong_hash(oid),
    }
}

/// A hash that still proves something.
pub(crate) fn strong_hash(oid: &[u8]) -> Option<&'static digest::Algorithm> {
    match oid {
        SHA256 => Some(&digest::SHA256),
        SHA384 => Some(&digest::SHA384),
        SHA512 => Some(&digest::SHA512),
        _ => None,
    }
}

fn malformed(error: Malformed) -> Broken {
    (Fault::OcspMalformed, error.to_string())
}

/// RFC 6960 §4.2.1, OCSPResponseStatus.
fn refusal(code: u8) -> String {
    match code {
        1 => "malformedRequest",
        2 => "internalError",
        3 => "tryLater",
        5 => "sigRequired",
        6 => "unauthorized",
        _ => "a status of no meaning",
    }
    .to_owned()
}

const MAX_CERTIFICATES: usize = 16;
const MAX_SINGLES: usize = 64;
/// How far a responder's clock may be from ours.
const CLOCK_SKEW: Duration = Duration::minutes(5);
/// An answer without an end says that newer information is always available (RFC 6960 §4.2.2.1), so an old one is no answer.
const MAX_AGE_WITHOUT_END: Duration = Duration::hours(24);

pub(crate) const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
pub(crate) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
pub(crate) const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
pub(crate) const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
/// id-pkix-ocsp-basic.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// id-pkix-ocsp-nonce.
const NONCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];
