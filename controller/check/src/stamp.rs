//! Time stamps (RFC 3161): the request, and what a token says and who signed it (CMS, RFC 5652 §5). Pure; it asks nobody.

use aws_lc_rs::digest;
use time::OffsetDateTime;
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_PKCS1_RSAENCRYPTION, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA,
    OID_PKCS1_SHA512WITHRSA,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AlgorithmIdentifier;

use crate::asn1::{
    self, BOOLEAN, INTEGER, Malformed, NULL, OCTET_STRING, OID, Reader, SEQUENCE, SET, context,
    element, implicit, sequence, unsigned,
};
use crate::certificate::{self, Broken, Signature};
use crate::ocsp::{SHA1, SHA256, SHA384, SHA512, strong_hash};
use crate::verdict::Fault;

/// A request for a stamp of this SHA-256, with the authority's certificate in the answer.
pub(crate) fn request(imprint: &[u8], nonce: &[u8]) -> Vec<u8> {
    let imprint = sequence(&[
        &sequence(&[&element(OID, SHA256), &element(NULL, &[])]),
        &element(OCTET_STRING, imprint),
    ]);
    sequence(&[
        &unsigned(&[1]),
        &imprint,
        &unsigned(nonce),
        &element(BOOLEAN, &[0xff]),
    ])
}

/// A granted token, read but not believed.
pub(crate) struct Token<'a> {
    /// The DER of TSTInfo.
    info: Vec<u8>,
    certificates: Vec<&'a [u8]>,
    signer: SignerInfo<'a>,
    pub(crate) stamp: Stamp,
}

/// What the authority vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) hash: Vec<u8>,
    pub(crate) imprint: Vec<u8>,
    pub(crate) time: OffsetDateTime,
    pub(crate) nonce: Option<Vec<u8>>,
}

struct SignerInfo<'a> {
    id: SignerId<'a>,
    digest: &'a [u8],
    /// The attributes as they stand, tag `[0]`.
    attributes: &'a [u8],
    content_type: &'a [u8],
    message_digest: &'a [u8],
    /// Hash algorithm and hash of the certificate that the signer says it used (RFC 5035); none in a token without it.
    certificate_hash: Option<(&'a [u8], &'a [u8])>,
    algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
}

enum SignerId<'a> {
    IssuerAndSerial { issuer: &'a [u8], serial: &'a [u8] },
    KeyId(&'a [u8]),
}

impl<'a> Token<'a> {
    /// Reads a TimeStampResp.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Broken> {
        let mut response = Reader::whole(bytes, SEQUENCE, "TimeStampResp").map_err(malformed)?;
        let status = response
            .take(SEQUENCE, "PKIStatusInfo")
            .map_err(malformed)?;
        let mut status = status.inside();
        let code = status
            .take(INTEGER, "PKIStatus")
            .map_err(malformed)?
            .content;
        // 0 granted, 1 granted with modifications.
        if !matches!(code, [0 | 1]) {
            let words = status
                .optional(SEQUENCE)
                .and_then(|list| list.inside().any());
            let words = words.map(|it| String::from_utf8_lossy(it.content).into_owned());
            let words = words.unwrap_or_default();
            let words: String = words.chars().take(MAX_WORDS).collect();
            return Err((Fault::StampRefused, format!("PKIStatus {code:?} {words}")));
        }
        let content = response
            .take(SEQUENCE, "timeStampToken")
            .map_err(malformed)?;
        Self::signed_data(content.inside()).map_err(malformed)
    }

    fn signed_data(mut content: Reader<'a>) -> Result<Self, Malformed> {
        if content.take(OID, "contentType")?.content != SIGNED_DATA {
            return Err(Malformed("id-signedData"));
        }
        let wrapped = content.take(context(0), "content")?;
        let mut signed = wrapped.inside().take(SEQUENCE, "SignedData")?.inside();
        signed.take(INTEGER, "version")?;
        signed.take(SET, "digestAlgorithms")?;
        let mut inner = signed.take(SEQUENCE, "encapContentInfo")?.inside();
        if inner.take(OID, "eContentType")?.content != TST_INFO {
            return Err(Malformed("id-ct-TSTInfo"));
        }
        let info = asn1::octets(
            &mut inner.take(context(0), "eContent")?.inside(),
            "eContent",
        )?;
        let mut certificates = Vec::new();
        if let Some(list) = signed.optional(context(0)) {
            let mut list = list.inside();
            while let Some(certificate) = list.any() {
                certificates.push(certificate.raw);
            }
        }
        certificates.truncate(MAX_CERTIFICATES);
        let _revocation_lists = signed.optional(context(1));
        let mut signers = signed.take(SET, "signerInfos")?.inside();
        let signer = signer_info(signers.take(SEQUENCE, "SignerInfo")?.inside())?;
        let stamp = stamp(&info)?;
        Ok(Self {
            info,
            certificates,
            signer,
            stamp,
        })
    }

    /// Checks the signature, the certificate's usage and its chain. Gives the signer's name; none where the signature's algorithm
    /// can't be judged here.
    pub(crate) fn check_signer(
        &self,
        declared: &[Vec<u8>],
        now: OffsetDateTime,
    ) -> Result<Option<String>, Broken> {
        let declared_der = declared.iter().map(Vec::as_slice);
        let mut all = self.certificates.iter().copied().chain(declared_der);
        let signer = all.find_map(|der| certificate::parse(der).filter(|it| self.is_by(it)));
        let Some(signer) = signer else {
            return Err((
                Fault::UnknownIssuer,
                "no certificate of the signer".to_owned(),
            ));
        };
        let name = signer.subject().to_string();
        if !self.check_signature(&signer)? {
            return Ok(None);
        }
        let usage = certificate::extended_usage(&signer);
        let is_right = usage.is_some_and(|(usage, is_critical)| {
            let others = usage.any
                || usage.server_auth
                || usage.client_auth
                || usage.code_signing
                || usage.email_protection
                || usage.ocsp_signing
                || !usage.other.is_empty();
            is_critical && usage.time_stamping && !others
        });
        if !is_right {
            return Err((Fault::StampUsage, name));
        }
        let ends = certificate::not_after(&signer);
        if now > ends {
            return Err((Fault::Expired, format!("{name}: {ends}")));
        }
        certificate::chain(signer.as_raw(), &self.certificates, declared, now)
    }

    fn is_by(&self, candidate: &X509Certificate<'_>) -> bool {
        match self.signer.id {
            SignerId::IssuerAndSerial { issuer, serial } => {
                candidate.issuer().as_raw() == issuer && candidate.raw_serial() == serial
            }
            SignerId::KeyId(id) => certificate::key_id(candidate) == Some(id),
        }
    }

    /// RFC 5652 §5.4: what is signed are the attributes, as a SET, and one of them is the digest of the content. False where the
    /// algorithm is not supported.
    fn check_signature(&self, signer: &X509Certificate<'_>) -> Result<bool, Broken> {
        let bad = |what: &str| (Fault::StampSignatureBad, what.to_owned());
        let weak = || {
            (
                Fault::WeakSignature,
                "the token's own digest or signature".to_owned(),
            )
        };
        let algorithm = strong_hash(self.signer.digest).ok_or_else(weak)?;
        if self.signer.content_type != TST_INFO {
            return Err(bad("attribute contentType"));
        }
        if digest::digest(algorithm, &self.info).as_ref() != self.signer.message_digest {
            return Err(bad("attribute messageDigest"));
        }
        let names_certificate = self.signer.certificate_hash.is_some_and(|(hash, named)| {
            certificate_hash(hash).is_some_and(|algorithm| {
                digest::digest(algorithm, signer.as_raw()).as_ref() == named
            })
        });
        if !names_certificate {
            return Err(bad("attribute signingCertificate"));
        }
        let mut attributes = self.signer.attributes.to_vec();
        if let Some(tag) = attributes.first_mut() {
            *tag = SET;
        }
        let algorithm = self.signature_algorithm();
        if certificate::is_weak(&algorithm) {
            return Err(weak());
        }
        match certificate::verify(signer, &algorithm, self.signer.signature, &attributes) {
            Signature::Good => Ok(true),
            Signature::Bad => Err(bad("signature")),
            Signature::Unsupported => Ok(false),
        }
    }

    /// RSA signers may name the key's algorithm alone (RFC 3370 §3.2); the digest stands beside it.
    fn signature_algorithm(&self) -> AlgorithmIdentifier<'a> {
        let named = &self.signer.algorithm;
        if named.algorithm != OID_PKCS1_RSAENCRYPTION {
            return named.clone();
        }
        let whole: Oid<'static> = match self.signer.digest {
            SHA384 => OID_PKCS1_SHA384WITHRSA,
            SHA512 => OID_PKCS1_SHA512WITHRSA,
            _ => OID_PKCS1_SHA256WITHRSA,
        };
        AlgorithmIdentifier::new(whole, named.parameters.clone())
    }
}

fn stamp(info: &[u8]) -> Result<Stamp, Malformed> {
    let mut info = Reader::whole(info, SEQUENCE, "TSTInfo")?;
    info.take(INTEGER, "version")?;
    info.take(OID, "policy")?;
    let mut imprint = info.take(SEQUENCE, "messageImprint")?.inside();
    let hash = imprint.take(SEQUENCE, "hashAlgorithm")?.inside();
    let hash = { hash }.take(OID, "hashAlgorithm")?.content.to_vec();
    let imprint = imprint
        .take(OCTET_STRING, "hashedMessage")?
        .content
        .to_vec();
    info.take(INTEGER, "serialNumber")?;
    let time = asn1::generalized_time(&mut info, "genTime")?;
    let _accuracy = info.optional(SEQUENCE);
    let _ordering = info.optional(BOOLEAN);
    let nonce = info.optional(INTEGER).map(|it| it.content.to_vec());
    Ok(Stamp {
        hash,
        imprint,
        time,
        nonce,
    })
}

fn signer_info(mut info: Reader<'_>) -> Result<SignerInfo<'_>, Malformed> {
    info.take(INTEGER, "version")?;
    let id = if let Some(key) = info.optional(implicit(0)) {
        SignerId::KeyId(key.content)
    } else {
        let mut id = info.take(SEQUENCE, "sid")?.inside();
        SignerId::IssuerAndSerial {
            issuer: id.take(SEQUENCE, "issuer")?.raw,
            serial: id.take(INTEGER, "serialNumber")?.content,
        }
    };
    let digest = info
        .take(SEQUENCE, "digestAlgorithm")?
        .inside()
        .take(OID, "digestAlgorithm")?;
    let attributes = info.take(context(0), "signedAttrs")?;
    let mut list = attributes.inside();
    let (mut content_type, mut message_digest, mut certificate_hash) = (None, None, None);
    while list.has_more() {
        let mut attribute = list.take(SEQUENCE, "attribute")?.inside();
        let name = attribute.take(OID, "attribute")?.content;
        let mut values = attribute.take(SET, "attribute")?.inside();
        match name {
            CONTENT_TYPE => content_type = Some(values.take(OID, "contentType")?.content),
            MESSAGE_DIGEST => {
                message_digest = Some(values.take(OCTET_STRING, "messageDigest")?.content);
            }
            SIGNING_CERTIFICATE => certificate_hash = Some(ess(&mut values, SHA1)?),
            SIGNING_CERTIFICATE_V2 => certificate_hash = Some(ess(&mut values, SHA256)?),
            _ => {}
        }
    }
    let algorithm = info.take(SEQUENCE, "signatureAlgorithm")?.raw;
    let (_, algorithm) =
        AlgorithmIdentifier::from_der(algorithm).map_err(|_| Malformed("signatureAlgorithm"))?;
    Ok(SignerInfo {
        id,
        digest: digest.content,
        attributes: attributes.raw,
        content_type: content_type.ok_or(Malformed("contentType"))?,
        message_digest: message_digest.ok_or(Malformed("messageDigest"))?,
        certificate_hash,
        algorithm,
        signature: info.take(OCTET_STRING, "signature")?.content,
    })
}

/// The first ESSCertID or ESSCertIDv2 (RFC 5035 §4): the signer's. `default` is the hash where none is named.
fn ess<'a>(
    values: &mut Reader<'a>,
    default: &'static [u8],
) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let what = "signingCertificate";
    let certificates = values.take(SEQUENCE, what)?.inside().take(SEQUENCE, what)?;
    let mut first = certificates.inside().take(SEQUENCE, what)?.inside();
    let named = first.optional(SEQUENCE);
    let hash = match named {
        Some(named) => named.inside().take(OID, what)?.content,
        None => default,
    };
    Ok((hash, first.take(OCTET_STRING, what)?.content))
}

/// SHA-1 is all that the first form of the attribute has; here it only tells certificates apart, and the signature over the
/// attribute is strong.
fn certificate_hash(oid: &[u8]) -> Option<&'static digest::Algorithm> {
    match oid {
        SHA1 => Some(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        _ => strong_hash(oid),
    }
}

fn malformed(error: Malformed) -> Broken {
    (Fault::StampMalformed, error.to_string())
}

const MAX_CERTIFICATES: usize = 16;
/// Characters of the authority's own words in a refusal.
const MAX_WORDS: usize = 200;

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// id-ct-TSTInfo.
const TST_INFO: &[u8] = &[
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04,
];
/// id-aa-signingCertificate.
const SIGNING_CERTIFICATE: &[u8] = &[
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x0c,
];
/// id-aa-signingCertificateV2.
const SIGNING_CERTIFICATE_V2: &[u8] = &[
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f,
];
