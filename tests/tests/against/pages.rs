//! The health port as HAProxy answers it, and web addresses of both stages as two OpenSSL servers answer them.

use std::fs;
use std::net::SocketAddr;

use malha_check::{Cause, Fault, PortProbe, Verdict};
use tempfile::TempDir;
use tokio::time::{Duration, interval};

use crate::authority::Authority;
use crate::net::{Net, played};
use crate::parts::{serve_page, serve_pages, start_listening};
use crate::rig::{HEALTH, HTTPS, Looker, Run, service, subject, tls_server};

/// HAProxy whose health page is right while the server behind it is up.
async fn haproxy(net: &Net, backend: SocketAddr) -> (SocketAddr, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let host = net.host();
    let address = host.at(HEALTH);
    let conf = format!(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
         frontend health\n  bind {address}\n  monitor-uri /\n  acl alone nbsrv(servers) lt 1\n  \
         monitor fail if alone\nbackend servers\n  server one {backend} check inter 20 rise 1 fall 1\n"
    );
    fs::write(folder.path().join("haproxy.cfg"), conf).unwrap();
    let arguments = ["-db", "-f", "haproxy.cfg"];
    start_listening(net, (&host, HEALTH), "haproxy", &arguments, folder.path()).await;
    (address, folder)
}

#[test]
fn haproxys_health_page_is_200_with_its_server_up_and_503_without() {
    played(async |net| {
        let up = serve_page(&net.host(), HEALTH, 200);
        let nothing = net.host().at(HEALTH);
        let ((healthy, _conf), (alone, _other)) =
            (haproxy(net, up).await, haproxy(net, nothing).await);
        // HAProxy takes its servers to be up until its first check says otherwise.
        let mut ticks = interval(Duration::from_millis(20));
        let run = loop {
            let ports = [healthy, alone].map(|it| (it, PortProbe::Health));
            let run = Run::of(subject(&ports), &Looker::default()).await;
            if !run.verdict(&service(alone, "health")).is_ok() {
                break run;
            }
            ticks.tick().await;
        };
        run.assert_ok(&service(healthy, "health"));
        run.assert_fault(&service(alone, "health"), Fault::StatusWrong);
    });
}

#[test]
fn a_port_that_speaks_something_else_than_http_is_a_finding() {
    played(async |net| {
        let authority = Authority::new("AC");
        let issued = authority.issue(NAME, "authentication", 400);
        let tls = tls_server(net, (&net.host(), HEALTH), &issued, &[]).await;
        let page = serve_page(&net.host(), HEALTH, 200);
        let nothing = net.host().at(HEALTH);
        let ports = [tls, page, nothing].map(|address| (address, PortProbe::Health));
        let run = Run::of(subject(&ports), &Looker::default()).await;
        run.assert_fault(&service(tls, "health"), Fault::NoHttp);
        run.assert_fault(&service(nothing, "health"), Fault::NoHttp);
        run.assert_ok(&service(page, "health"));
    });
}

#[test]
fn a_page_with_another_status_than_declared_is_a_finding() {
    played(async |net| {
        let page = serve_pages(&net.host(), HTTP, |path, _| {
            let status = if path == "/estado" { 204 } else { 404 };
            (status, "text/plain".to_owned(), Vec::new())
        });
        let http = |path: &str, status| PortProbe::Http {
            path: path.to_owned(),
            statuses: vec![status],
        };
        let run = Run::of(subject(&[(page, http("/estado", 204))]), &Looker::default()).await;
        run.assert_ok(&service(page, "status"));
        let run = Run::of(subject(&[(page, http("/outro", 204))]), &Looker::default()).await;
        run.assert_fault(&service(page, "status"), Fault::StatusWrong);
    });
}

const HTTP: u16 = 80;
const NAME: &str = "xvia.sedec.example";
const DEV: &str = "xvia-dev.sedec.example";

/// Both stages' web servers, and a run with the name of production resolving to its own, or to the other.
async fn stages(net: &Net, authority: &Authority, is_crossed: bool) -> Run {
    let mut servers = Vec::new();
    for name in [NAME, DEV] {
        let issued = authority.issue(name, "authentication", 400);
        servers.push(tls_server(net, (&net.host(), HTTPS), &issued, &[]).await);
    }
    let (own, other) = (servers[0].ip(), servers[1].ip());
    let mut subject = subject(&[]);
    subject.issuers_pem = vec![authority.pem()];
    subject.production.names = vec![NAME.to_owned()];
    subject.production.urls = vec![format!("https://{NAME}/")];
    subject.production.public_addresses = vec![own];
    subject.development.names = vec![DEV.to_owned()];
    subject.development.public_addresses = vec![other];
    let mut dial = Looker::default();
    let led = if is_crossed { other } else { own };
    dial.names.extend([(NAME.to_owned(), led)]);
    Run::of(subject, &dial).await
}

fn url(run: &Run, what: &str) -> String {
    format!("production/url/{what}/{}", run.subject.production.urls[0])
}

#[test]
fn a_web_address_with_its_own_server_is_in_order() {
    played(async |net| {
        let authority = Authority::new("AC");
        let run = stages(net, &authority, false).await;
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
    });
}

#[test]
fn a_web_address_that_leads_to_the_other_stages_server_is_a_finding() {
    played(async |net| {
        let authority = Authority::new("AC");
        let run = stages(net, &authority, true).await;
        run.assert_fault(&url(&run, "host-name"), Fault::HostNameMismatch);
        run.assert_fault(&url(&run, "not-crossed"), Fault::OtherStage);
    });
}

#[test]
fn nothing_is_sent_to_a_web_server_of_an_unknown_issuer() {
    played(async |net| {
        let (authority, other) = (Authority::new("AC"), Authority::new("Outra AC"));
        let issued = authority.issue(NAME, "authentication", 400);
        let server = tls_server(net, (&net.host(), HTTPS), &issued, &[]).await;
        let mut subject = subject(&[]);
        subject.web_issuers_pem = vec![other.pem()];
        subject.production.urls = vec![format!("https://{NAME}/")];
        let mut dial = Looker::default();
        dial.names.extend([(NAME.to_owned(), server.ip())]);
        let run = Run::of(subject, &dial).await;
        run.assert_fault(&url(&run, "chain"), Fault::UnknownIssuer);
        match run.verdict(&url(&run, "answers")) {
            Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::Before),
            verdict => panic!("{verdict:?}"),
        }
    });
}
