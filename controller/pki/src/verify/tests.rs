//! Each fault of a certificate shows as its own verdict and leaves the other checks alone.

use super::*;
use crate::{Authority, AuthorityProfile, IssuedCertificate};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use time::Duration;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

fn authority(name: &str) -> Authority {
    let profile = AuthorityProfile {
        name: name.to_owned(),
        years: 1,
    };
    Authority::create(&profile, NOW).unwrap()
}

fn broker(authority: &Authority, name: &str) -> IssuedCertificate {
    authority
        .issue_edge(&[name.parse().unwrap()], NOW, 30)
        .unwrap()
}

fn report(certificate: &[u8], authority: &Authority, now: OffsetDateTime) -> VerifyReport {
    let request = VerifyRequest {
        certificate,
        authority: authority.certificate_der(),
        other_authority: Some(authority.certificate_der()),
        key: None,
        name: Some("broker.example"),
    };
    verify(&request, now).unwrap()
}

fn faults(report: &VerifyReport) -> Vec<&'static str> {
    let failed = report
        .verdicts()
        .into_iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Fail(_)));
    failed.map(|(check, _)| check).collect()
}

#[test]
fn a_good_certificate_passes_every_check() {
    let authority = authority("CA");
    let broker = broker(&authority, "broker.example");
    let key = PrivateKeyDer::Pkcs8(broker.key().clone_key());
    let request = VerifyRequest {
        certificate: &broker.chain()[0],
        authority: authority.certificate_der(),
        other_authority: Some(authority.certificate_der()),
        key: Some(&key),
        name: Some("Broker.Example."),
    };
    let report = verify(&request, NOW).unwrap();
    assert!(
        report
            .verdicts()
            .iter()
            .all(|(_, verdict)| **verdict == Verdict::Pass),
        "{report:?}"
    );
    assert!(report.is_clean());
}

#[test]
fn what_was_not_given_is_reported_as_not_checked() {
    let authority = authority("CA");
    let broker = broker(&authority, "broker.example");
    let request = VerifyRequest {
        certificate: &broker.chain()[0],
        authority: authority.certificate_der(),
        other_authority: None,
        key: None,
        name: None,
    };
    let report = verify(&request, NOW).unwrap();
    assert_eq!(report.same_authority, Verdict::NotChecked);
    assert_eq!(report.key_matches, Verdict::NotChecked);
    assert_eq!(report.name_matches, Verdict::NotChecked);
    assert!(report.is_clean());
}

#[test]
fn authorities_of_one_name_and_two_keys_are_two_authorities() {
    let ours = authority("CA");
    let theirs = authority("CA");
    let broker = broker(&ours, "broker.example");
    let request = VerifyRequest {
        certificate: &broker.chain()[0],
        authority: ours.certificate_der(),
        other_authority: Some(theirs.certificate_der()),
        key: None,
        name: None,
    };
    let report = verify(&request, NOW).unwrap();
    assert_eq!(
        report.same_authority,
        Verdict::Fail(Fault::OtherAuthority {
            ours: ours.fingerprint(),
            theirs: theirs.fingerprint()
        })
    );
    assert_eq!(faults(&report), ["same_authority"]);
}

#[test]
fn anothers_key_and_an_unreadable_key_are_told_apart() {
    let authority = authority("CA");
    let broker_ = broker(&authority, "broker.example");
    let other = broker(&authority, "broker.example");
    let mut request = VerifyRequest {
        certificate: &broker_.chain()[0],
        authority: authority.certificate_der(),
        other_authority: None,
        key: None,
        name: None,
    };
    let others_key = PrivateKeyDer::Pkcs8(other.key().clone_key());
    request.key = Some(&others_key);
    assert_eq!(
        verify(&request, NOW).unwrap().key_matches,
        Verdict::Fail(Fault::KeyMismatch)
    );
    let noise = PrivateKeyDer::Pkcs8(vec![1, 2, 3].into());
    request.key = Some(&noise);
    assert_eq!(
        verify(&request, NOW).unwrap().key_matches,
        Verdict::Fail(Fault::KeyUnreadable)
    );
}

#[test]
fn time_before_and_after_the_window_and_after_the_authoritys_are_told_apart() {
    let authority = authority("CA");
    let broker = broker(&authority, "broker.example");
    let end = broker.validity().not_after();
    let start = broker.validity().not_before();
    let certificate = &broker.chain()[0];

    let early = report(certificate, &authority, start - Duration::seconds(1));
    assert_eq!(early.validity, Verdict::Fail(Fault::NotYetValid(start)),);
    assert_eq!(report(certificate, &authority, end).validity, Verdict::Pass);
    let late = report(certificate, &authority, end + Duration::seconds(1));
    assert_eq!(late.validity, Verdict::Fail(Fault::Expired(end)));
    assert_eq!(faults(&late), ["validity"]);
}

#[test]
fn a_living_certificate_of_an_ended_authority_names_the_authority() {
    let authority = authority("CA");
    let key = KeyPair::generate().unwrap();
    let foreign = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
    let certificate = foreign.self_signed(&key).unwrap();
    let ended = authority.validity().not_after();
    let report = report(certificate.der(), &authority, ended + Duration::days(1));
    assert_eq!(
        report.validity,
        Verdict::Fail(Fault::AuthorityExpired(ended))
    );
}

#[test]
fn a_certificate_of_another_authority_was_not_issued_by_this_one() {
    let ours = authority("CA");
    let same_name = broker(&authority("CA"), "broker.example");
    let other_name = broker(&authority("Other"), "broker.example");
    assert_eq!(
        report(&same_name.chain()[0], &ours, NOW).issued_by_authority,
        Verdict::Fail(Fault::OtherIssuerKey)
    );
    assert_eq!(
        report(&other_name.chain()[0], &ours, NOW).issued_by_authority,
        Verdict::Fail(Fault::OtherIssuer)
    );
}

#[test]
fn a_forger_who_copies_name_and_key_id_fails_at_the_signature() {
    let ours = authority("CA");
    let parsed = x509::parse_certificate(ours.certificate_der()).unwrap();
    let mut fake = CertificateParams::default();
    fake.distinguished_name = rcgen::DistinguishedName::new();
    fake.distinguished_name.push(DnType::CommonName, "CA");
    fake.key_identifier_method =
        rcgen::KeyIdMethod::PreSpecified(x509::subject_key_id(&parsed).unwrap().to_vec());
    let fake_key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
    leaf.use_authority_key_identifier_extension = true;
    let forged: CertificateDer<'static> = leaf
        .signed_by(
            &KeyPair::generate().unwrap(),
            &Issuer::from_params(&fake, &fake_key),
        )
        .unwrap()
        .into();

    let report = report(&forged, &ours, NOW);

    assert_eq!(
        report.issued_by_authority,
        Verdict::Fail(Fault::BadSignature)
    );
    assert_eq!(faults(&report), ["issued_by_authority"]);
}

#[test]
fn a_leaf_in_the_place_of_the_authority_may_not_issue() {
    let authority = authority("CA");
    let broker = broker(&authority, "broker.example");
    let request = VerifyRequest {
        certificate: &broker.chain()[0],
        authority: &broker.chain()[0],
        other_authority: None,
        key: None,
        name: None,
    };
    assert_eq!(
        verify(&request, NOW).unwrap().issued_by_authority,
        Verdict::Fail(Fault::NotAnAuthority)
    );
}

#[test]
fn a_self_signed_certificate_is_called_so_even_when_it_bears_the_authoritys_name() {
    let authority = authority("CA");
    let mut params = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "CA");
    let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let report = report(own.der(), &authority, NOW);
    assert_eq!(report.not_self_signed, Verdict::Fail(Fault::SelfSigned));
    assert!(!report.is_clean());
}

#[test]
fn the_authority_itself_is_no_entity() {
    let authority = authority("CA");
    let report = report(authority.certificate_der(), &authority, NOW);
    assert_eq!(report.not_self_signed, Verdict::Fail(Fault::SelfSigned));
}

#[test]
fn names_match_by_alternative_name_and_wildcards_by_one_label() {
    let authority = authority("CA");
    let wildcard = broker(&authority, "*.garagem.example");
    let parsed = x509::parse_certificate(&wildcard.chain()[0]).unwrap();
    assert_eq!(name_matches(&parsed, "a.garagem.example"), Ok(()));
    for wrong in ["garagem.example", "a.b.garagem.example", "a.example", ""] {
        assert!(name_matches(&parsed, wrong).is_err(), "{wrong:?}");
    }
    let fault = name_matches(&parsed, "a.example").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the certificate is not for \"a.example\"; its names are: \"*.garagem.example\""
    );
}

#[test]
fn a_common_name_alone_is_no_name() {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "broker.example");
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let parsed = x509::parse_certificate(certificate.der()).unwrap();
    let fault = name_matches(&parsed, "broker.example").unwrap_err();
    assert!(fault.to_string().contains("common name alone"), "{fault}");
}

#[test]
fn bytes_that_are_no_certificate_are_an_error_and_no_report() {
    let request = VerifyRequest {
        certificate: b"-----BEGIN",
        authority: &[],
        other_authority: None,
        key: None,
        name: None,
    };
    assert!(matches!(
        verify(&request, NOW),
        Err(PkiError::CertificateMalformed)
    ));
}
