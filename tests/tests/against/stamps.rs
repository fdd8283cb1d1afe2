//! Time stamps against `openssl ts` behind a small HTTP server.

use std::fs;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use malha_check::{Cause, Fault, Seen, StampSeen, Subject, Verdict};
use time::Duration;

use crate::authority::{Authority, Issued};
use crate::clock::move_times;
use crate::net::{Net, played};
use crate::parts::serve_pages;
use crate::rig::{Looker, Run, TIME_STAMPS};

/// An authority and the configuration of its time stamps.
fn court() -> Arc<Authority> {
    let authority = Authority::new("AC");
    fs::write(authority.folder().join("ts.cnf"), STAMPS).unwrap();
    fs::write(authority.folder().join("serial"), "01\n").unwrap();
    Arc::new(authority)
}

/// Stamps queries by OpenSSL, one at a time, and has means to stamp them wrong.
struct Clerk {
    authority: Arc<Authority>,
    signer: Issued,
}

impl Clerk {
    fn reply(&self, query: &[u8], section: &str) -> Vec<u8> {
        self.write("query", query);
        let (certificate, key) = (self.signer.certificate(), self.signer.key());
        let reply = ["ts", "-reply", "-queryfile", "query", "-config", "ts.cnf"];
        let signer = ["-section", section, "-signer", &certificate, "-inkey", &key];
        let out = ["-out", "reply"];
        self.authority
            .openssl(&[&reply[..], &signer, &out].concat());
        self.read("reply")
    }

    /// The reply to a query of this authority's own, for such a digest.
    fn reply_for(&self, digest: &[u8], options: &[&str]) -> Vec<u8> {
        let digest = HEXLOWER.encode(digest);
        let query = ["ts", "-query", "-sha256", "-cert", "-digest", &digest];
        let out = ["-out", "other-query"];
        self.authority
            .openssl(&[&query[..], options, &out].concat());
        self.reply(&self.read("other-query"), "usual")
    }

    /// The stamp of this reply, changed and signed again: OpenSSL's CMS signs what its time-stamp authority would not.
    fn sign_again(
        &self,
        reply: &[u8],
        change: impl FnOnce(&mut Vec<u8>),
        signer: &Issued,
        options: &[&str],
    ) -> Vec<u8> {
        self.write("reply", reply);
        let token = [
            "ts",
            "-reply",
            "-in",
            "reply",
            "-token_out",
            "-out",
            "token",
        ];
        self.authority.openssl(&token);
        let open = [
            "cms",
            "-verify",
            "-in",
            "token",
            "-inform",
            "DER",
            "-noverify",
        ];
        self.authority
            .openssl(&[&open[..], &["-out", "content"]].concat());
        let mut content = self.read("content");
        change(&mut content);
        self.write("content", &content);
        let (certificate, key) = (signer.certificate(), signer.key());
        let sign = ["cms", "-sign", "-in", "content", "-nodetach", "-binary"];
        let kind = [
            "-md",
            "sha256",
            "-econtent_type",
            "1.2.840.113549.1.9.16.1.4",
        ];
        let by = ["-outform", "DER", "-signer", &certificate, "-inkey", &key];
        granted(
            &self
                .authority
                .openssl(&[&sign[..], &kind, &by, options].concat()),
        )
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.authority.folder().join(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.authority.folder().join(file), bytes).unwrap();
    }
}

/// Asks a time-stamp authority that has this certificate and replies like this.
async fn ask_one(
    net: &Net,
    authority: &Arc<Authority>,
    signer: Issued,
    reply: impl Fn(&Clerk, &[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> Run {
    let authority = Arc::clone(authority);
    let issuers_pem = vec![authority.pem()];
    let clerk = Clerk { authority, signer };
    let address = serve_pages(&net.host(), TIME_STAMPS, move |_, query| {
        let reply = reply(&clerk, query);
        (200, "application/timestamp-reply".to_owned(), reply)
    });
    let subject = Subject {
        issuers_pem,
        timestamp_urls: vec![format!("http://{address}/")],
        ..Subject::default()
    };
    Run::of(subject, &Looker::default()).await
}

/// One that stamps as a section of the configuration says.
async fn ask(net: &Net, authority: &Arc<Authority>, is_rsa: bool, section: &'static str) -> Run {
    let signer = match is_rsa {
        true => authority.issue_rsa("tsa", "stamps", 400),
        false => authority.issue("tsa", "stamps", 400),
    };
    ask_one(net, authority, signer, move |clerk, query| {
        clerk.reply(query, section)
    })
    .await
}

/// One that stamps wrong, with a right certificate.
async fn ask_wrong(
    net: &Net,
    authority: &Arc<Authority>,
    reply: impl Fn(&Clerk, &[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> Run {
    let signer = authority.issue("tsa", "stamps", 400);
    ask_one(net, authority, signer, reply).await
}

/// What a query wants a stamp for: the octets of its SHA-256.
fn imprint(query: &[u8]) -> &[u8] {
    let at = query.windows(2).position(|it| it == [0x04, 0x20]).unwrap();
    &query[at + 2..at + 34]
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

#[test]
fn a_stamp_is_in_order_with_either_kind_of_key_until_the_certificate_ends() {
    played(async |net| {
        let authority = court();
        for is_rsa in [true, false] {
            let run = ask(net, &authority, is_rsa, "usual").await;
            for what in ["matches", "signed", "clock"] {
                run.assert_ok(&id(&run, what));
            }
            let late = run.verdict_at(&id(&run, "signed"), run.ended + Duration::days(401));
            assert_eq!(late.fault(), Some(Fault::Expired));
        }
    });
}

#[test]
fn a_stamp_for_something_else_is_a_finding() {
    played(async |net| {
        let authority = court();
        let run = ask_wrong(net, &authority, |clerk, _| clerk.reply_for(&[7; 32], &[])).await;
        assert_fault(&run, "matches", Fault::StampOtherImprint);
        run.assert_ok(&id(&run, "signed"));
    });
}

#[test]
fn a_stamp_with_another_number_than_was_sent_or_with_none_is_a_finding() {
    played(async |net| {
        let authority = court();
        for options in [&[][..], &["-no_nonce"]] {
            let run = ask_wrong(net, &authority, move |clerk, query| {
                clerk.reply_for(imprint(query), options)
            });
            let run = run.await;
            assert_fault(&run, "matches", Fault::StampOtherNonce);
            run.assert_ok(&id(&run, "signed"));
        }
    });
}

#[test]
fn a_clock_that_is_off_either_way_is_a_finding() {
    played(async |net| {
        let authority = court();
        for (offset, fault) in [
            (Duration::MINUTE, Some(Fault::StampClockOff)),
            (-Duration::MINUTE, Some(Fault::StampClockOff)),
            (Duration::seconds(2), None),
        ] {
            let run = ask_wrong(net, &authority, move |clerk, query| {
                let signer = &clerk.signer;
                let change = |content: &mut Vec<u8>| move_times(content, offset);
                clerk.sign_again(&clerk.reply(query, "usual"), change, signer, &["-cades"])
            });
            let run = run.await;
            let clock = run.verdict(&id(&run, "clock"));
            assert_eq!(clock.fault(), fault, "{offset}: {clock:?}");
            run.assert_ok(&id(&run, "signed"));
        }
    });
}

#[test]
fn a_stamp_under_another_authority_is_a_finding() {
    played(async |net| {
        let (authority, other) = (court(), Authority::new("Outra AC"));
        let mut run = ask(net, &authority, true, "usual").await;
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
    });
}

#[test]
fn a_stamp_that_was_changed_or_is_none_is_a_finding() {
    played(async |net| {
        let authority = court();
        let changed = ask_wrong(net, &authority, |clerk, query| {
            let mut reply = clerk.reply(query, "usual");
            let wanted = imprint(query);
            let at = reply.windows(wanted.len()).position(|it| it == wanted);
            reply[at.unwrap()] ^= 1;
            reply
        });
        assert_fault(&changed.await, "signed", Fault::StampSignatureBad);
        let spoilt = ask_wrong(net, &authority, |clerk, query| {
            let mut reply = clerk.reply(query, "usual");
            *reply.last_mut().unwrap() ^= 1;
            reply
        });
        assert_fault(&spoilt.await, "signed", Fault::StampSignatureBad);
        let empty = ask_wrong(net, &authority, |_, _| vec![0x30, 0x00]).await;
        for what in ["matches", "signed", "clock"] {
            assert_fault(&empty, what, Fault::StampMalformed);
        }
    });
}

#[test]
fn a_stamp_under_a_certificate_that_has_ended_is_a_finding() {
    played(async |net| {
        let authority = court();
        let ended = Arc::new(authority.issue("antiga", "stamps", -1));
        let run = ask_wrong(net, &authority, move |clerk, query| {
            clerk.sign_again(&clerk.reply(query, "usual"), |_| {}, &ended, &["-cades"])
        });
        assert_fault(&run.await, "signed", Fault::Expired);
    });
}

/// Wherever a bit flips: what still counts as signed is still the stamp that was asked for.
#[test]
fn no_bit_of_a_stamp_can_flip_and_change_what_is_believed() {
    played(async |net| {
        let authority = court();
        let mut run = ask(net, &authority, true, "usual").await;
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
    });
}

#[test]
fn an_authority_that_refuses_is_a_finding_with_its_words() {
    played(async |net| {
        let authority = court();
        let run = ask(net, &authority, false, "refuses").await;
        let id = id(&run, "matches");
        run.assert_fault(&id, Fault::StampRefused);
        let Verdict::Finding(finding) = run.verdict(&id) else {
            panic!("no finding");
        };
        assert!(
            finding.observed.contains("Message digest algorithm"),
            "{finding:?}"
        );
    });
}

/// OpenSSL's authority refuses to use such certificates, so its CMS signs the same content with them.
#[test]
fn a_certificate_without_the_critical_usage_alone_is_a_finding() {
    played(async |net| {
        let authority = court();
        for (profile, form, fault) in [
            ("stamps", "-nosmimecap", None),
            // BER, with lengths left open and the content in pieces.
            ("stamps", "-stream", None),
            ("stamps_not_critical", "-stream", Some(Fault::StampUsage)),
            ("stamps_and_more", "-stream", Some(Fault::StampUsage)),
            ("authentication", "-stream", Some(Fault::StampUsage)),
        ] {
            let signer = authority.issue("outra", profile, 400);
            let run = ask_wrong(net, &authority, move |clerk, query| {
                let reply = clerk.reply(query, "usual");
                let signed = clerk.sign_again(&reply, |_| {}, &signer, &["-cades", form]);
                let has_open_length = signed.windows(4).any(|it| it == [0x30, 0x80, 0x06, 0x09]);
                assert_eq!(has_open_length, form == "-stream");
                signed
            });
            let run = run.await;
            let verdict = run.verdict(&id(&run, "signed"));
            assert_eq!(verdict.fault(), fault, "{profile} {form}: {verdict:#?}");
            run.assert_ok(&id(&run, "matches"));
        }
    });
}

/// RFC 3161 §2.4.2: the token says which certificate it was signed with, so that no other can be put in its place.
#[test]
fn a_token_that_does_not_name_its_certificate_is_a_finding() {
    played(async |net| {
        let authority = court();
        for (options, fault) in [
            (&["-cades"][..], None),
            (&[], Some(Fault::StampSignatureBad)),
        ] {
            let run = ask_wrong(net, &authority, move |clerk, query| {
                let reply = clerk.reply(query, "usual");
                clerk.sign_again(&reply, |_| {}, &clerk.signer, options)
            });
            let run = run.await;
            let verdict = run.verdict(&id(&run, "signed"));
            assert_eq!(verdict.fault(), fault, "{options:?}: {verdict:#?}");
        }
    });
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
