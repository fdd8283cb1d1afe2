//! OCSP by OpenSSL: an authority, a server that it issued a certificate to, and responders, honest ones and others.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use malha_check::PortProbe;
use time::Duration;

use crate::authority::{Authority, Issued};
use crate::clock::move_times;
use crate::net::Net;
use crate::parts::{serve_pages, start_openssl};
use crate::rig::{Looker, MESSAGES, OCSP, Run, subject, tls_server};

/// An authority, the server whose certificate is asked about, and its line in the responder's list.
pub(crate) struct Court<'n> {
    net: &'n Net,
    pub(crate) authority: Arc<Authority>,
    pub(crate) server: SocketAddr,
}

/// Answers questions by OpenSSL, one at a time, without a responder of its own.
pub(crate) struct Clerk {
    authority: Arc<Authority>,
    signer: Issued,
}

impl Clerk {
    pub(crate) fn answer(&self, question: &[u8]) -> Vec<u8> {
        self.answer_with(question, &["-nmin", "60"])
    }

    fn answer_with(&self, question: &[u8], end: &[&str]) -> Vec<u8> {
        let folder = self.authority.folder();
        fs::write(folder.join("question"), question).unwrap();
        let (certificate, key) = (self.signer.certificate(), self.signer.key());
        let list = ["ocsp", "-index", "good.txt", "-CA", "authority.pem"];
        let signer = ["-rsigner", &certificate, "-rkey", &key];
        let files = ["-reqin", "question", "-respout", "answer"];
        self.authority
            .openssl(&[&list[..], &signer, end, &files].concat());
        fs::read(folder.join("answer")).unwrap()
    }

    /// The answer as it would have been at another time. Its signer has an RSA key of 2048 bits: a new signature is as long as the
    /// old one.
    pub(crate) fn answer_at(&self, question: &[u8], end: &[&str], offset: Duration) -> Vec<u8> {
        let mut answer = self.answer_with(question, end);
        let basic = answer.windows(BASIC.len()).position(|it| it == BASIC);
        // Behind the heads of the octets and of the sequence in them.
        let signed = basic.unwrap() + BASIC.len() + 8;
        let length = match answer[signed + 1] {
            0x81 => 3 + usize::from(answer[signed + 2]),
            short => 2 + usize::from(short),
        };
        let signature = signed + length + SHA256_WITH_RSA_BYTES + 5;
        move_times(&mut answer[signed..signed + length], offset);
        let folder = self.authority.folder();
        fs::write(folder.join("signed"), &answer[signed..signed + length]).unwrap();
        let sign = ["dgst", "-sha256", "-sign", &self.signer.key(), "signed"];
        let again = self.authority.openssl(&sign);
        answer[signature..signature + again.len()].copy_from_slice(&again);
        answer
    }

    /// The answer to a question about another certificate.
    pub(crate) fn answer_about(&self, other: &Issued) -> Vec<u8> {
        let certificate = other.certificate();
        let ask = ["ocsp", "-issuer", "authority.pem", "-cert", &certificate];
        self.authority
            .openssl(&[&ask[..], &["-no_nonce", "-reqout", "other"]].concat());
        let question = fs::read(self.authority.folder().join("other")).unwrap();
        self.answer(&question)
    }
}

impl<'n> Court<'n> {
    pub(crate) async fn open(net: &'n Net) -> Self {
        let authority = Authority::new("AC");
        let issued = authority.issue("servidor-1", "authentication", 400);
        let certificate = issued.certificate();
        let server = tls_server(net, (&net.host(), MESSAGES), &issued, &["-Verify", "1"]).await;
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
        Self {
            net,
            authority: Arc::new(authority),
            server,
        }
    }

    /// A responder that has OpenSSL's answers and sends others.
    pub(crate) fn misbehaving(
        &self,
        answer: impl Fn(&Clerk, &[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> SocketAddr {
        self.misbehaving_with(self.responder_certificate(), answer)
    }

    pub(crate) fn misbehaving_with(
        &self,
        signer: Issued,
        answer: impl Fn(&Clerk, &[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> SocketAddr {
        let authority = Arc::clone(&self.authority);
        let clerk = Clerk { authority, signer };
        serve_pages(&self.net.host(), OCSP, move |_, question| {
            let answer = answer(&clerk, question);
            (200, "application/ocsp-response".to_owned(), answer)
        })
    }

    /// A responder with this list and signer.
    pub(crate) async fn responder(&self, list: &str, signer: &Issued) -> SocketAddr {
        self.responder_with(list, signer, &[]).await
    }

    pub(crate) async fn responder_with(
        &self,
        list: &str,
        signer: &Issued,
        options: &[&str],
    ) -> SocketAddr {
        let host = self.net.host();
        let (port, certificate, key) = (OCSP.to_string(), signer.certificate(), signer.key());
        let listen = ["ocsp", "-port", &port, "-index", list];
        let signed = ["-rsigner", &certificate, "-rkey", &key];
        // Of two ends the last counts.
        let usual = ["-CA", "authority.pem", "-nmin", "60"];
        let arguments = [&listen[..], &signed, &usual, options].concat();
        start_openssl(self.net, &host, &arguments, self.authority.folder()).await;
        host.at(OCSP)
    }

    pub(crate) async fn ask(&self, responder: SocketAddr) -> Run {
        let port = (self.server, PortProbe::TlsClientCertificate);
        let mut subject = subject(&[port]);
        subject.issuers_pem = vec![self.authority.pem()];
        subject.ocsp_urls = vec![format!("http://{responder}/")];
        Run::of(subject, &Looker::default()).await
    }

    pub(crate) fn responder_certificate(&self) -> Issued {
        self.authority.issue("ocsp", "responder", 400)
    }
}

/// The type id-pkix-ocsp-basic, as it stands in an answer.
const BASIC: [u8; 11] = [
    0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01,
];
/// The name of the algorithm, between what is signed and the signature.
const SHA256_WITH_RSA_BYTES: usize = 15;
