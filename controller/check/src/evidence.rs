//! The evidence file of one run: JSON Lines, each with the SHA-256 of the line before it, signed at the end by the overlay's
//! authority. [`verify`] needs the file and the authority's certificate, no network and no trust in who kept the file. The format
//! is in `docs/EVIDENCE.md`.

mod chain;
mod error;

pub use chain::{Chain, ChainFault, ChainedRun, RunLink, chains};
pub use error::EvidenceError;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::oid_registry::{
    OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ED25519,
};
use x509_parser::x509::AlgorithmIdentifier;

use crate::certificate::{self, Signature};
use crate::judge::judge;
use crate::observation::{Der, Observation};
use crate::report::{Counts, Outcome, Report};
use crate::subject::Subject;

/// Who signs: the overlay's authority, whose certificate auditors have.
pub trait Signer {
    /// The certificate, DER; its key is P-256 or Ed25519.
    fn certificate_der(&self) -> &[u8];

    /// Signs the message: ECDSA with SHA-256 in ASN.1 form, or Ed25519. What is signed never looks like a certificate.
    ///
    /// # Errors
    /// Why there is no signature.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// What a sound file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub organization: String,
    pub started: OffsetDateTime,
    pub ended: OffsetDateTime,
    pub lines: usize,
    pub counts: Counts,
    /// The run's place among those of its organization.
    pub link: RunLink,
    /// SHA-256 of the whole file, hexadecimal: what the next run names.
    pub sha256: String,
    /// Checks whose verdict does not follow, by this program's rules, from the observations in the file. None in a file that was
    /// written by this version.
    pub disagreeing: Vec<String>,
    /// The run, to show it again.
    pub report: Report,
}

/// Writes the file of one run: a header with the subject, the observations, the verdicts, and the seal. `link` is its place after
/// the run before it.
///
/// # Errors
/// [`EvidenceError::Unsigned`] with the signer's reason.
pub fn write(
    report: &Report,
    subject: &Subject,
    observations: &[Observation],
    link: &RunLink,
    signer: &dyn Signer,
) -> Result<String, EvidenceError> {
    let mut file = File::default();
    file.add(&Entry::Header(Box::new(Header {
        format: FORMAT,
        program: format!("malha-check {}", env!("CARGO_PKG_VERSION")),
        started: report.started,
        ended: report.ended,
        run: link.clone(),
        subject: subject.clone(),
    })))?;
    for observation in observations {
        file.add(&Entry::Observation(Box::new(observation.clone())))?;
    }
    for outcome in &report.outcomes {
        file.add(&Entry::Outcome(Box::new(outcome.clone())))?;
    }
    let signature = signer.sign(&file.to_be_signed());
    file.add(&Entry::Seal(Seal {
        authority: fingerprint(signer.certificate_der()),
        signature: Der(signature.map_err(EvidenceError::Unsigned)?),
    }))?;
    Ok(file.text)
}

/// Checks the file against the authority's certificate (PEM), and its verdicts against its observations.
///
/// # Errors
/// The first damage, with its line.
pub fn verify(file: &str, authority_pem: &str) -> Result<Verified, EvidenceError> {
    let authority = certificate::from_pem(&[authority_pem.to_owned()]);
    let [authority] = &authority[..] else {
        return Err(EvidenceError::Authority);
    };
    if file.len() > MAX_FILE_BYTES {
        return Err(EvidenceError::TooLong);
    }
    let mut run = read(file)?;
    run.header.run.check()?;
    let expected = fingerprint(authority);
    if run.seal.authority != expected {
        let found = run.seal.authority;
        return Err(EvidenceError::OtherAuthority { found, expected });
    }
    check_signature(
        authority,
        &run.signed,
        &run.seal.signature.0,
        run.header.ended,
    )?;
    let (subject, ended) = (&run.header.subject, run.header.ended);
    let follows = |it: &Outcome| judge(&it.check, subject, &run.observations, ended) == it.verdict;
    let disagreeing = run.outcomes.iter().filter(|it| !follows(it));
    let disagreeing = disagreeing.map(|it| it.check.id.clone()).collect();
    let report = Report {
        organization: subject.organization.clone(),
        started: run.header.started,
        ended,
        outcomes: std::mem::take(&mut run.outcomes),
    };
    Ok(Verified {
        organization: report.organization.clone(),
        started: report.started,
        ended,
        lines: run.lines,
        counts: report.counts(),
        link: run.header.run,
        sha256: RunLink::sha256_of(file.as_bytes()),
        disagreeing,
        report,
    })
}

/// One line.
#[derive(Serialize, Deserialize)]
struct Line<T> {
    #[serde(flatten)]
    place: Place,
    entry: T,
}

/// Where a line stands.
#[derive(Serialize, Deserialize)]
struct Place {
    /// From 1.
    line: u64,
    /// SHA-256 of the line before without its end, in hexadecimal; zeros on the first.
    previous: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Header(Box<Header>),
    Observation(Box<Observation>),
    Outcome(Box<Outcome>),
    Seal(Seal),
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    program: String,
    #[serde(with = "time::serde::rfc3339")]
    started: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    ended: OffsetDateTime,
    run: RunLink,
    subject: Subject,
}

#[derive(Serialize, Deserialize)]
struct Seal {
    /// SHA-256 of the authority's certificate, in hexadecimal.
    authority: String,
    /// Over [`File::to_be_signed`].
    signature: Der,
}

/// A file while it is written or read: its text, and what the next line must carry.
#[derive(Default)]
struct File {
    text: String,
    lines: u64,
    head: [u8; 32],
}

impl File {
    fn add(&mut self, entry: &Entry) -> Result<(), EvidenceError> {
        let place = Place {
            line: self.lines + 1,
            previous: data_encoding::HEXLOWER.encode(&self.head),
        };
        let line = serde_json::to_string(&Line { place, entry })?;
        self.pass(&line);
        self.text.push_str(&line);
        self.text.push('\n');
        Ok(())
    }

    fn pass(&mut self, line: &str) {
        self.lines += 1;
        self.head = Sha256::digest(line).into();
    }

    /// How many lines, and the hash of the last, which has all of them in it. It is text, so that auditors can write it themselves.
    fn to_be_signed(&self) -> Vec<u8> {
        let head = data_encoding::HEXLOWER.encode(&self.head);
        format!("{SIGNED_AS}\n{}\n{head}\n", self.lines).into_bytes()
    }
}

/// A file whose lines hang together. Who signed it is not yet known.
struct Run {
    header: Header,
    observations: Vec<Observation>,
    outcomes: Vec<Outcome>,
    seal: Seal,
    signed: Vec<u8>,
    lines: usize,
}

fn read(text: &str) -> Result<Run, EvidenceError> {
    let mut file = File::default();
    let (mut header, mut seal) = (None, None);
    let (mut observations, mut outcomes) = (Vec::new(), Vec::new());
    let mut signed = Vec::new();
    let mut rest = text.lines();
    let mut number = 0;
    while let Some(line) = rest.next() {
        number += 1;
        let malformed = |error: serde_json::Error| EvidenceError::Malformed {
            line: number,
            error: error.to_string(),
        };
        if seal.is_some() {
            return Err(EvidenceError::AfterSeal { line: number });
        }
        let place = serde_json::from_str(line).map_err(malformed)?;
        check_place(&place, &file, rest.clone())?;
        let read: Line<Entry> = serde_json::from_str(line).map_err(malformed)?;
        match read.entry {
            Entry::Header(found) if header.is_none() => {
                if found.format != FORMAT {
                    let found = found.format;
                    return Err(EvidenceError::Format { found });
                }
                header = Some(*found);
            }
            _ if header.is_none() => return Err(EvidenceError::NoHeader),
            Entry::Header(_) => {
                let error = "a second header".to_owned();
                return Err(EvidenceError::Malformed {
                    line: number,
                    error,
                });
            }
            Entry::Observation(observation) => observations.push(*observation),
            Entry::Outcome(outcome) => outcomes.push(*outcome),
            Entry::Seal(found) => {
                signed = file.to_be_signed();
                seal = Some(found);
            }
        }
        file.pass(line);
    }
    Ok(Run {
        header: header.ok_or(EvidenceError::Empty)?,
        observations,
        outcomes,
        seal: seal.ok_or(EvidenceError::Truncated { lines: number })?,
        signed,
        lines: number,
    })
}

/// That a line stands where it was written. The number tells how it came to stand elsewhere; the hash proves that it does not.
fn check_place(
    place: &Place,
    file: &File,
    mut after: std::str::Lines<'_>,
) -> Result<(), EvidenceError> {
    let expected = file.lines + 1;
    if place.line != expected {
        let is_expected = |text: &str| {
            let place = serde_json::from_str::<Place>(text);
            place.is_ok_and(|place| place.line == expected)
        };
        let is_gone = place.line > expected && !after.any(is_expected);
        return Err(match is_gone {
            true => EvidenceError::Removed {
                line: expected,
                next: place.line,
            },
            false => EvidenceError::Reordered {
                at: expected,
                written: place.line,
            },
        });
    }
    if place.previous != data_encoding::HEXLOWER.encode(&file.head) {
        return Err(EvidenceError::Changed {
            line: file.lines.max(1),
        });
    }
    Ok(())
}

fn check_signature(
    authority: &[u8],
    signed: &[u8],
    signature: &[u8],
    ended: OffsetDateTime,
) -> Result<(), EvidenceError> {
    let authority = certificate::parse(authority).ok_or(EvidenceError::Authority)?;
    let key = &authority.public_key().algorithm.algorithm;
    let algorithm = match key {
        key if *key == OID_KEY_TYPE_EC_PUBLIC_KEY => OID_SIG_ECDSA_WITH_SHA256,
        key if *key == OID_SIG_ED25519 => OID_SIG_ED25519,
        _ => return Err(EvidenceError::AuthorityKey),
    };
    let algorithm = AlgorithmIdentifier::new(algorithm, None);
    match certificate::verify(&authority, &algorithm, signature, signed) {
        Signature::Good => {}
        Signature::Bad => return Err(EvidenceError::BadSignature),
        Signature::Unsupported => return Err(EvidenceError::AuthorityKey),
    }
    if ended < certificate::not_before(&authority) || ended > certificate::not_after(&authority) {
        return Err(EvidenceError::OutsideValidity { ended });
    }
    Ok(())
}

fn fingerprint(certificate_der: &[u8]) -> String {
    RunLink::sha256_of(certificate_der)
}

const FORMAT: u32 = 2;
/// A run of the largest plan with the largest answers has less.
pub const MAX_FILE_BYTES: usize = 64 * 1_024 * 1_024;
/// No certificate, request or other thing that an authority signs begins like this.
const SIGNED_AS: &str = "malha evidence of a compliance check, format 2";

#[cfg(test)]
mod tests;
