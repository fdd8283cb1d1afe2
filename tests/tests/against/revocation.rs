//! OCSP against OpenSSL's responder: signers, states and times, each right and wrong.

use std::fs;
use std::net::SocketAddr;
use std::sync::OnceLock;

use malha_check::{Cause, Fault, Observation, PortProbe, Seen, Verdict};
use time::Duration;

use crate::authority::{Authority, Issued};
use crate::court::Court;
use crate::net::{Net, played};
use crate::parts::{serve_page, serve_pages, start_listening};
use crate::rig::{HTTPS, Looker, OCSP, Run, subject};

fn id(run: &Run, what: &str) -> String {
    let server = &run.subject.production.servers[0].node.name;
    let url = &run.subject.ocsp_urls[0];
    format!("production/ocsp/{server}/{what}/{url}")
}

fn assert_fault(run: &Run, what: &str, fault: Fault) {
    run.assert_fault(&id(run, what), fault);
}

fn seen(run: &mut Run) -> &mut Seen {
    let is_ocsp = |it: &&mut Observation| matches!(it.seen, Seen::Ocsp(_));
    let ocsp = run.observations.iter_mut().find(is_ocsp);
    &mut ocsp.unwrap().seen
}

#[test]
fn a_good_answer_by_a_responder_that_the_issuer_allowed_is_in_order() {
    played(async |net| {
        let court = Court::open(net).await;
        let signer = court.responder_certificate();
        let responder = court.responder("good.txt", &signer).await;
        let run = court.ask(responder).await;
        for what in ["signed", "fresh", "good"] {
            run.assert_ok(&id(&run, what));
        }
    });
}

#[test]
fn a_responder_may_name_itself_by_its_key_and_leave_its_certificate_out() {
    played(async |net| {
        let court = Court::open(net).await;
        let signer = court.responder_certificate();
        let options = ["-resp_key_id", "-rmd", "sha384"];
        let responder = court.responder_with("good.txt", &signer, &options).await;
        let run = court.ask(responder).await;
        run.assert_ok(&id(&run, "signed"));
        // Without its certificate in the answer nobody knows the key.
        let responder = court
            .responder_with("good.txt", &signer, &["-resp_no_certs"])
            .await;
        let mut run = court.ask(responder).await;
        assert_fault(&run, "signed", Fault::OcspSignerUnknown);
        run.subject
            .issuers_pem
            .push(court.authority.read("ocsp-responder.pem"));
        run.assert_ok(&id(&run, "signed"));
    });
}

#[test]
fn a_signature_of_an_unknown_kind_is_neither_good_nor_bad() {
    played(async |net| {
        let court = Court::open(net).await;
        let signer = court.authority.issue_p521("ocsp", "responder");
        let responder = court
            .responder_with("good.txt", &signer, &["-rmd", "sha512"])
            .await;
        let run = court.ask(responder).await;
        match run.verdict(&id(&run, "signed")) {
            Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::Unsupported),
            other => panic!("{other:?}"),
        }
        let signer = court.responder_certificate();
        let responder = court
            .responder_with("good.txt", &signer, &["-rmd", "sha1"])
            .await;
        let run = court.ask(responder).await;
        assert_fault(&run, "signed", Fault::WeakSignature);
    });
}

#[test]
fn an_answer_by_the_issuer_itself_is_in_order() {
    played(async |net| {
        let court = Court::open(net).await;
        let folder = court.authority.folder();
        let issuer = Issued {
            certificate: folder.join("authority.pem"),
            key: folder.join("authority.key"),
        };
        let responder = court.responder("good.txt", &issuer).await;
        let run = court.ask(responder).await;
        run.assert_ok(&id(&run, "signed"));
    });
}

#[test]
fn revoked_and_unknown_certificates_are_findings() {
    played(async |net| {
        let court = Court::open(net).await;
        let signer = court.responder_certificate();
        for (list, fault) in [
            ("revoked.txt", Fault::Revoked),
            ("empty.txt", Fault::OcspUnknown),
        ] {
            let responder = court.responder(list, &signer).await;
            let run = court.ask(responder).await;
            assert_fault(&run, "good", fault);
            run.assert_ok(&id(&run, "signed"));
        }
    });
}

#[test]
fn an_answer_signed_by_a_stranger_or_without_the_usage_is_a_finding() {
    played(async |net| {
        let (court, other) = (Court::open(net).await, Authority::new("Outra AC"));
        let stranger = other.issue("ocsp", "responder", 400);
        let responder = court.responder("good.txt", &stranger).await;
        let mut run = court.ask(responder).await;
        assert_fault(&run, "signed", Fault::OcspSignerUnknown);
        // One that is declared by itself is known.
        run.subject
            .issuers_pem
            .push(other.read("ocsp-responder.pem"));
        run.assert_ok(&id(&run, "signed"));

        let without_usage = court.authority.issue("ocsp", "authentication", 400);
        let responder = court.responder("good.txt", &without_usage).await;
        let run = court.ask(responder).await;
        assert_fault(&run, "signed", Fault::OcspSignerUsage);
    });
}

#[test]
fn an_answer_whose_signature_was_spoilt_is_a_finding() {
    played(async |net| {
        let court = Court::open(net).await;
        let signer = court.responder_certificate();
        let spoilt = court
            .responder_with("good.txt", &signer, &["-badsig"])
            .await;
        let run = court.ask(spoilt).await;
        assert_fault(&run, "signed", Fault::OcspSignatureBad);
        // In the bytes that are signed: the state becomes another.
        let liar = court.misbehaving(|clerk, question| {
            let mut answer = clerk.answer(question);
            let good = answer.windows(2).position(|it| it == [0x80, 0x00]).unwrap();
            answer[good] = 0x82;
            answer
        });
        let run = court.ask(liar).await;
        assert_fault(&run, "signed", Fault::OcspSignatureBad);
        let honest = court.misbehaving(|clerk, question| clerk.answer(question));
        let run = court.ask(honest).await;
        run.assert_ok(&id(&run, "signed"));
    });
}

#[test]
fn a_responder_that_replays_its_first_answer_is_found_at_the_second_question() {
    played(async |net| {
        let court = Court::open(net).await;
        let first = OnceLock::new();
        let replaying = court.misbehaving(move |clerk, question| {
            first.get_or_init(|| clerk.answer(question)).clone()
        });
        let run = court.ask(replaying).await;
        run.assert_ok(&id(&run, "signed"));
        let run = court.ask(replaying).await;
        assert_fault(&run, "signed", Fault::OcspOtherNonce);
    });
}

#[test]
fn an_answer_about_another_certificate_is_a_finding() {
    played(async |net| {
        let court = Court::open(net).await;
        let other = court.authority.issue("servidor-2", "authentication", 400);
        let confused = court.misbehaving(move |clerk, _| clerk.answer_about(&other));
        let run = court.ask(confused).await;
        assert_fault(&run, "good", Fault::OcspOtherCertificate);
        run.assert_ok(&id(&run, "signed"));
    });
}

#[test]
fn an_answer_that_was_cut_is_a_finding() {
    played(async |net| {
        let court = Court::open(net).await;
        let cutting = court.misbehaving(|clerk, question| {
            let mut answer = clerk.answer(question);
            answer.truncate(100);
            answer
        });
        let run = court.ask(cutting).await;
        for what in ["signed", "fresh", "good"] {
            assert_fault(&run, what, Fault::OcspMalformed);
        }
    });
}

/// OpenSSL computes the end of an answer in seconds of 32 bits: so many minutes are an hour ago.
#[test]
fn a_responder_whose_answers_are_over_before_they_are_given_is_a_finding() {
    played(async |net| {
        let court = Court::open(net).await;
        let signer = court.responder_certificate();
        let an_hour_ago = ["-nmin", "71582728"];
        let late = court
            .responder_with("good.txt", &signer, &an_hour_ago)
            .await;
        let run = court.ask(late).await;
        assert_fault(&run, "fresh", Fault::OcspStale);
        run.assert_ok(&id(&run, "signed"));
        let usual = court.responder("good.txt", &signer).await;
        let run = court.ask(usual).await;
        run.assert_ok(&id(&run, "fresh"));
    });
}

/// OpenSSL stamps the present, so its answer is moved in time and signed again. An answer without an end is good for a day.
#[test]
fn a_responder_whose_clock_is_wrong_is_a_finding() {
    played(async |net| {
        let court = Court::open(net).await;
        let an_hour = &["-nmin", "60"][..];
        for (end, offset, fault) in [
            (an_hour, Duration::hours(2), Some(Fault::OcspFromFuture)),
            (an_hour, -Duration::hours(2), Some(Fault::OcspStale)),
            (an_hour, Duration::MINUTE, None),
            (&[], -Duration::hours(25), Some(Fault::OcspStale)),
            (&[], -Duration::hours(2), None),
        ] {
            let signer = court.authority.issue_rsa("ocsp", "responder", 400);
            let wrong = court.misbehaving_with(signer, move |clerk, question| {
                clerk.answer_at(question, end, offset)
            });
            let run = court.ask(wrong).await;
            let verdict = run.verdict(&id(&run, "fresh"));
            assert_eq!(verdict.fault(), fault, "{end:?} {offset}: {verdict:#?}");
            run.assert_ok(&id(&run, "signed"));
        }
    });
}

#[test]
fn a_responder_whose_certificate_has_ended_is_a_finding() {
    played(async |net| {
        let court = Court::open(net).await;
        let ended = court.authority.issue("ocsp", "responder", -1);
        let responder = court.responder("good.txt", &ended).await;
        let run = court.ask(responder).await;
        assert_fault(&run, "signed", Fault::Expired);
    });
}

/// Wherever a bit flips: what still counts as signed still says the same.
#[test]
fn no_bit_of_an_answer_can_flip_and_change_what_is_believed() {
    played(async |net| {
        let court = Court::open(net).await;
        let signer = court.responder_certificate();
        let responder = court.responder("revoked.txt", &signer).await;
        let mut run = court.ask(responder).await;
        let Seen::Ocsp(real) = seen(&mut run).clone() else {
            panic!("no answer");
        };
        let (signed, good, fresh) = (id(&run, "signed"), id(&run, "good"), id(&run, "fresh"));
        let length = real.answer.as_ref().unwrap().0.len();
        let mut unsigned = 0;
        for at in 0..length {
            let mut changed = real.clone();
            changed.answer.as_mut().unwrap().0[at] ^= 1 << (at % 8);
            *seen(&mut run) = Seen::Ocsp(changed);
            assert!(
                !run.verdict(&good).is_ok(),
                "byte {at}: not revoked any more"
            );
            if run.verdict(&signed).is_ok() {
                unsigned += 1;
                assert_eq!(
                    run.verdict(&good).fault(),
                    Some(Fault::Revoked),
                    "byte {at}"
                );
                assert!(run.verdict(&fresh).is_ok(), "byte {at}");
            }
        }
        // Few bytes stand outside of every signature.
        assert!(unsigned * 20 < length, "{unsigned} of {length}");
    });
}

/// HAProxy takes the TLS off for a responder.
async fn behind_tls(net: &Net, authority: &Authority, responder: SocketAddr) -> SocketAddr {
    let issued = authority.issue(NAME, "authentication", 400);
    let both = [&issued.certificate, &issued.key].map(|it| fs::read_to_string(it).unwrap());
    let folder = authority.folder();
    fs::write(folder.join("front.pem"), both.concat()).unwrap();
    let host = net.host();
    let address = host.at(HTTPS);
    let conf = format!(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
         frontend tls\n  bind {address} ssl crt front.pem\n  default_backend responder\n\
         backend responder\n  server one {responder}\n"
    );
    fs::write(folder.join("haproxy.cfg"), conf).unwrap();
    let arguments = ["-db", "-f", "haproxy.cfg"];
    start_listening(net, (&host, HTTPS), "haproxy", &arguments, folder).await;
    address
}

const NAME: &str = "ocsp.mt.example";

#[test]
fn a_responder_behind_tls_is_asked_if_its_server_is_vouched_for_by_name() {
    played(async |net| {
        let (court, other) = (Court::open(net).await, Authority::new("Outra AC"));
        let signer = court.responder_certificate();
        let responder = court.responder("good.txt", &signer).await;
        let front = behind_tls(net, &court.authority, responder).await;
        let port = (court.server, PortProbe::TlsClientCertificate);
        let mut subject = subject(&[port]);
        subject.issuers_pem = vec![court.authority.pem()];
        let mut dial = Looker::default();
        for name in [NAME, "outro.mt.example"] {
            dial.names.insert(name.to_owned(), front.ip());
        }
        let url = |name: &str| format!("https://{name}/");
        subject.ocsp_urls = vec![url(NAME)];
        let run = Run::of(subject.clone(), &dial).await;
        for what in ["signed", "fresh", "good"] {
            run.assert_ok(&id(&run, what));
        }
        let mut unvouched = subject.clone();
        unvouched.web_issuers_pem = vec![other.pem()];
        subject.ocsp_urls = vec![url("outro.mt.example")];
        for wrong in [unvouched, subject] {
            let run = Run::of(wrong, &dial).await;
            match run.verdict(&id(&run, "good")) {
                Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::Before, "{why:?}"),
                verdict => panic!("{verdict:?}"),
            }
        }
    });
}

#[test]
fn a_responder_that_refuses_fails_or_is_not_there_is_told_apart() {
    played(async |net| {
        let court = Court::open(net).await;
        let later = serve_pages(&net.host(), OCSP, |_, _| {
            let try_later = vec![0x30, 0x03, 0x0a, 0x01, 0x03];
            (200, "application/ocsp-response".to_owned(), try_later)
        });
        let run = court.ask(later).await;
        assert_fault(&run, "good", Fault::OcspRefused);
        let broken = serve_page(&net.host(), OCSP, 500);
        let run = court.ask(broken).await;
        assert_fault(&run, "good", Fault::OcspRefused);
        let run = court.ask(net.host().at(OCSP)).await;
        assert_fault(&run, "good", Fault::OcspRefused);

        let mut subject = run.subject.clone();
        subject.issuers_pem.clear();
        let run = Run::of(subject, &Looker::default()).await;
        match run.verdict(&id(&run, "good")) {
            Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::Before),
            other => panic!("{other:?}"),
        }
    });
}
