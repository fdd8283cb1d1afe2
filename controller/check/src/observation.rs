//! What was seen: when, from where, at which address. It keeps what a machine said as it was said, so that an auditor can judge
//! it again, and draws no conclusion.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::check::{Probe, Vantage};

/// One look and what it showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    pub vantage: Vantage,
    pub probe: Probe,
    /// Where it really went; none where nothing was dialled.
    pub address: Option<SocketAddr>,
    pub seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// How the connection ended; for other probes than [`Probe::TcpConnect`] and [`Probe::TcpStay`], that there was none.
    Tcp(TcpSeen),
    Dns(DnsSeen),
    NameServers(NameServersSeen),
    Inside(InsideSeen),
    Tls(TlsSeen),
    Http(HttpSeen),
    OcspCache(OcspCacheSeen),
    Url(UrlSeen),
    Ocsp(OcspSeen),
    TimeStamp(StampSeen),
    Balancer(BalancerSeen),
    /// The look did not take place, or showed nothing of the other side: no way, no time, no such node.
    Failed {
        why: Failure,
    },
}

/// How a connection attempt ended. Only `Open` is open; the others are told apart because they are mended in different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcpSeen {
    Open,
    /// Answered with a reset.
    Refused,
    /// No answer in the probe's time.
    Silent,
    /// A router or a firewall answered that there is no way (ICMP host unreachable or prohibited).
    Unreachable,
    /// Accepted and closed again at once, before a word was said: only a [`Probe::TcpStay`] sees it.
    Dismissed,
}

impl TcpSeen {
    /// What a failed connection attempt says of the other side, or that it says nothing of it.
    ///
    /// # Errors
    /// [`Failure`] where the attempt did not leave this machine.
    pub fn of(error: &io::Error) -> Result<Self, Failure> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Ok(Self::Refused),
            io::ErrorKind::TimedOut => Ok(Self::Silent),
            io::ErrorKind::HostUnreachable => Ok(Self::Unreachable),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
                Err(Failure::NoRoute)
            }
            _ => Err(Failure::Local {
                error: error.to_string(),
            }),
        }
    }

    /// The word in reports; [`crate::Lang`] has its Portuguese.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Dismissed => "accepted and closed",
        }
    }
}

/// Why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The node that should have looked has no session with the controller.
    NodeOffline,
    /// The node's program is too old to look, or refused to.
    NodeRefused { reason: String },
    /// The vantage point itself has no way there: no route, no address of that family.
    NoRoute,
    /// The machine could not look: no socket, no random bytes, a URL that can't be read.
    Local { error: String },
    /// What had to be known before could not be learnt, like the certificate to ask about.
    Before { error: String },
    /// The run's time was over before this look.
    NoTime,
}

/// What one server said of one name, A and AAAA together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsSeen {
    pub server: String,
    pub answer: DnsAnswer,
}

/// What one server said of who answers for a name's zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServersSeen {
    pub server: String,
    pub answer: NameServersAnswer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameServersAnswer {
    /// No list: silence, an error, or the server does not answer for the zone itself.
    Nothing { why: String },
    Listed {
        zone: String,
        servers: Vec<ListedServer>,
    },
}

/// A name server as a zone names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedServer {
    pub name: String,
    /// Sorted, without doubles.
    pub addresses: Vec<IpAddr>,
}

/// What a member of the overlay gets for one name, A and AAAA together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsideSeen {
    /// What the resolver of its agent answered.
    pub resolver: DnsAnswer,
    /// What programs on the machine get, from whatever resolver it is set to; None where that was not looked up.
    pub programs: Option<Vec<IpAddr>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsAnswer {
    /// No answer over UDP, nor over TCP.
    Silent,
    /// The server answered with an error, like `SERVFAIL`, `REFUSED`, or was not understood.
    Error { code: String },
    /// There is no such name (NXDOMAIN).
    NoName,
    Records {
        /// The answer was the server's own (AA), not from a cache.
        is_authoritative: bool,
        /// Targets of the aliases (CNAME) on the way, in order.
        aliases: Vec<String>,
        /// Sorted, without doubles; those of an alias outside of the zone too.
        addresses: Vec<IpAddr>,
    },
}

/// A handshake as far as it went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSeen {
    /// The server's chain, its own certificate first.
    pub chain: Vec<Der>,
    /// The server asked for a client certificate.
    pub asked_certificate: bool,
    /// Subjects of the issuers that the server named when it asked.
    pub asked_issuers: Vec<String>,
    pub without_certificate: WithoutCertificate,
    /// The server proved that it holds the certificate's key.
    pub has_proved_key: bool,
    /// `TLSv1_3` and the like.
    pub version: Option<String>,
    /// How the handshake ended when not in success, in the words of the TLS library.
    pub error: Option<String>,
}

/// What the server did with a client that has no certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutCertificate {
    /// It ended the connection.
    Refused,
    /// It went on as if nothing were missing.
    Accepted,
    /// Neither was seen.
    #[default]
    Unclear,
}

/// What came back over a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpSeen {
    /// Connected, and what came was no HTTP or broke off.
    Broken { error: String },
    Answer {
        status: u16,
        content_type: Option<String>,
        location: Option<String>,
        /// The first bytes as text.
        body: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OcspCacheSeen {
    /// `/?cert=` with the SHA-1 of the certificate, in hexadecimal.
    pub certificate_sha1: String,
    pub with_certificate: HttpSeen,
    pub without: HttpSeen,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlSeen {
    pub host: String,
    pub tls: TlsSeen,
    /// None where the certificate was not one to send anything to.
    pub http: Option<HttpSeen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OcspSeen {
    /// The certificate that was asked about, and its issuer.
    pub certificate: Der,
    pub issuer: Der,
    /// What was sent as a nonce.
    pub nonce: Der,
    pub http: HttpSeen,
    /// The answer's bytes, where there was one.
    pub answer: Option<Der>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampSeen {
    /// SHA-256 of what was to be stamped.
    pub imprint: Der,
    pub nonce: Der,
    #[serde(with = "time::serde::rfc3339")]
    pub sent: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub received: OffsetDateTime,
    pub http: HttpSeen,
    pub answer: Option<Der>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerSeen {
    pub up: Vec<String>,
    pub down: Vec<String>,
}

/// Bytes from a wire; base64 in JSON.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Der(pub Vec<u8>);

impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Der({} bytes)", self.0.len())
    }
}

impl Serialize for Der {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let bytes = BASE64.decode(text.as_bytes());
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}
