//! The HTTP proxy that stands between this machine and the internet, as `HTTPS_PROXY` and `NO_PROXY` say: opens a connection
//! through it with CONNECT (RFC 9110 §9.3.6). Its credentials are never logged.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use data_encoding::BASE64;
use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{LinkError, LinkFault, address, head, unreachable};

/// A proxy and what it wants to know of us.
pub(super) struct Proxy {
    /// `host:port`
    at: String,
    authorization: Option<Zeroizing<String>>,
}

impl Proxy {
    /// The proxy for `controller` (`host:port`); None where the environment names none, or excepts this controller.
    pub(super) fn of_environment(controller: &str) -> Result<Option<Self>, LinkError> {
        Self::of_variables(controller, |name| std::env::var(name).ok())
    }

    fn of_variables(
        controller: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, LinkError> {
        let either = |upper: &str, lower: &str| {
            let found = [lower, upper].into_iter().find_map(&variable);
            found.filter(|text| !text.trim().is_empty())
        };
        let Some(url) = either("HTTPS_PROXY", "https_proxy").map(Zeroizing::new) else {
            return Ok(None);
        };
        let excepted = either("NO_PROXY", "no_proxy");
        if excepted.is_some_and(|list| is_excepted(controller, &list)) {
            return Ok(None);
        }
        Self::parse(&url).map(Some)
    }

    /// `host:port`, without what it wants to know of us.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Reads `http://user:password@host:port`; everything but the host may be left out.
    fn parse(url: &str) -> Result<Self, LinkError> {
        let wrong = |why: &str| {
            let detail = format!(
                "HTTPS_PROXY {why}; it must look like http://proxy.example:3128 or http://user:password@proxy.example:3128"
            );
            LinkError::new(LinkFault::Proxy, detail)
        };
        let url = url.trim();
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err(wrong("asks for TLS to the proxy itself")),
            Some(_) => return Err(wrong("names a protocol that is not known here")),
            None => url,
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = split_port(place);
        let port = port.unwrap_or(USUAL_PORT);
        let fits = !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
            && port.parse::<u16>().is_ok_and(|port| port != 0);
        if !fits {
            return Err(wrong("names no host and port"));
        }
        let authorization = match user {
            Some(user) => {
                let user = percent_decoded(user).ok_or_else(|| wrong("has a damaged % in it"))?;
                let coded = Zeroizing::new(BASE64.encode(&user));
                Some(Zeroizing::new(format!("Basic {}", *coded)))
            }
            None => None,
        };
        Ok(Self {
            at: format!("{host}:{port}"),
            authorization,
        })
    }

    /// A connection to `controller` (`host:port`), whose name the proxy resolves. Credentials are shown at one address of the proxy at a
    /// time, however long it thinks about them: a no at one is a no at all, and each counts against the account.
    pub(super) async fn connect(&self, controller: &str) -> Result<TcpStream, LinkError> {
        let turn = Semaphore::new(1);
        address::reach(&self.at, |to| self.connect_by(to, controller, &turn)).await
    }

    async fn connect_by(
        &self,
        to: SocketAddr,
        controller: &str,
        turn: &Semaphore,
    ) -> Result<TcpStream, LinkError> {
        let mut stream = TcpStream::connect(to)
            .await
            .map_err(|error| unreachable(format!("proxy {to}/tcp: {error}")))?;
        let _ = stream.set_nodelay(true);
        let _turn = match self.authorization {
            Some(_) => turn.acquire().await.ok(),
            None => None,
        };
        match timeout(ANSWER_LIMIT, self.ask(&mut stream, controller)).await {
            Ok(answered) => answered.map(|()| stream),
            Err(_) => Err(self.fault(format_args!(
                "takes the question for {controller} and does not answer; it must allow CONNECT to the controller"
            ))),
        }
    }

    async fn ask(&self, stream: &mut TcpStream, controller: &str) -> Result<(), LinkError> {
        let mut question = Zeroizing::new(format!(
            "CONNECT {controller} HTTP/1.1\r\nHost: {controller}\r\n"
        ));
        if let Some(authorization) = &self.authorization {
            question.push_str("Proxy-Authorization: ");
            question.push_str(authorization);
            question.push_str("\r\n");
        }
        question.push_str("\r\n");
        let written = stream.write_all(question.as_bytes()).await;
        written.map_err(|error| self.fault(error))?;
        let answer = head::read(stream).await.map_err(|why| self.fault(why))?;
        match answer.status {
            200..300 => Ok(()),
            407 => Err(self.refusal(
                "asks for credentials, or takes others than these; put them into HTTPS_PROXY",
            )),
            403 => Err(self.refusal(format_args!("answers 403 for {controller}"))),
            status => Err(self.fault(format_args!("answers {status} for {controller}"))),
        }
    }

    /// It answered that the way is open, and then nothing came by it.
    pub(super) fn lets_nothing_through(&self, controller: &str) -> LinkError {
        self.fault(format_args!(
            "says that the way to {controller} is open, and nothing comes through it; it must pass TLS to the controller on \
             unopened, or NO_PROXY must name the controller"
        ))
    }

    fn fault(&self, why: impl fmt::Display) -> LinkError {
        LinkError::new(LinkFault::Proxy, format!("the proxy {} {why}", self.at))
    }

    fn refusal(&self, why: impl fmt::Display) -> LinkError {
        let fault = LinkFault::ProxyRefused;
        LinkError {
            fault,
            ..self.fault(why)
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.at)
    }
}

/// `NO_PROXY` is a list of names, which stand for all below them too, of addresses and of prefixes; `*` is everything.
fn is_excepted(controller: &str, list: &str) -> bool {
    let (host, _) = split_port(controller);
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let ip = host.parse::<IpAddr>().ok();
    let excepts = |entry: &str| {
        let entry = entry.trim().to_ascii_lowercase();
        let (entry, _) = match entry.parse::<IpAddr>() {
            Ok(_) => (entry.as_str(), None),
            Err(_) => split_port(&entry),
        };
        let name = entry.trim_start_matches("*.").trim_start_matches('.');
        match (entry, ip) {
            ("", _) => false,
            ("*", _) => true,
            (_, Some(ip)) => {
                let prefix = entry.parse::<IpNet>().ok();
                entry.trim_matches(['[', ']']).parse() == Ok(ip)
                    || prefix.is_some_and(|prefix| prefix.contains(&ip))
            }
            (_, None) => {
                host == name
                    || host
                        .strip_suffix(name)
                        .is_some_and(|rest| rest.ends_with('.'))
            }
        }
    };
    list.split(',').any(excepts)
}

/// Host and port; the host keeps the brackets of an IPv6 address.
fn split_port(place: &str) -> (&str, Option<&str>) {
    match place.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    }
}

fn percent_decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, others) = rest.split_first_chunk::<2>()?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = others;
    }
    Some(bytes)
}

const USUAL_PORT: &str = "3128";
/// Shorter than the limits around it, [`address::CONNECT_LIMIT`] and that of the doctor's look, which know nothing of a proxy.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests;
