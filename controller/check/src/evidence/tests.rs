//! The evidence file: it verifies as written, and each kind of damage is named with its line.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use time::Duration;
use time::macros::datetime;

use super::*;
use crate::sample;
use crate::{Seen, TcpSeen, Verdict, plan};

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// An authority that signs evidence.
struct Authority {
    der: Vec<u8>,
    pem: String,
    key: Key,
}

impl Authority {
    fn new(is_p256: bool, ends: OffsetDateTime) -> Self {
        let algorithm = match is_p256 {
            true => &PKCS_ECDSA_P256_SHA256,
            false => &PKCS_ED25519,
        };
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Malha");
        params.not_before = NOW - Duration::days(10);
        params.not_after = ends;
        let certificate = params.self_signed(&pair).unwrap();
        let pkcs8 = pair.serialize_der();
        let key = match is_p256 {
            true => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8);
                Key::P256(pair.unwrap())
            }
            false => Key::Ed25519(Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap()),
        };
        Self {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            key,
        }
    }

    fn usual() -> Self {
        Self::new(true, NOW + Duration::days(1_000))
    }
}

impl Signer for Authority {
    fn certificate_der(&self) -> &[u8] {
        &self.der
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        Ok(match &self.key {
            Key::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).unwrap();
                signature.as_ref().to_vec()
            }
            Key::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }
}

fn run() -> (Subject, Vec<Observation>, Report) {
    let subject = sample::subject();
    let looks = plan(&subject)
        .into_iter()
        .filter(|it| it.probe.is_for_nodes());
    let observations: Vec<Observation> = looks
        .map(|check| Observation {
            time: NOW,
            vantage: check.vantage,
            probe: check.probe,
            address: None,
            seen: Seen::Tcp(TcpSeen::Open),
        })
        .collect();
    let report = Report::new(&subject, &observations, NOW - Duration::MINUTE, NOW);
    (subject, observations, report)
}

fn file(authority: &Authority) -> String {
    let (subject, observations, report) = run();
    write(
        &report,
        &subject,
        &observations,
        &RunLink::first(),
        authority,
    )
    .unwrap()
}

fn lines(file: &str) -> Vec<String> {
    file.lines().map(str::to_owned).collect()
}

fn refusal(lines: &[String], authority: &Authority) -> EvidenceError {
    verify(&lines.join("\n"), &authority.pem).unwrap_err()
}

#[test]
fn a_file_verifies_as_it_was_written_with_either_kind_of_key() {
    let (_, observations, report) = run();
    for is_p256 in [true, false] {
        let authority = Authority::new(is_p256, NOW + Duration::days(1_000));
        let verified = verify(&file(&authority), &authority.pem).unwrap();
        assert_eq!(verified.organization, "sedec");
        assert_eq!(verified.report, report);
        assert_eq!(verified.counts, report.counts());
        assert!(verified.counts.findings > 1 && verified.counts.ok > 1);
        let lines = observations.len() + report.outcomes.len() + 2;
        assert_eq!(verified.lines, lines);
        assert_eq!(verified.disagreeing, Vec::<String>::new());
    }
}

#[test]
fn a_changed_line_is_named() {
    let authority = Authority::usual();
    let mut lines = lines(&file(&authority));
    let at = lines
        .iter()
        .position(|line| line.contains("port_open"))
        .unwrap();
    lines[at] = lines[at].replace("\"finding\"", "\"Finding\"");
    let error = refusal(&lines, &authority);
    assert!(matches!(error, EvidenceError::Malformed { line, .. } if line == at + 1));
    lines[at] = lines[at].replace("\"Finding\"", "\"finding\"");
    lines[at] = lines[at].replacen("port_open", "port_closed", 1);
    let changed = at as u64 + 1;
    let error = refusal(&lines, &authority);
    assert!(
        matches!(error, EvidenceError::Changed { line } if line == changed),
        "{error}"
    );
}

#[test]
fn removed_moved_cut_and_added_lines_are_told_apart() {
    let authority = Authority::usual();
    let whole = lines(&file(&authority));

    let mut removed = whole.clone();
    removed.remove(4);
    let error = refusal(&removed, &authority);
    assert!(
        matches!(error, EvidenceError::Removed { line: 5, next: 6 }),
        "{error}"
    );

    let mut moved = whole.clone();
    moved.swap(4, 7);
    let error = refusal(&moved, &authority);
    assert!(
        matches!(error, EvidenceError::Reordered { at: 5, written: 8 }),
        "{error}"
    );

    let cut = &whole[..whole.len() - 1];
    let error = refusal(cut, &authority);
    assert!(matches!(error, EvidenceError::Truncated { lines } if lines == cut.len()));

    let mut added = whole.clone();
    added.push(whole[3].clone());
    let error = refusal(&added, &authority);
    assert!(matches!(error, EvidenceError::AfterSeal { line } if line == added.len()));

    let mut headless = whole.clone();
    headless.remove(0);
    assert!(matches!(
        refusal(&headless, &authority),
        EvidenceError::Removed { line: 1, .. }
    ));
    assert!(matches!(
        verify("", &authority.pem),
        Err(EvidenceError::Empty)
    ));
}

#[test]
fn lines_joined_again_without_one_do_not_fit_the_signature() {
    let authority = Authority::usual();
    let mut again = File::default();
    let whole = lines(&file(&authority));
    for (at, line) in whole.iter().enumerate() {
        let read: Line<Entry> = serde_json::from_str(line).unwrap();
        if at != 4 {
            again.add(&read.entry).unwrap();
        }
    }
    let error = verify(&again.text, &authority.pem).unwrap_err();
    assert!(matches!(error, EvidenceError::BadSignature), "{error}");
}

#[test]
fn another_authority_and_an_ended_one_are_refused() {
    let (authority, other) = (Authority::usual(), Authority::usual());
    let error = verify(&file(&authority), &other.pem).unwrap_err();
    assert!(
        matches!(error, EvidenceError::OtherAuthority { .. }),
        "{error}"
    );
    let ended = Authority::new(true, NOW - Duration::DAY);
    let error = verify(&file(&ended), &ended.pem).unwrap_err();
    assert!(
        matches!(error, EvidenceError::OutsideValidity { .. }),
        "{error}"
    );
    let error = verify(&file(&authority), "no certificate").unwrap_err();
    assert!(matches!(error, EvidenceError::Authority), "{error}");
}

#[test]
fn a_signature_by_a_key_that_is_not_the_authoritys_is_refused() {
    let authority = Authority::usual();
    let forged = Authority {
        der: authority.der.clone(),
        pem: authority.pem.clone(),
        key: Authority::usual().key,
    };
    let error = verify(&file(&forged), &authority.pem).unwrap_err();
    assert!(matches!(error, EvidenceError::BadSignature), "{error}");
}

#[test]
fn a_first_run_that_names_one_before_it_and_a_later_one_that_names_none_are_refused() {
    let authority = Authority::usual();
    let (subject, observations, report) = run();
    let some = RunLink::after(1, "11".repeat(32));
    for (sequence, previous) in [
        (1, some.previous),
        (2, RunLink::first().previous),
        (2, "x".to_owned()),
    ] {
        let link = RunLink { sequence, previous };
        let file = write(&report, &subject, &observations, &link, &authority).unwrap();
        let error = verify(&file, &authority.pem).unwrap_err();
        assert!(matches!(error, EvidenceError::BadLink { .. }), "{error}");
    }
}

#[test]
fn a_newer_format_is_refused_by_number() {
    let authority = Authority::usual();
    let newer = file(&authority).replacen("\"format\":2", "\"format\":3", 1);
    let error = verify(&newer, &authority.pem).unwrap_err();
    assert!(
        matches!(error, EvidenceError::Format { found: 3 }),
        "{error}"
    );
}

#[test]
fn verdicts_that_do_not_follow_from_the_observations_are_named() {
    let authority = Authority::usual();
    let (subject, observations, mut report) = run();
    let found = report
        .outcomes
        .iter_mut()
        .find(|it| it.verdict.fault().is_some());
    let found = found.unwrap();
    found.verdict = Verdict::Ok {
        observed: "refused".to_owned(),
        evidence: Vec::new(),
    };
    let id = found.check.id.clone();
    let file = write(
        &report,
        &subject,
        &observations,
        &RunLink::first(),
        &authority,
    )
    .unwrap();
    let verified = verify(&file, &authority.pem).unwrap();
    assert_eq!(verified.disagreeing, [id]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_single_byte_can_be_another(at: prop::sample::Index, byte in 0x20_u8..0x7f) {
        let authority = Authority::usual();
        let file = file(&authority);
        let at = at.index(file.len());
        let mut bytes = file.clone().into_bytes();
        prop_assume!(bytes[at] != byte && bytes[at].is_ascii() && bytes[at] != b'\n');
        bytes[at] = byte;
        let Ok(changed) = String::from_utf8(bytes) else { return Ok(()) };
        prop_assert!(verify(&changed, &authority.pem).is_err());
    }
}
