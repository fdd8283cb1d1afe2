//! The looks that the controller takes itself: DNS, TLS, HTTP, OCSP and time stamps. Each has a limit of time and of bytes, sends
//! no more than a question, and records what came back without believing it.

mod dial;
mod http;
mod names;
mod revocation;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use self::dial::Missed;
pub use self::dial::{CONNECT_LIMIT, Dial, Stream, SystemDial};
use crate::check::{Check, Issuers, Probe, Vantage, View};
use crate::observation::{
    Der, Failure, HttpSeen, Observation, OcspCacheSeen, Seen, TcpSeen, UrlSeen,
};
use crate::plan::probes;
use crate::subject::Subject;

/// Takes every look of the checks whose vantage point is the controller, a few at a time, each once.
pub async fn look_all(checks: &[Check], subject: &Subject, dial: &dyn Dial) -> Vec<Observation> {
    let ends = Instant::now() + RUN_LIMIT;
    let own = probes(checks)
        .into_iter()
        .filter(|(vantage, _)| *vantage == Vantage::Controller);
    let looks = own.map(|(_, probe)| async move {
        match ends.checked_duration_since(Instant::now()) {
            Some(_) => look(&probe, subject, dial).await,
            None => {
                let why = Failure::NoTime;
                vec![observation(&probe, None, Seen::Failed { why })]
            }
        }
    });
    let observations = stream::iter(looks).buffered(LOOKS_AT_ONCE);
    observations.collect::<Vec<_>>().await.concat()
}

/// Takes one look. What is asked of name servers gives an observation per server, a balancer or a declaration gives none, the others one.
pub async fn look(probe: &Probe, subject: &Subject, dial: &dyn Dial) -> Vec<Observation> {
    if let Probe::Dns {
        name,
        view: View::Public,
    }
    | Probe::NameServers { name } = probe
    {
        let asked = subject.name_servers.iter().map(|server| async move {
            let seen = match probe {
                Probe::Dns { .. } => names::ask(name, server, dial).await.map(Seen::Dns),
                _ => timeout(LOOK_LIMIT, names::ask_servers(name, server, dial))
                    .await
                    .map_or(Err(Failure::NoTime), |seen| seen.map(Seen::NameServers)),
            };
            let seen = seen.unwrap_or_else(|why| Seen::Failed { why });
            observation(probe, Some(server.address), seen)
        });
        return futures_util::future::join_all(asked).await;
    }
    let Ok(one) = timeout(LOOK_LIMIT, one(probe, subject, dial)).await else {
        return vec![observation(probe, None, Seen::Tcp(TcpSeen::Silent))];
    };
    one.into_iter()
        .map(|(address, seen)| observation(probe, address, seen))
        .collect()
}

type Look = (Option<SocketAddr>, Seen);

async fn one(probe: &Probe, subject: &Subject, dial: &dyn Dial) -> Option<Look> {
    match probe {
        Probe::TcpConnect { address } => {
            let connected = dial::connect(dial, *address).await;
            let seen = connected.map_or_else(Seen::from, |_| Seen::Tcp(TcpSeen::Open));
            Some((Some(*address), seen))
        }
        Probe::Tls { address } => {
            let anchors = &subject.issuers_pem;
            let name = tls::ServerName::from(address.ip());
            let seen = tls::handshake(dial, *address, name, anchors).await;
            Some((
                Some(*address),
                seen.map_or_else(Seen::from, |it| Seen::Tls(it.seen)),
            ))
        }
        Probe::Http { address, path } => {
            let host = address.to_string();
            let seen = match dial::connect(dial, *address).await {
                Ok(stream) => Seen::Http(http::fetch(stream, &host, path).await),
                Err(missed) => missed.into(),
            };
            Some((Some(*address), seen))
        }
        Probe::OcspCache { address, tls } => {
            let seen = ocsp_cache(*address, *tls, dial).await;
            Some((Some(*address), seen.unwrap_or_else(Seen::from)))
        }
        Probe::Url { url } => Some(self::url(url, subject, dial).await),
        Probe::Ocsp { url, tls } => Some(revocation::ocsp(url, *tls, subject, dial).await),
        Probe::TimeStamp { url } => Some(revocation::time_stamp(url, subject, dial).await),
        Probe::Dns { .. }
        | Probe::NameServers { .. }
        | Probe::TcpStay { .. }
        | Probe::Balancer { .. }
        | Probe::Declaration
        | Probe::UdpPort { .. }
        | Probe::Unresolved { .. } => None,
    }
}

async fn ocsp_cache(address: SocketAddr, tls: SocketAddr, dial: &dyn Dial) -> Result<Seen, Missed> {
    let certificate = tls::leaf(dial, tls).await?;
    let hash =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate.0);
    let certificate_sha1 = data_encoding::HEXLOWER.encode(hash.as_ref());
    let host = address.to_string();
    let path = format!("/?cert={certificate_sha1}");
    let stream = dial::connect(dial, address).await?;
    let with_certificate = http::fetch(stream, &host, &path).await;
    let stream = dial::connect(dial, address).await?;
    let without = http::fetch(stream, &host, "/").await;
    Ok(Seen::OcspCache(OcspCacheSeen {
        certificate_sha1,
        with_certificate,
        without,
    }))
}

async fn url(url: &str, subject: &Subject, dial: &dyn Dial) -> Look {
    let (target, address) = match reachable(url, dial).await {
        Ok(found) => found,
        Err(missed) => return (None, missed.into()),
    };
    if !target.is_tls {
        let missed = Missed::local(format!("{url}: must begin with https://"));
        return (None, missed.into());
    }
    let seen = match page(target, address, subject, dial).await {
        Ok(seen) => Seen::Url(seen),
        Err(missed) => missed.into(),
    };
    (Some(address), seen)
}

/// Where a URL leads, and the first address of its host.
async fn reachable(url: &str, dial: &dyn Dial) -> Result<(http::Target, SocketAddr), Missed> {
    let target = http::Target::parse(url).map_err(Missed::local)?;
    let address = dial::resolve(dial, &target.host, target.port).await?;
    Ok((target, address))
}

async fn page(
    target: http::Target,
    address: SocketAddr,
    subject: &Subject,
    dial: &dyn Dial,
) -> Result<UrlSeen, Missed> {
    let name = tls::ServerName::try_from(target.host.clone()).map_err(Missed::local)?;
    let issuers = subject.issuers(Issuers::Web);
    let handshake = tls::handshake(dial, address, name, issuers).await?;
    let http = match handshake.stream {
        Some(stream) => Some(http::fetch(stream, &target.authority(), &target.path).await),
        None => None,
    };
    Ok(UrlSeen {
        host: target.host,
        tls: handshake.seen,
        http: http.map(without_body),
    })
}

/// Pages are for their readers; what counts here is that they come.
fn without_body(mut http: HttpSeen) -> HttpSeen {
    if let HttpSeen::Answer { body, .. } = &mut http {
        body.clear();
    }
    http
}

fn observation(probe: &Probe, address: Option<SocketAddr>, seen: Seen) -> Observation {
    Observation {
        time: OffsetDateTime::now_utc(),
        vantage: Vantage::Controller,
        probe: probe.clone(),
        address,
        seen,
    }
}

/// Fresh random bytes, or why there are none.
fn random<const N: usize>() -> Result<Der, Missed> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Missed::local)?;
    // A number that begins with a zero, or a sign, would be written in another way than it was drawn.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(Der(bytes.to_vec()))
}

/// All looks of one run.
const RUN_LIMIT: Duration = Duration::from_secs(300);
/// One look with all its connections.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
const LOOKS_AT_ONCE: usize = 8;

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::IpAddr;

    use async_trait::async_trait;

    use super::*;
    use crate::plan::plan;
    use crate::sample;
    use crate::{Cause, Verdict, judge};

    /// A way out on which nothing ever answers.
    struct Void;

    #[async_trait]
    impl Dial for Void {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            std::future::pending().await
        }

        async fn connect(&self, _: SocketAddr) -> io::Result<Box<dyn Stream>> {
            std::future::pending().await
        }

        fn has_udp(&self, _: IpAddr) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_answers_a_run_ends_in_time_and_knows_nothing() {
        let subject = sample::subject();
        let checks = plan(&subject);
        let start = Instant::now();
        // Spawned, as who runs the checks does.
        let run = {
            let (checks, subject) = (checks.clone(), subject.clone());
            tokio::spawn(async move { look_all(&checks, &subject, &Void).await })
        };
        let observations = run.await.unwrap();
        assert!(start.elapsed() <= RUN_LIMIT + LOOK_LIMIT);
        let own = checks.iter().filter(|it| it.vantage == Vantage::Controller);
        for check in own.filter(|it| it.id != "declared/ports") {
            let verdict = judge(check, &subject, &observations, OffsetDateTime::now_utc());
            let Verdict::CouldNotTest { why } = verdict else {
                panic!("{}: {verdict:?}", check.id);
            };
            let has_no_look = matches!(check.probe, Probe::Balancer { .. });
            assert_eq!(why.cause == Cause::NotObserved, has_no_look, "{}", check.id);
        }
    }
}
