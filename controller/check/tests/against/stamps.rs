//! Time stamps against `openssl ts` behind a small HTTP server.

use std::fs;
use std::sync::Arc;

use malha_check::{Cause, Der, Fault, Seen, StampSeen, Subject, Verdict};
use time::Duration;

use crate::authority::{Authority, Issued};
use crate::parts::serve_pages;
use crate::rig::{Loopback, Run};

/// An authority and the configuration of its time stamps.
fn court() -> Option<Arc<Authority>> {
    let authority = Authority::new("AC")?;
    fs::write(authority.folder().join("ts.cnf"), STAMPS).unwrap();
    fs::write(authority.folder().join("serial"), "01\n").unwrap();
    Some(Arc::new(authority))
}

/// Asks a time-stamp authority with the certificate of this profile, in a section of the configuration.
async fn ask(authority: &Arc<Authority>, is_rsa: bool, section: &'static str) -> Run {
    let signer = match is_rsa {
        true => authority.issue_rsa("tsa", "stamps", 400),
        false => authority.issue("tsa", "stamps", 400),
    };
    let shared = Arc::clone(authority);
    let address = serve_pages(move |_, query| {
        fs::write(shared.folder().join("query"), query).unwrap();
        let (certificate, key) = (signer.certificate(), signer.key());
        shared.openssl(&[
            "ts",
            "-reply",
            "-queryfile",
            "query",
            "-config",
            "ts.cnf",
            "-section",
            section,
            "-signer",
            &certificate,
            "-inkey",
            &key,
            "-out",
            "reply",
        ]);
        let reply = fs::read(shared.folder().join("reply")).unwrap();
        (200, "application/timestamp-reply".to_owned(), reply)
    })
    .await;
    let subject = Subject {
        issuers_pem: vec![authority.pem()],
        timestamp_urls: vec![format!("http://{address}/")],
        ..Subject::default()
    };
    Run::of(subject, &Loopback::default()).await
}

fn id(run: &Run, what: &str) -> String {
    format!("time-stamp/{what}/{}", run.subject.timestamp_urls[0])
}

fn assert_fault(run: &Run, what: &str, fault: Fault) {
    run.assert_fault(&id(run, what), fault);
}

fn stamp(run: &mut Run) -> &mut StampSeen {
    let seen = run
        .observations
        .iter_mut()
        .find_map(|it| match &mut it.seen {
            Seen::TimeStamp(seen) => Some(seen),
            _ => None,
        });
    seen.unwrap()
}

#[tokio::test]
async fn a_stamp_is_in_order_with_either_kind_of_key_until_the_certificate_ends() {
    let Some(authority) = court() else { return };
    for is_rsa in [true, false] {
        let run = ask(&authority, is_rsa, "usual").await;
        for what in ["matches", "signed", "clock"] {
            run.assert_ok(&id(&run, what));
        }
        let late = run.verdict_at(&id(&run, "signed"), run.ended + Duration::days(401));
        assert_eq!(late.fault(), Some(Fault::Expired));
    }
}

#[tokio::test]
async fn a_stamp_for_something_else_or_an_older_one_is_a_finding() {
    let Some(authority) = court() else { return };
    let mut run = ask(&authority, false, "usual").await;
    let real = stamp(&mut run).clone();
    stamp(&mut run).imprint.0[3] ^= 1;
    assert_fault(&run, "matches", Fault::StampOtherImprint);
    *stamp(&mut run) = real.clone();
    stamp(&mut run).nonce.0[3] ^= 1;
    assert_fault(&run, "matches", Fault::StampOtherNonce);
    *stamp(&mut run) = real;
    run.assert_ok(&id(&run, "matches"));
}

#[tokio::test]
async fn a_clock_that_is_off_either_way_is_a_finding() {
    let Some(authority) = court() else { return };
    let mut run = ask(&authority, false, "usual").await;
    for offset in [Duration::MINUTE, -Duration::MINUTE] {
        stamp(&mut run).sent += offset;
        stamp(&mut run).received += offset;
        assert_fault(&run, "clock", Fault::StampClockOff);
        stamp(&mut run).sent -= offset;
        stamp(&mut run).received -= offset;
        run.assert_ok(&id(&run, "clock"));
    }
}

#[tokio::test]
async fn a_stamp_under_another_authority_or_changed_is_a_finding() {
    let (Some(authority), Some(other)) = (court(), Authority::new("Outra AC")) else {
        return;
    };
    let mut run = ask(&authority, true, "usual").await;
    run.subject.issuers_pem = vec![other.pem()];
    assert_fault(&run, "signed", Fault::UnknownIssuer);
    run.subject.issuers_pem.clear();
    match run.verdict(&id(&run, "signed")) {
        Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::NothingDeclared),
        verdict => panic!("{verdict:?}"),
    }
    // A time-stamp authority's own certificate may be what is declared.
    run.subject.issuers_pem = vec![authority.read("tsa-stamps.pem")];
    run.assert_ok(&id(&run, "signed"));

    let real = stamp(&mut run).clone();
    let imprint = real.imprint.0.clone();
    let bytes = &mut stamp(&mut run).answer.as_mut().unwrap().0;
    let at = bytes
        .windows(imprint.len())
        .position(|it| it == imprint)
        .unwrap();
    bytes[at] ^= 1;
    assert_fault(&run, "signed", Fault::StampSignatureBad);
    *stamp(&mut run) = real.clone();
    let bytes = &mut stamp(&mut run).answer.as_mut().unwrap().0;
    *bytes.last_mut().unwrap() ^= 1;
    assert_fault(&run, "signed", Fault::StampSignatureBad);
    *stamp(&mut run) = real;
    stamp(&mut run).answer = Some(Der(vec![0x30, 0x00]));
    assert_fault(&run, "signed", Fault::StampMalformed);
}

/// Wherever a bit flips: what still counts as signed is still the stamp that was asked for.
#[tokio::test]
async fn no_bit_of_a_stamp_can_flip_and_change_what_is_believed() {
    let Some(authority) = court() else { return };
    let mut run = ask(&authority, true, "usual").await;
    let real = stamp(&mut run).answer.clone().unwrap();
    let (signed, matches) = (id(&run, "signed"), id(&run, "matches"));
    let mut unsigned = 0;
    for at in 0..real.0.len() {
        let mut changed = real.clone();
        changed.0[at] ^= 1 << (at % 8);
        stamp(&mut run).answer = Some(changed);
        if run.verdict(&signed).is_ok() {
            unsigned += 1;
            assert!(run.verdict(&matches).is_ok(), "byte {at}");
        }
    }
    // The status, and the lists of algorithms and certificates, stand outside of every signature.
    assert!(
        unsigned * 10 < real.0.len(),
        "{unsigned} of {}",
        real.0.len()
    );
}

#[tokio::test]
async fn an_authority_that_refuses_is_a_finding_with_its_words() {
    let Some(authority) = court() else { return };
    let run = ask(&authority, false, "refuses").await;
    let id = id(&run, "matches");
    run.assert_fault(&id, Fault::StampRefused);
    let Verdict::Finding(finding) = run.verdict(&id) else {
        panic!("no finding");
    };
    assert!(
        finding.observed.contains("Message digest algorithm"),
        "{finding:?}"
    );
}

/// OpenSSL's authority refuses to use such certificates, so its CMS signs the same content with them.
#[tokio::test]
async fn a_certificate_without_the_critical_usage_alone_is_a_finding() {
    let Some(authority) = court() else { return };
    let mut run = ask(&authority, false, "usual").await;
    let reply = authority.folder().join("reply");
    assert_eq!(
        fs::read(reply).unwrap(),
        stamp(&mut run).answer.clone().unwrap().0
    );
    authority.openssl(&[
        "ts",
        "-reply",
        "-in",
        "reply",
        "-token_out",
        "-out",
        "token",
    ]);
    authority.openssl(&[
        "cms",
        "-verify",
        "-in",
        "token",
        "-inform",
        "DER",
        "-noverify",
        "-out",
        "content",
    ]);
    for (profile, form, fault) in [
        ("stamps", "-nosmimecap", None),
        // BER, with lengths left open and the content in pieces.
        ("stamps", "-stream", None),
        ("stamps_not_critical", "-stream", Some(Fault::StampUsage)),
        ("stamps_and_more", "-stream", Some(Fault::StampUsage)),
        ("authentication", "-stream", Some(Fault::StampUsage)),
    ] {
        let signer = authority.issue("outra", profile, 400);
        let token = sign_content(&authority, &signer, &["-cades", form]);
        let has_open_length = token.starts_with(&[0x30, 0x80]);
        assert_eq!(has_open_length, form == "-stream");
        stamp(&mut run).answer = Some(Der(granted(&token)));
        let verdict = run.verdict(&id(&run, "signed"));
        assert_eq!(verdict.fault(), fault, "{profile} {form}: {verdict:#?}");
        run.assert_ok(&id(&run, "matches"));
    }
}

/// RFC 3161 §2.4.2: the token says which certificate it was signed with, so that no other can be put in its place.
#[tokio::test]
async fn a_token_that_does_not_name_its_certificate_is_a_finding() {
    let Some(authority) = court() else { return };
    let mut run = ask(&authority, false, "usual").await;
    authority.openssl(&[
        "ts",
        "-reply",
        "-in",
        "reply",
        "-token_out",
        "-out",
        "token",
    ]);
    authority.openssl(&[
        "cms",
        "-verify",
        "-in",
        "token",
        "-inform",
        "DER",
        "-noverify",
        "-out",
        "content",
    ]);
    let signer = authority.issue("outra", "stamps", 400);
    let with = sign_content(&authority, &signer, &["-cades"]);
    stamp(&mut run).answer = Some(Der(granted(&with)));
    run.assert_ok(&id(&run, "signed"));
    let without = sign_content(&authority, &signer, &[]);
    stamp(&mut run).answer = Some(Der(granted(&without)));
    assert_fault(&run, "signed", Fault::StampSignatureBad);
}

fn sign_content(authority: &Authority, signer: &Issued, options: &[&str]) -> Vec<u8> {
    let (certificate, key) = (signer.certificate(), signer.key());
    let fixed = [
        "cms",
        "-sign",
        "-in",
        "content",
        "-nodetach",
        "-binary",
        "-md",
        "sha256",
        "-econtent_type",
        "1.2.840.113549.1.9.16.1.4",
        "-outform",
        "DER",
        "-signer",
        &certificate,
        "-inkey",
        &key,
    ];
    authority.openssl(&[&fixed[..], options].concat())
}

/// TimeStampResp with status granted.
fn granted(token: &[u8]) -> Vec<u8> {
    let status = [0x30, 0x03, 0x02, 0x01, 0x00];
    let length = u16::try_from(status.len() + token.len()).unwrap();
    let head = [&[0x30, 0x82][..], &length.to_be_bytes()].concat();
    [&head[..], &status, token].concat()
}

const STAMPS: &str = "\
[usual]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[refuses]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha512
ess_cert_id_alg = sha256
";
