//! The health port as HAProxy answers it, and web addresses of both stages as two OpenSSL servers answer them.

use std::fs;
use std::net::SocketAddr;

use malha_check::{Cause, Fault, PortProbe, Verdict};

use crate::authority::Authority;
use crate::parts::{Part, free_address, serve_pages, start_listening};
use crate::rig::{Loopback, Run, service, subject, tls_server};

/// HAProxy whose health page is right while `servers` of its backend are up.
async fn haproxy(backend: SocketAddr) -> Option<Part> {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let conf = format!(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
         frontend health\n  bind {address}\n  monitor-uri /\n  acl alone nbsrv(servers) lt 1\n  \
         monitor fail if alone\nbackend servers\n  server one {backend} check inter 20 rise 1 fall 1\n"
    );
    fs::write(folder.path().join("haproxy.cfg"), conf).unwrap();
    let arguments = ["-db", "-f", "haproxy.cfg"].map(str::to_owned);
    start_listening("haproxy", "haproxy", &arguments, folder.path(), address).await
}

#[tokio::test]
async fn haproxys_health_page_is_200_with_its_server_up_and_503_without() {
    let up = serve_pages(|_, _| (200, "text/plain".to_owned(), Vec::new())).await;
    let nothing = free_address();
    let (Some(healthy), Some(alone)) = (haproxy(up).await, haproxy(nothing).await) else {
        return;
    };
    // HAProxy takes its servers to be up until its first check says otherwise.
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
    let run = loop {
        let ports = [
            (healthy.address, PortProbe::Health),
            (alone.address, PortProbe::Health),
        ];
        let run = Run::of(subject(&ports), &Loopback::default()).await;
        if !run.verdict(&service(alone.address, "health")).is_ok() {
            break run;
        }
        ticks.tick().await;
    };
    run.assert_ok(&service(healthy.address, "health"));
    run.assert_fault(&service(alone.address, "health"), Fault::StatusWrong);
}

#[tokio::test]
async fn a_port_that_speaks_something_else_than_http_is_a_finding() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    let issued = authority.issue(NAME, "authentication", 400);
    let (certificate, key) = (issued.certificate(), issued.key());
    let tls = tls_server(authority.folder(), &certificate, &key, &[]).await;
    let tls = tls.unwrap().address;
    let page = serve_pages(|_, _| (200, "text/plain".to_owned(), Vec::new())).await;
    let nothing = free_address();
    let ports = [tls, page, nothing].map(|address| (address, PortProbe::Health));
    let run = Run::of(subject(&ports), &Loopback::default()).await;
    run.assert_fault(&service(tls, "health"), Fault::NoHttp);
    run.assert_fault(&service(nothing, "health"), Fault::NoHttp);
    run.assert_ok(&service(page, "health"));
}

#[tokio::test]
async fn a_page_with_another_status_than_declared_is_a_finding() {
    let page = serve_pages(|path, _| {
        let status = if path == "/estado" { 204 } else { 404 };
        (status, "text/plain".to_owned(), Vec::new())
    })
    .await;
    let http = |path: &str, status| PortProbe::Http {
        path: path.to_owned(),
        statuses: vec![status],
    };
    let run = Run::of(
        subject(&[(page, http("/estado", 204))]),
        &Loopback::default(),
    )
    .await;
    run.assert_ok(&service(page, "status"));
    let run = Run::of(
        subject(&[(page, http("/outro", 204))]),
        &Loopback::default(),
    )
    .await;
    run.assert_fault(&service(page, "status"), Fault::StatusWrong);
}

const NAME: &str = "xvia.sedec.example";
const DEV: &str = "xvia-dev.sedec.example";

/// Both stages' web servers, and a run with the names resolving to them, or crossed.
async fn stages(authority: &Authority, is_crossed: bool) -> Option<Run> {
    let mut servers = Vec::new();
    for name in [NAME, DEV] {
        let issued = authority.issue(name, "authentication", 400);
        let (certificate, key) = (issued.certificate(), issued.key());
        servers.push(tls_server(authority.folder(), &certificate, &key, &[]).await?);
    }
    // The two are told apart by port; addresses of the stages are what DNS would say.
    let (own, other) = (servers[0].address, servers[1].address);
    let asked = if is_crossed { other } else { own };
    let mut subject = subject(&[]);
    subject.issuers_pem = vec![authority.pem()];
    subject.production.names = vec![NAME.to_owned()];
    subject.production.urls = vec![format!("https://{NAME}:{}/", asked.port())];
    subject.development.names = vec![DEV.to_owned()];
    subject.development.public_addresses = match is_crossed {
        true => vec![other.ip()],
        false => vec!["127.0.0.9".parse().unwrap()],
    };
    let mut dial = Loopback::default();
    dial.names.extend([(NAME.to_owned(), asked.ip())]);
    Some(Run::of(subject, &dial).await)
}

fn url(run: &Run, what: &str) -> String {
    format!("production/url/{what}/{}", run.subject.production.urls[0])
}

#[tokio::test]
async fn a_web_address_with_its_own_server_is_in_order() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    let run = stages(&authority, false).await.unwrap();
    for what in [
        "answers",
        "host-name",
        "chain",
        "usage",
        "lasting",
        "not-crossed",
    ] {
        run.assert_ok(&url(&run, what));
    }
}

#[tokio::test]
async fn a_web_address_that_leads_to_the_other_stages_server_is_a_finding() {
    let Some(authority) = Authority::new("AC") else {
        return;
    };
    let run = stages(&authority, true).await.unwrap();
    run.assert_fault(&url(&run, "host-name"), Fault::HostNameMismatch);
    run.assert_fault(&url(&run, "not-crossed"), Fault::OtherStage);
}

#[tokio::test]
async fn nothing_is_sent_to_a_web_server_of_an_unknown_issuer() {
    let (Some(authority), Some(other)) = (Authority::new("AC"), Authority::new("Outra AC")) else {
        return;
    };
    let issued = authority.issue(NAME, "authentication", 400);
    let (certificate, key) = (issued.certificate(), issued.key());
    let server = tls_server(authority.folder(), &certificate, &key, &[]).await;
    let address = server.as_ref().unwrap().address;
    let mut subject = subject(&[]);
    subject.web_issuers_pem = vec![other.pem()];
    subject.production.urls = vec![format!("https://{NAME}:{}/", address.port())];
    let mut dial = Loopback::default();
    dial.names.extend([(NAME.to_owned(), address.ip())]);
    let run = Run::of(subject, &dial).await;
    run.assert_fault(&url(&run, "chain"), Fault::UnknownIssuer);
    match run.verdict(&url(&run, "answers")) {
        Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::Before),
        verdict => panic!("{verdict:?}"),
    }
}
