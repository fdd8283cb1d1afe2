//! Port 5500 as `openssl s_server` plays it: client certificates, chains, usages and expiry. And 5577 beside it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use malha_check::{Cause, Fault, Lang, PortProbe, Seen, Verdict, WithoutCertificate};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{self, sign::any_supported_type};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Issued};
use crate::parts::{free_address, serve_pages};
use crate::rig::{Loopback, Run, service, subject, tls_server};

/// A server of this profile that stands for 5500, looked at with the authority as the expected issuer.
async fn seen(authority: &Authority, profile: &str, days: i32, options: &[&str]) -> (Run, String) {
    let issued = authority.issue("servidor-1.mt.gov.br", profile, days);
    seen_with(authority, &issued, options).await
}

/// The same with a certificate that is there.
async fn seen_with(authority: &Authority, issued: &Issued, options: &[&str]) -> (Run, String) {
    let (certificate, key) = (issued.certificate(), issued.key());
    let server = tls_server(authority.folder(), &certificate, &key, options).await;
    let address = server.as_ref().unwrap().address;
    let run = look_at(authority, address).await;
    (run, service(address, ""))
}

/// What stands for 5500 there, with the authority as the expected issuer.
async fn look_at(authority: &Authority, address: SocketAddr) -> Run {
    let mut subject = subject(&[(address, PortProbe::TlsClientCertificate)]);
    subject.issuers_pem = vec![authority.pem()];
    Run::of(subject, &Loopback::default()).await
}

#[tokio::test]
async fn two_servers_that_demand_client_certificates_are_in_order() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    let demand = ["-Verify", "1", "-CAfile", "authority.pem"];
    for version in ["-tls1_3", "-tls1_2"] {
        let options = [&demand[..], &[version]].concat();
        let (run, port) = seen(&authority, "authentication", 400, &options).await;
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
}

#[tokio::test]
async fn a_server_that_does_not_ask_and_one_that_does_not_insist_are_findings() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    for version in ["-tls1_3", "-tls1_2"] {
        let (run, port) = seen(&authority, "authentication", 400, &[version]).await;
        let id = format!("{port}client-certificate");
        run.assert_fault(&id, Fault::NoCertificateRequest);
        let (run, port) = seen(
            &authority,
            "authentication",
            400,
            &["-verify", "1", version],
        )
        .await;
        let id = format!("{port}client-certificate");
        run.assert_fault(&id, Fault::CertificateOptional);
    }
}

#[tokio::test]
async fn a_server_under_another_authority_is_a_finding_and_is_trusted_with_nothing() {
    let (Some(authority), Some(other)) = (Authority::new("AC"), Authority::new("Outra AC")) else {
        return;
    };
    let (mut run, port) = seen(&authority, "authentication", 400, &["-Verify", "1"]).await;
    let id = format!("{port}chain");
    run.assert_ok(&id);
    run.subject.issuers_pem = vec![other.pem()];
    run.assert_fault(&id, Fault::UnknownIssuer);
    let again = Run::of(run.subject.clone(), &Loopback::default()).await;
    // The server has ended with the first run.
    again.assert_fault(&id, Fault::NoTls);

    let issued = authority.issue("servidor-2", "authentication", 400);
    let (certificate, key) = (issued.certificate(), issued.key());
    let server = tls_server(authority.folder(), &certificate, &key, &["-Verify", "1"]).await;
    let address = server.as_ref().unwrap().address;
    let mut subject = subject(&[(address, PortProbe::TlsClientCertificate)]);
    subject.issuers_pem = vec![other.pem()];
    let run = Run::of(subject, &Loopback::default()).await;
    run.assert_fault(&service(address, "chain"), Fault::UnknownIssuer);
    run.assert_ok(&service(address, "client-certificate"));
    let Seen::Tls(tls) = &run.observations[0].seen else {
        panic!("{:?}", run.observations);
    };
    assert!(!tls.has_proved_key && tls.error.is_some());
}

#[tokio::test]
async fn a_signing_certificate_in_the_place_of_an_authentication_one_is_a_finding() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    let (run, port) = seen(&authority, "signing", 400, &["-Verify", "1"]).await;
    run.assert_fault(&format!("{port}usage"), Fault::UsageWrong);
}

#[tokio::test]
async fn a_certificate_signed_with_sha_1_is_a_finding() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    let issued = authority.issue_weak("servidor-1");
    let options = ["-Verify", "1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let (run, port) = seen_with(&authority, &issued, &options).await;
    run.assert_fault(&format!("{port}chain"), Fault::WeakSignature);
}

#[tokio::test]
async fn a_certificate_near_its_end_and_past_it_is_a_finding() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    for (days, fault) in [
        (61, None),
        (59, Some(Fault::Expires60)),
        (29, Some(Fault::Expires30)),
        (14, Some(Fault::Expires15)),
        (6, Some(Fault::Expires7)),
        (-1, Some(Fault::Expired)),
    ] {
        let (run, port) = seen(&authority, "authentication", days, &["-Verify", "1"]).await;
        let verdict = run.verdict(&format!("{port}lasting"));
        assert_eq!(verdict.fault(), fault, "{days} days: {verdict:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_yet_valid_is_a_finding() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    let early = authority.issue_early("servidor-1");
    let (run, port) = seen_with(&authority, &early, &["-Verify", "1"]).await;
    run.assert_fault(&format!("{port}lasting"), Fault::NotYetValid);
    run.assert_fault(&format!("{port}chain"), Fault::NotYetValid);
}

#[tokio::test]
async fn an_issuer_that_has_ended_or_has_only_the_name_or_may_not_issue_is_a_finding() {
    let (Some(authority), Some(namesake), Some(ended)) = (
        Authority::new("AC"),
        Authority::new("AC"),
        Authority::ended("AC"),
    ) else {
        return;
    };
    let (run, port) = seen(&ended, "authentication", 400, &["-Verify", "1"]).await;
    run.assert_fault(&format!("{port}chain"), Fault::IssuerExpired);

    let (mut run, port) = seen(&namesake, "authentication", 400, &["-Verify", "1"]).await;
    run.assert_ok(&format!("{port}chain"));
    run.subject.issuers_pem = vec![authority.pem()];
    run.assert_fault(&format!("{port}chain"), Fault::ChainSignatureBad);

    let no_authority = authority.issue("servidor-2", "authentication", 400);
    let under = authority.issue_under(&no_authority, "servidor-1");
    let between = no_authority.certificate();
    let options = ["-Verify", "1", "-cert_chain", &between];
    let (run, port) = seen_with(&authority, &under, &options).await;
    run.assert_fault(&format!("{port}chain"), Fault::IssuerMayNotIssue);
}

/// OpenSSL and HAProxy refuse to serve either, so a server of the library's own does.
#[tokio::test]
async fn a_certificate_that_is_none_and_one_without_its_key_are_findings() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    let issued = authority.issue("servidor-1", "authentication", 400);
    let certificate = issued.certificate();
    let der = authority.openssl(&["x509", "-in", &certificate, "-outform", "DER"]);
    let key = fs::read(&issued.key).unwrap();
    let honest = dishonest_server(der.clone(), &key).await;
    let run = look_at(&authority, honest).await;
    run.assert_ok(&service(honest, "chain"));

    let garbage = dishonest_server(vec![0x30, 0x03, 0x02, 0x01, 0x07], &key).await;
    let run = look_at(&authority, garbage).await;
    run.assert_fault(&service(garbage, "chain"), Fault::CertificateMalformed);

    let other = authority.issue("servidor-2", "authentication", 400);
    let foreign = dishonest_server(der, &fs::read(&other.key).unwrap()).await;
    let run = look_at(&authority, foreign).await;
    run.assert_fault(&service(foreign, "chain"), Fault::KeyUnproven);
}

/// A server that shows what it is told to show, whatever key it has.
async fn dishonest_server(certificate: Vec<u8>, key_pem: &[u8]) -> SocketAddr {
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
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let accepted = acceptor.accept(stream);
            tokio::spawn(async move { accepted.await.map(drop) });
        }
    });
    address
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_port_without_tls_and_one_where_nothing_listens_are_told_apart() {
    let plain = serve_pages(|_, _| (200, "text/plain".to_owned(), Vec::new())).await;
    let nothing = free_address();
    let probe = || PortProbe::TlsClientCertificate;
    let run = Run::of(
        subject(&[(plain, probe()), (nothing, probe())]),
        &Loopback::default(),
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
}

#[tokio::test]
async fn the_ocsp_cache_is_asked_for_the_certificate_that_5500_presents() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    let issued = authority.issue("servidor-1", "authentication", 400);
    let (certificate, key) = (issued.certificate(), issued.key());
    let options = [
        "x509",
        "-in",
        &certificate,
        "-noout",
        "-fingerprint",
        "-sha1",
    ];
    let printed = String::from_utf8(authority.openssl(&options)).unwrap();
    let (_, sha1) = printed.trim().split_once('=').unwrap();
    let sha1 = sha1.replace(':', "").to_lowercase();
    let tls = tls_server(authority.folder(), &certificate, &key, &["-Verify", "1"]).await;
    let tls = tls.unwrap();
    let wanted = format!("/?cert={sha1}");
    let cache = serve_pages(move |path, _| match path {
        path if path == wanted => (
            200,
            "multipart/related; boundary=b".to_owned(),
            b"--b\r\nContent-Type: application/ocsp-response\r\n\r\n0\r\n--b--".to_vec(),
        ),
        _ => (400, "text/plain".to_owned(), Vec::new()),
    })
    .await;
    let broken = serve_pages(|_, _| (500, "text/plain".to_owned(), Vec::new())).await;
    let nothing = free_address();
    let probe = || PortProbe::OcspCache {
        tls_port: tls.address.port(),
    };
    let without_tls = PortProbe::OcspCache {
        tls_port: nothing.port(),
    };
    let ports = [
        (cache, probe()),
        (broken, probe()),
        (free_address(), without_tls),
    ];
    let run = Run::of(subject(&ports), &Loopback::default()).await;
    run.assert_ok(&service(cache, "ocsp-responses"));
    run.assert_ok(&service(cache, "no-server-error"));
    run.assert_fault(&service(broken, "ocsp-responses"), Fault::NotMultipart);
    run.assert_fault(&service(broken, "no-server-error"), Fault::StatusWrong);
    match run.verdict(&service(ports[2].0, "ocsp-responses")) {
        Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::Before),
        other => panic!("{other:?}"),
    }
}
