//! Port 5500 as `openssl s_server` plays it: client certificates, chains, usages and expiry. And 5577 beside it.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use malha_check::{Cause, Fault, Lang, PortProbe, Seen, Verdict, WithoutCertificate};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{self, sign::any_supported_type};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Issued};
use crate::net::{Host, Net, played};
use crate::parts::{serve_page, serve_pages};
use crate::rig::{Looker, MESSAGES, OCSP_CACHE, Run, service, subject, tls_server};

/// One more server at 5500 with a certificate of this profile, looked at with the authority as the expected issuer.
async fn seen(
    net: &Net,
    authority: &Authority,
    profile: &str,
    days: i32,
    options: &[&str],
) -> (Run, String) {
    let issued = authority.issue("servidor-1.mt.gov.br", profile, days);
    seen_with(net, authority, &issued, options).await
}

/// The same with a certificate that is there.
async fn seen_with(
    net: &Net,
    authority: &Authority,
    issued: &Issued,
    options: &[&str],
) -> (Run, String) {
    let host = net.host();
    let address = tls_server(net, (&host, MESSAGES), issued, options).await;
    let run = look_at(authority, address).await;
    (run, service(address, ""))
}

/// What stands for 5500 there, with the authority as the expected issuer.
async fn look_at(authority: &Authority, address: SocketAddr) -> Run {
    let mut subject = subject(&[(address, PortProbe::TlsClientCertificate)]);
    subject.issuers_pem = vec![authority.pem()];
    Run::of(subject, &Looker::default()).await
}

#[test]
fn two_servers_that_demand_client_certificates_are_in_order() {
    played(async |net| {
        let authority = Authority::new("AC");
        let demand = ["-Verify", "1", "-CAfile", "authority.pem"];
        for version in ["-tls1_3", "-tls1_2"] {
            let options = [&demand[..], &[version]].concat();
            let (run, port) = seen(net, &authority, "authentication", 400, &options).await;
            for what in ["client-certificate", "chain", "usage", "lasting"] {
                run.assert_ok(&format!("{port}{what}"));
            }
            let Seen::Tls(tls) = &run.observations[0].seen else {
                panic!("{:?}", run.observations);
            };
            assert_eq!(
                tls.without_certificate,
                WithoutCertificate::Refused,
                "{version}"
            );
            assert!(tls.has_proved_key);
            assert_eq!(tls.asked_issuers, ["CN=AC"]);
        }
    });
}

#[test]
fn a_server_that_does_not_ask_and_one_that_does_not_insist_are_findings() {
    played(async |net| {
        let authority = Authority::new("AC");
        for version in ["-tls1_3", "-tls1_2"] {
            let (run, port) = seen(net, &authority, "authentication", 400, &[version]).await;
            let id = format!("{port}client-certificate");
            run.assert_fault(&id, Fault::NoCertificateRequest);
            let options = ["-verify", "1", version];
            let (run, port) = seen(net, &authority, "authentication", 400, &options).await;
            let id = format!("{port}client-certificate");
            run.assert_fault(&id, Fault::CertificateOptional);
        }
    });
}

#[test]
fn a_server_under_another_authority_is_a_finding_and_is_trusted_with_nothing() {
    played(async |net| {
        let (authority, other) = (Authority::new("AC"), Authority::new("Outra AC"));
        let (mut run, port) = seen(net, &authority, "authentication", 400, &["-Verify", "1"]).await;
        let id = format!("{port}chain");
        run.assert_ok(&id);
        run.subject.issuers_pem = vec![other.pem()];
        run.assert_fault(&id, Fault::UnknownIssuer);

        let issued = authority.issue("servidor-2", "authentication", 400);
        let host = net.host();
        let address = tls_server(net, (&host, MESSAGES), &issued, &["-Verify", "1"]).await;
        let mut subject = subject(&[(address, PortProbe::TlsClientCertificate)]);
        subject.issuers_pem = vec![other.pem()];
        let run = Run::of(subject, &Looker::default()).await;
        run.assert_fault(&service(address, "chain"), Fault::UnknownIssuer);
        run.assert_ok(&service(address, "client-certificate"));
        let Seen::Tls(tls) = &run.observations[0].seen else {
            panic!("{:?}", run.observations);
        };
        assert!(!tls.has_proved_key && tls.error.is_some());
    });
}

#[test]
fn a_signing_certificate_in_the_place_of_an_authentication_one_is_a_finding() {
    played(async |net| {
        let authority = Authority::new("AC");
        let (run, port) = seen(net, &authority, "signing", 400, &["-Verify", "1"]).await;
        run.assert_fault(&format!("{port}usage"), Fault::UsageWrong);
    });
}

#[test]
fn a_certificate_signed_with_sha_1_is_a_finding() {
    played(async |net| {
        let authority = Authority::new("AC");
        let issued = authority.issue_weak("servidor-1");
        let options = ["-Verify", "1", "-cipher", "DEFAULT@SECLEVEL=0"];
        let (run, port) = seen_with(net, &authority, &issued, &options).await;
        run.assert_fault(&format!("{port}chain"), Fault::WeakSignature);
    });
}

#[test]
fn a_certificate_near_its_end_and_past_it_is_a_finding() {
    played(async |net| {
        let authority = Authority::new("AC");
        for (days, fault) in [
            (61, None),
            (59, Some(Fault::Expires60)),
            (29, Some(Fault::Expires30)),
            (14, Some(Fault::Expires15)),
            (6, Some(Fault::Expires7)),
            (-1, Some(Fault::Expired)),
        ] {
            let (run, port) =
                seen(net, &authority, "authentication", days, &["-Verify", "1"]).await;
            let verdict = run.verdict(&format!("{port}lasting"));
            assert_eq!(verdict.fault(), fault, "{days} days: {verdict:?}");
        }
    });
}

#[test]
fn a_certificate_that_is_not_yet_valid_is_a_finding() {
    played(async |net| {
        let authority = Authority::new("AC");
        let early = authority.issue_early("servidor-1");
        let (run, port) = seen_with(net, &authority, &early, &["-Verify", "1"]).await;
        run.assert_fault(&format!("{port}lasting"), Fault::NotYetValid);
        run.assert_fault(&format!("{port}chain"), Fault::NotYetValid);
    });
}

#[test]
fn an_issuer_that_has_ended_or_has_only_the_name_or_may_not_issue_is_a_finding() {
    played(async |net| {
        let (authority, namesake) = (Authority::new("AC"), Authority::new("AC"));
        let ended = Authority::ended("AC");
        let (run, port) = seen(net, &ended, "authentication", 400, &["-Verify", "1"]).await;
        run.assert_fault(&format!("{port}chain"), Fault::IssuerExpired);

        let (mut run, port) = seen(net, &namesake, "authentication", 400, &["-Verify", "1"]).await;
        run.assert_ok(&format!("{port}chain"));
        run.subject.issuers_pem = vec![authority.pem()];
        run.assert_fault(&format!("{port}chain"), Fault::ChainSignatureBad);

        let no_authority = authority.issue("servidor-2", "authentication", 400);
        let under = authority.issue_under(&no_authority, "servidor-1");
        let between = no_authority.certificate();
        let options = ["-Verify", "1", "-cert_chain", &between];
        let (run, port) = seen_with(net, &authority, &under, &options).await;
        run.assert_fault(&format!("{port}chain"), Fault::IssuerMayNotIssue);
    });
}

/// OpenSSL and HAProxy refuse to serve either, so a server of the library's own does.
#[test]
fn a_certificate_that_is_none_and_one_without_its_key_are_findings() {
    played(async |net| {
        let authority = Authority::new("AC");
        let issued = authority.issue("servidor-1", "authentication", 400);
        let certificate = issued.certificate();
        let der = authority.openssl(&["x509", "-in", &certificate, "-outform", "DER"]);
        let key = fs::read(&issued.key).unwrap();
        let honest = dishonest_server(&net.host(), der.clone(), &key);
        let run = look_at(&authority, honest).await;
        run.assert_ok(&service(honest, "chain"));

        let garbage = dishonest_server(&net.host(), vec![0x30, 0x03, 0x02, 0x01, 0x07], &key);
        let run = look_at(&authority, garbage).await;
        run.assert_fault(&service(garbage, "chain"), Fault::CertificateMalformed);

        let other = authority.issue("servidor-2", "authentication", 400);
        let foreign = dishonest_server(&net.host(), der, &fs::read(&other.key).unwrap());
        let run = look_at(&authority, foreign).await;
        run.assert_fault(&service(foreign, "chain"), Fault::KeyUnproven);
    });
}

/// A server that shows what it is told to show, whatever key it has.
fn dishonest_server(host: &Host, certificate: Vec<u8>, key_pem: &[u8]) -> SocketAddr {
    let key = PrivateKeyDer::from_pem_slice(key_pem).unwrap();
    let key = any_supported_type(&key).unwrap();
    let shown = CertifiedKey::new(vec![certificate.into()], key);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(Arc::new(shown))));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = host.listen(MESSAGES);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let accepted = acceptor.accept(stream);
            tokio::spawn(async move { accepted.await.map(drop) });
        }
    });
    host.at(MESSAGES)
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[test]
fn a_port_without_tls_and_one_where_nothing_listens_are_told_apart() {
    played(async |net| {
        let plain = serve_page(&net.host(), MESSAGES, 200);
        let nothing = net.host().at(MESSAGES);
        let probe = || PortProbe::TlsClientCertificate;
        let run = Run::of(
            subject(&[(plain, probe()), (nothing, probe())]),
            &Looker::default(),
        )
        .await;
        for address in [plain, nothing] {
            run.assert_fault(&service(address, "client-certificate"), Fault::NoTls);
        }
        let observed = |address| match run.verdict(&service(address, "chain")) {
            Verdict::Finding(finding) => finding.observed,
            other => panic!("{other:?}"),
        };
        assert_eq!(observed(nothing), "refused");
        assert_ne!(observed(plain), "refused");
        let html = run.report().to_html(Lang::Pt);
        assert!(html.contains("a porta não fala TLS") && html.contains(">recusada<"));
    });
}

#[test]
fn the_ocsp_cache_is_asked_for_the_certificate_that_5500_presents() {
    played(async |net| {
        let authority = Authority::new("AC");
        let issued = authority.issue("servidor-1", "authentication", 400);
        let certificate = issued.certificate();
        let print = ["x509", "-in", &certificate, "-noout"];
        let printed = authority.openssl(&[&print[..], &["-fingerprint", "-sha1"]].concat());
        let printed = String::from_utf8(printed).unwrap();
        let (_, sha1) = printed.trim().split_once('=').unwrap();
        let wanted = format!("/?cert={}", sha1.replace(':', "").to_lowercase());
        let (right, wrong, alone) = (net.host(), net.host(), net.host());
        for host in [&right, &wrong] {
            tls_server(net, (host, MESSAGES), &issued, &["-Verify", "1"]).await;
        }
        let cache = serve_pages(&right, OCSP_CACHE, move |path, _| match path {
            path if path == wanted => (
                200,
                "multipart/related; boundary=b".to_owned(),
                b"--b\r\nContent-Type: application/ocsp-response\r\n\r\n0\r\n--b--".to_vec(),
            ),
            _ => (400, "text/plain".to_owned(), Vec::new()),
        });
        let broken = serve_page(&wrong, OCSP_CACHE, 500);
        let alone = alone.at(OCSP_CACHE);
        let tls_port = MESSAGES;
        let ports = [cache, broken, alone].map(|it| (it, PortProbe::OcspCache { tls_port }));
        let run = Run::of(subject(&ports), &Looker::default()).await;
        run.assert_ok(&service(cache, "ocsp-responses"));
        run.assert_ok(&service(cache, "no-server-error"));
        run.assert_fault(&service(broken, "ocsp-responses"), Fault::NotMultipart);
        run.assert_fault(&service(broken, "no-server-error"), Fault::StatusWrong);
        match run.verdict(&service(alone, "ocsp-responses")) {
            Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::Before),
            other => panic!("{other:?}"),
        }
    });
}
