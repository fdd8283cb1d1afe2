//! Looks at the ways to a controller for somebody who asks what is wrong with them: UDP, TCP 443 and plain HTTP. It shows no
//! certificate and opens no session, so nothing of a running agent is disturbed, and it judges nothing.

mod datagrams;
mod hops;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{ALPN, Fingerprint, ToController, ToNode};
use rustls_pki_types::CertificateDer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::proxy::Proxy;
use super::tls::ClientTls;
use super::{LinkError, LinkFault, Wire, carrier, head, resolve, tcp};
use crate::clock::unix_ms;

pub(crate) use datagrams::{Reached, over_udp};
pub(crate) use hops::first_hops;

/// Whom to believe.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pub(crate) fingerprint: Fingerprint,
    /// Once it is known.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

/// What the controller said of the question that it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reflection {
    pub(crate) seen_as: SocketAddr,
    /// How far this machine's clock is behind the controller's, milliseconds; negative where it is ahead.
    pub(crate) behind_ms: i64,
}

/// What came of a look over TCP.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The proxy that was asked to pass it on, `host:port`.
    pub(crate) proxy: Option<String>,
    /// The control protocol; no reflection from a controller that does not know the question.
    pub(crate) control: Result<Option<Reflection>, LinkError>,
    /// The HTTP upgrade that would carry the tunnel.
    pub(crate) carrier: Result<(), LinkError>,
    /// The controller's certificate is right, but not at this machine's time.
    pub(crate) is_untimely: bool,
}

/// The answer of whoever answers plain HTTP in the controller's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) status: u16,
    /// Where a redirection leads, safe to show.
    pub(crate) location: Option<String>,
}

/// Looks at `controller` (`host:port`) over TCP, as the agent would dial it.
pub(crate) async fn over_tcp(controller: &str, authority: &Authority) -> Carried {
    let proxy = match Proxy::of_environment(controller) {
        Ok(proxy) => proxy.map(|proxy| proxy.at().to_owned()),
        // Both attempts will say so.
        Err(_) => None,
    };
    // A slow name server takes nothing of the limit for the way, and what it says is told by who needs it.
    let _ = resolve(proxy.as_deref().unwrap_or(controller)).await;
    let (control, carrier) = tokio::join!(
        in_time(controller, control(controller, authority)),
        in_time(controller, carried(controller, authority)),
    );
    let is_untimely = matches!(control, Ok((_, true))) || matches!(carrier, Ok(((), true)));
    Carried {
        proxy,
        control: control.map(|(reflection, _)| reflection),
        carrier: carrier.map(|((), _)| ()),
        is_untimely,
    }
}

/// Asks port 80 of the controller's host, where captive portals show themselves. None where nothing like HTTP answers.
pub(crate) async fn over_http(controller: &str) -> Option<Page> {
    let (host, _) = controller.rsplit_once(':')?;
    let addresses = resolve(&format!("{host}:80")).await.ok()?;
    let asked = timeout(HTTP_LIMIT, page_at(&addresses, host));
    asked.await.ok().flatten()
}

async fn page_at(addresses: &[SocketAddr], host: &str) -> Option<Page> {
    let mut stream = TcpStream::connect(addresses).await.ok()?;
    let question = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await.ok()?;
    let head = head::read(&mut stream).await.ok()?;
    let plain = |text: String| {
        let shown = text.chars().filter(|c| !c.is_control());
        shown.take(MAX_LOCATION_CHARS).collect()
    };
    Some(Page {
        status: head.status,
        location: head.location.map(plain),
    })
}

async fn in_time<T>(
    controller: &str,
    look: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let looked = timeout(TCP_LIMIT, look).await;
    looked.unwrap_or_else(|_| {
        let detail = format!("{controller}/tcp: no answer");
        Err(LinkError::new(LinkFault::Unreachable, detail))
    })
}

async fn control(
    controller: &str,
    authority: &Authority,
) -> Result<(Option<Reflection>, bool), LinkError> {
    let tls = ClientTls::for_a_look(authority, ALPN)?;
    let connected = tcp::connect(controller, Arc::new(tls.config()), ALPN).await;
    // What the verifier saw says more than the alert that came of it.
    let connected = connected.map_err(|error| tls.verdict().unwrap_or(error))?;
    let reflection = reflect(connected.into()).await;
    Ok((reflection, tls.verdict().is_some()))
}

async fn carried(controller: &str, authority: &Authority) -> Result<((), bool), LinkError> {
    let tls = ClientTls::for_a_look(authority, carrier::HTTP_ALPN)?;
    let answered = carrier::answers(controller, &tls).await;
    answered.map_err(|error| match tls.verdict() {
        Some(verdict) if verdict.fault != LinkFault::Clock => verdict,
        _ => error,
    })?;
    Ok(((), tls.verdict().is_some()))
}

/// None from a controller that does not know the question.
async fn reflect(wire: Wire) -> Option<Reflection> {
    let asked = unix_ms();
    let answer = timeout(REFLECT_LIMIT, wire.ask(&ToController::Reflect)).await;
    let Ok(Ok(ToNode::Reflection {
        seen_as,
        unix_ms: theirs,
    })) = answer
    else {
        return None;
    };
    // The answer was made about half-way between question and arrival.
    let ours = asked.midpoint(unix_ms());
    let signed = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
    Some(Reflection {
        seen_as,
        behind_ms: signed(theirs) - signed(ours),
    })
}

const TCP_LIMIT: Duration = Duration::from_secs(7);
const HTTP_LIMIT: Duration = Duration::from_secs(3);
const REFLECT_LIMIT: Duration = Duration::from_secs(3);
const MAX_LOCATION_CHARS: usize = 120;

#[cfg(test)]
mod tests;
