//! OCSP against OpenSSL's responder: signers, states and times, each right and wrong.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use malha_check::{Cause, Fault, Observation, PortProbe, Seen, Verdict};
use time::Duration;

use crate::authority::{Authority, Issued};
use crate::parts::{Part, free_address, serve_pages, start_listening, start_until};
use crate::rig::{Loopback, Run, subject, tls_server};

/// An authority, the server whose certificate is asked about, and its line in the responder's list.
struct Court {
    authority: Arc<Authority>,
    server: Part,
}

/// Answers questions by OpenSSL, one at a time, without a responder of its own.
struct Clerk {
    authority: Arc<Authority>,
    signer: Issued,
}

impl Clerk {
    fn answer(&self, question: &[u8]) -> Vec<u8> {
        let folder = self.authority.folder();
        fs::write(folder.join("question"), question).unwrap();
        let (certificate, key) = (self.signer.certificate(), self.signer.key());
        let list = [
            "ocsp",
            "-index",
            "good.txt",
            "-CA",
            "authority.pem",
            "-nmin",
            "60",
        ];
        let signer = ["-rsigner", &certificate, "-rkey", &key];
        let files = ["-reqin", "question", "-respout", "answer"];
        self.authority
            .openssl(&[&list[..], &signer, &files].concat());
        fs::read(folder.join("answer")).unwrap()
    }

    /// The answer to a question about another certificate.
    fn answer_about(&self, other: &Issued) -> Vec<u8> {
        let certificate = other.certificate();
        let ask = ["ocsp", "-issuer", "authority.pem", "-cert", &certificate];
        self.authority
            .openssl(&[&ask[..], &["-no_nonce", "-reqout", "other"]].concat());
        let question = fs::read(self.authority.folder().join("other")).unwrap();
        self.answer(&question)
    }
}

impl Court {
    async fn open() -> Option<Self> {
        let authority = Authority::new("AC")?;
        let issued = authority.issue("servidor-1", "authentication", 400);
        let (certificate, key) = (issued.certificate(), issued.key());
        let server = tls_server(authority.folder(), &certificate, &key, &["-Verify", "1"]).await?;
        let serial = ["x509", "-in", &certificate, "-noout", "-serial"];
        let serial = String::from_utf8(authority.openssl(&serial)).unwrap();
        let serial = serial.trim().trim_start_matches("serial=");
        let line = |state: &str| format!("{state}\t{serial}\tunknown\t/CN=servidor-1\n");
        let write = |file: &str, text: &str| {
            fs::write(authority.folder().join(file), text).unwrap();
        };
        write("good.txt", &line("V\t350101000000Z\t"));
        write("revoked.txt", &line("R\t350101000000Z\t261101000000Z"));
        write("empty.txt", "");
        let authority = Arc::new(authority);
        Some(Self { authority, server })
    }

    /// A responder that has OpenSSL's answers and sends others.
    async fn misbehaving(
        &self,
        answer: impl Fn(&Clerk, &[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> SocketAddr {
        let clerk = Clerk {
            authority: Arc::clone(&self.authority),
            signer: self.responder_certificate(),
        };
        serve_pages(move |_, question| {
            let answer = answer(&clerk, question);
            (200, "application/ocsp-response".to_owned(), answer)
        })
        .await
    }

    /// A responder with this list and signer.
    async fn responder(&self, list: &str, signer: &Issued) -> Part {
        self.responder_with(list, signer, &[]).await
    }

    async fn responder_with(&self, list: &str, signer: &Issued, options: &[&str]) -> Part {
        let address = free_address();
        let (port, certificate, key) = (
            address.port().to_string(),
            signer.certificate(),
            signer.key(),
        );
        let arguments = [
            "ocsp",
            "-port",
            &port,
            "-index",
            list,
            "-CA",
            "authority.pem",
            "-rsigner",
            &certificate,
            "-rkey",
            &key,
        ];
        // The last of two counts.
        let usual = ["-nmin", "60"];
        let arguments = arguments.iter().chain(&usual).chain(options);
        let arguments: Vec<String> = arguments.map(|it| (*it).to_owned()).collect();
        let folder = self.authority.folder();
        let started = start_until("openssl", &arguments, folder, "ACCEPT", address).await;
        started.unwrap()
    }

    async fn ask(&self, responder: SocketAddr) -> Run {
        let port = (self.server.address, PortProbe::TlsClientCertificate);
        let mut subject = subject(&[port]);
        subject.issuers_pem = vec![self.authority.pem()];
        subject.ocsp_urls = vec![format!("http://{responder}/")];
        Run::of(subject, &Loopback::default()).await
    }

    fn responder_certificate(&self) -> Issued {
        self.authority.issue("ocsp", "responder", 400)
    }
}

fn id(run: &Run, what: &str) -> String {
    format!(
        "production/ocsp/servidor-1/{what}/{}",
        run.subject.ocsp_urls[0]
    )
}

fn assert_fault(run: &Run, what: &str, fault: Fault) {
    run.assert_fault(&id(run, what), fault);
}

fn seen(run: &mut Run) -> &mut Seen {
    let is_ocsp = |it: &&mut Observation| matches!(it.seen, Seen::Ocsp(_));
    let ocsp = run.observations.iter_mut().find(is_ocsp);
    &mut ocsp.unwrap().seen
}

#[tokio::test]
async fn a_good_answer_by_a_responder_that_the_issuer_allowed_is_in_order_and_ages() {
    let Some(court) = Court::open().await else {
        return;
    };
    let signer = court.responder_certificate();
    let responder = court.responder("good.txt", &signer).await;
    let run = court.ask(responder.address).await;
    for what in ["signed", "fresh", "good"] {
        run.assert_ok(&id(&run, what));
    }
    let fresh = |after: Duration| {
        run.verdict_at(&id(&run, "fresh"), run.ended + after)
            .fault()
    };
    assert_eq!(fresh(Duration::hours(2)), Some(Fault::OcspStale));
    // OpenSSL stamps the present, so it is this side's clock that goes wrong.
    assert_eq!(fresh(Duration::hours(-2)), Some(Fault::OcspFromFuture));
}

#[tokio::test]
async fn a_responder_may_name_itself_by_its_key_and_leave_its_certificate_out() {
    let Some(court) = Court::open().await else {
        return;
    };
    let signer = court.responder_certificate();
    let options = ["-resp_key_id", "-rmd", "sha384"];
    let responder = court.responder_with("good.txt", &signer, &options).await;
    let run = court.ask(responder.address).await;
    run.assert_ok(&id(&run, "signed"));
    // Without its certificate in the answer nobody knows the key.
    let responder = court
        .responder_with("good.txt", &signer, &["-resp_no_certs"])
        .await;
    let mut run = court.ask(responder.address).await;
    assert_fault(&run, "signed", Fault::OcspSignerUnknown);
    run.subject
        .issuers_pem
        .push(court.authority.read("ocsp-responder.pem"));
    run.assert_ok(&id(&run, "signed"));
}

#[tokio::test]
async fn a_signature_of_an_unknown_kind_is_neither_good_nor_bad() {
    let Some(court) = Court::open().await else {
        return;
    };
    let signer = court.authority.issue_p521("ocsp", "responder");
    let responder = court
        .responder_with("good.txt", &signer, &["-rmd", "sha512"])
        .await;
    let run = court.ask(responder.address).await;
    match run.verdict(&id(&run, "signed")) {
        Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::Unsupported),
        other => panic!("{other:?}"),
    }
    let signer = court.responder_certificate();
    let responder = court
        .responder_with("good.txt", &signer, &["-rmd", "sha1"])
        .await;
    let run = court.ask(responder.address).await;
    assert_fault(&run, "signed", Fault::WeakSignature);
}

#[tokio::test]
async fn an_answer_by_the_issuer_itself_is_in_order() {
    let Some(court) = Court::open().await else {
        return;
    };
    let folder = court.authority.folder();
    let issuer = Issued {
        certificate: folder.join("authority.pem"),
        key: folder.join("authority.key"),
    };
    let responder = court.responder("good.txt", &issuer).await;
    let run = court.ask(responder.address).await;
    run.assert_ok(&id(&run, "signed"));
}

#[tokio::test]
async fn revoked_and_unknown_certificates_are_findings() {
    let Some(court) = Court::open().await else {
        return;
    };
    let signer = court.responder_certificate();
    for (list, fault) in [
        ("revoked.txt", Fault::Revoked),
        ("empty.txt", Fault::OcspUnknown),
    ] {
        let responder = court.responder(list, &signer).await;
        let run = court.ask(responder.address).await;
        assert_fault(&run, "good", fault);
        run.assert_ok(&id(&run, "signed"));
    }
}

#[tokio::test]
async fn an_answer_signed_by_a_stranger_or_without_the_usage_is_a_finding() {
    let (Some(court), Some(other)) = (Court::open().await, Authority::new("Outra AC")) else {
        return;
    };
    let stranger = other.issue("ocsp", "responder", 400);
    let responder = court.responder("good.txt", &stranger).await;
    let mut run = court.ask(responder.address).await;
    assert_fault(&run, "signed", Fault::OcspSignerUnknown);
    // One that is declared by itself is known.
    run.subject
        .issuers_pem
        .push(other.read("ocsp-responder.pem"));
    run.assert_ok(&id(&run, "signed"));

    let without_usage = court.authority.issue("ocsp", "authentication", 400);
    let responder = court.responder("good.txt", &without_usage).await;
    let run = court.ask(responder.address).await;
    assert_fault(&run, "signed", Fault::OcspSignerUsage);
}

#[tokio::test]
async fn an_answer_whose_signature_was_spoilt_is_a_finding() {
    let Some(court) = Court::open().await else {
        return;
    };
    let signer = court.responder_certificate();
    let spoilt = court
        .responder_with("good.txt", &signer, &["-badsig"])
        .await;
    let run = court.ask(spoilt.address).await;
    assert_fault(&run, "signed", Fault::OcspSignatureBad);
    // In the bytes that are signed: the state becomes another.
    let liar = court.misbehaving(|clerk, question| {
        let mut answer = clerk.answer(question);
        let good = answer.windows(2).position(|it| it == [0x80, 0x00]).unwrap();
        answer[good] = 0x82;
        answer
    });
    let run = court.ask(liar.await).await;
    assert_fault(&run, "signed", Fault::OcspSignatureBad);
    let honest = court
        .misbehaving(|clerk, question| clerk.answer(question))
        .await;
    let run = court.ask(honest).await;
    run.assert_ok(&id(&run, "signed"));
}

#[tokio::test]
async fn a_responder_that_replays_its_first_answer_is_found_at_the_second_question() {
    let Some(court) = Court::open().await else {
        return;
    };
    let first = OnceLock::new();
    let replaying = court
        .misbehaving(move |clerk, question| first.get_or_init(|| clerk.answer(question)).clone());
    let replaying = replaying.await;
    let run = court.ask(replaying).await;
    run.assert_ok(&id(&run, "signed"));
    let run = court.ask(replaying).await;
    assert_fault(&run, "signed", Fault::OcspOtherNonce);
}

#[tokio::test]
async fn an_answer_about_another_certificate_is_a_finding() {
    let Some(court) = Court::open().await else {
        return;
    };
    let other = court.authority.issue("servidor-2", "authentication", 400);
    let confused = court
        .misbehaving(move |clerk, _| clerk.answer_about(&other))
        .await;
    let run = court.ask(confused).await;
    assert_fault(&run, "good", Fault::OcspOtherCertificate);
    run.assert_ok(&id(&run, "signed"));
}

#[tokio::test]
async fn an_answer_that_was_cut_is_a_finding() {
    let Some(court) = Court::open().await else {
        return;
    };
    let cutting = court.misbehaving(|clerk, question| {
        let mut answer = clerk.answer(question);
        answer.truncate(100);
        answer
    });
    let run = court.ask(cutting.await).await;
    for what in ["signed", "fresh", "good"] {
        assert_fault(&run, what, Fault::OcspMalformed);
    }
}

/// OpenSSL computes the end of an answer in seconds of 32 bits: so many minutes are an hour ago.
#[tokio::test]
async fn a_responder_whose_answers_are_over_before_they_are_given_is_a_finding() {
    let Some(court) = Court::open().await else {
        return;
    };
    let signer = court.responder_certificate();
    let an_hour_ago = ["-nmin", "71582728"];
    let late = court
        .responder_with("good.txt", &signer, &an_hour_ago)
        .await;
    let run = court.ask(late.address).await;
    assert_fault(&run, "fresh", Fault::OcspStale);
    run.assert_ok(&id(&run, "signed"));
    let usual = court.responder("good.txt", &signer).await;
    let run = court.ask(usual.address).await;
    run.assert_ok(&id(&run, "fresh"));
}

#[tokio::test]
async fn a_responder_whose_certificate_has_ended_is_a_finding() {
    let Some(court) = Court::open().await else {
        return;
    };
    let ended = court.authority.issue("ocsp", "responder", -1);
    let responder = court.responder("good.txt", &ended).await;
    let run = court.ask(responder.address).await;
    assert_fault(&run, "signed", Fault::Expired);
}

/// Wherever a bit flips: what still counts as signed still says the same.
#[tokio::test]
async fn no_bit_of_an_answer_can_flip_and_change_what_is_believed() {
    let Some(court) = Court::open().await else {
        return;
    };
    let signer = court.responder_certificate();
    let responder = court.responder("revoked.txt", &signer).await;
    let mut run = court.ask(responder.address).await;
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
}

/// HAProxy takes the TLS off for a responder.
async fn behind_tls(authority: &Authority, responder: SocketAddr) -> Option<Part> {
    let issued = authority.issue(NAME, "authentication", 400);
    let both = [&issued.certificate, &issued.key].map(|it| fs::read_to_string(it).unwrap());
    fs::write(authority.folder().join("front.pem"), both.concat()).unwrap();
    let address = free_address();
    let conf = format!(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
         frontend tls\n  bind {address} ssl crt front.pem\n  default_backend responder\n\
         backend responder\n  server one {responder}\n"
    );
    fs::write(authority.folder().join("haproxy.cfg"), conf).unwrap();
    let arguments = ["-db", "-f", "haproxy.cfg"].map(str::to_owned);
    start_listening(
        "haproxy",
        "haproxy",
        &arguments,
        authority.folder(),
        address,
    )
    .await
}

const NAME: &str = "ocsp.mt.example";

#[tokio::test]
async fn a_responder_behind_tls_is_asked_if_its_server_is_vouched_for_by_name() {
    let (Some(court), Some(other)) = (Court::open().await, Authority::new("Outra AC")) else {
        return;
    };
    let signer = court.responder_certificate();
    let responder = court.responder("good.txt", &signer).await;
    let Some(front) = behind_tls(&court.authority, responder.address).await else {
        return;
    };
    let port = (court.server.address, PortProbe::TlsClientCertificate);
    let mut subject = subject(&[port]);
    subject.issuers_pem = vec![court.authority.pem()];
    let mut dial = Loopback::default();
    for name in [NAME, "outro.mt.example"] {
        dial.names.insert(name.to_owned(), front.address.ip());
    }
    let url = |name: &str| format!("https://{name}:{}/", front.address.port());
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
}

#[tokio::test]
async fn a_responder_that_refuses_fails_or_is_not_there_is_told_apart() {
    let Some(court) = Court::open().await else {
        return;
    };
    let later = serve_pages(|_, _| {
        let try_later = vec![0x30, 0x03, 0x0a, 0x01, 0x03];
        (200, "application/ocsp-response".to_owned(), try_later)
    });
    let run = court.ask(later.await).await;
    assert_fault(&run, "good", Fault::OcspRefused);
    let broken = serve_pages(|_, _| (500, "text/plain".to_owned(), Vec::new()));
    let run = court.ask(broken.await).await;
    assert_fault(&run, "good", Fault::OcspRefused);
    let run = court.ask(free_address()).await;
    assert_fault(&run, "good", Fault::OcspRefused);

    let mut subject = run.subject.clone();
    subject.issuers_pem.clear();
    let run = Run::of(subject, &Loopback::default()).await;
    match run.verdict(&id(&run, "good")) {
        Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::Before),
        other => panic!("{other:?}"),
    }
}
