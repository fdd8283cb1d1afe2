//! Where something outside the overlay is: a host, a name server, a web address. Texts that could mean two things are refused.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use malha_proto::{HostName, NameError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::reason::Reason;

/// A name that DNS resolves, or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    Name(HostName),
    Address(IpAddr),
}

/// An authoritative name server: a host, and its port if that is not 53.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NameServer {
    pub host: Host,
    pub port: u16,
}

/// An `http` or `https` URL without user, query and fragment (RFC 3986).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebAddress {
    /// `https`.
    pub is_secure: bool,
    pub host: Host,
    pub port: u16,
    /// Starts with `/`.
    pub path: String,
}

/// Why a text names no place. It says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlaceError {
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("{0:?} has a wildcard; write the name itself")]
    Wildcard(String),
    #[error("{0:?} is no port; write 1 to 65535")]
    Port(String),
    #[error("{0:?} is no web address; write one like \"https://xvia.example.gov.br/\"")]
    Scheme(String),
    #[error("it has {0} bytes; a web address has at most {MAX_WEB_ADDRESS_BYTES}")]
    TooLong(usize),
    #[error("{0:?} has a user name; a web address here is a host, a port and a path")]
    User(String),
    #[error(
        "{0:?} is no path; use visible ASCII characters without '?' and '#', others percent-encoded"
    )]
    Path(String),
}

impl From<PlaceError> for Reason {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Name(error) => Self::Name { error },
            error => Self::Place { error },
        }
    }
}

impl FromStr for Host {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name: HostName = text.parse()?;
        match name.is_wildcard() {
            true => Err(PlaceError::Wildcard(text.to_owned())),
            false => Ok(Self::Name(name)),
        }
    }
}

impl FromStr for NameServer {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (host, port) = host_and_port(text)?;
        Ok(Self {
            host,
            port: port.unwrap_or(DNS_PORT),
        })
    }
}

impl FromStr for WebAddress {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if text.len() > MAX_WEB_ADDRESS_BYTES {
            return Err(PlaceError::TooLong(text.len()));
        }
        let (is_secure, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(PlaceError::Scheme(text.to_owned())),
        };
        let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if place.contains('@') {
            return Err(PlaceError::User(text.to_owned()));
        }
        let (host, port) = host_and_port(place)?;
        let is_path = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#');
        if !is_path {
            return Err(PlaceError::Path(path.to_owned()));
        }
        let usual = if is_secure { HTTPS_PORT } else { HTTP_PORT };
        Ok(Self {
            is_secure,
            host,
            port: port.unwrap_or(usual),
            path: match path {
                "" => "/".to_owned(),
                path => path.to_owned(),
            },
        })
    }
}

/// `host`, `host:port`, `192.0.2.1:53`, `2001:db8::1` or `[2001:db8::1]:53`.
fn host_and_port(text: &str) -> Result<(Host, Option<u16>), PlaceError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err(PlaceError::Port(text.to_owned())),
            port => Ok((Host::Address(address.ip()), Some(port))),
        };
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|inner| inner.parse().ok());
    if let Some(address) = bracketed {
        return Ok((Host::Address(IpAddr::V6(address)), None));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text.parse()?, None));
    }
    match text.rsplit_once(':') {
        None => Ok((text.parse()?, None)),
        Some((host, digits)) => {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = digits.parse::<u16>().ok().filter(|port| *port != 0);
            match port.filter(|_| is_number) {
                Some(port) => Ok((host.parse()?, Some(port))),
                None => Err(PlaceError::Port(digits.to_owned())),
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Host {
    /// As it stands before a port.
    fn bracketed(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            host => host.to_string(),
        }
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            DNS_PORT => self.host.fmt(f),
            port => write!(f, "{}:{port}", self.host.bracketed()),
        }
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = match self.is_secure {
            true => ("https", HTTPS_PORT),
            false => ("http", HTTP_PORT),
        };
        write!(f, "{scheme}://{}", self.host.bracketed())?;
        if self.port != usual {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl TryFrom<String> for $type {
            type Error = PlaceError;

            fn try_from(text: String) -> Result<Self, PlaceError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(it: $type) -> Self {
                it.to_string()
            }
        }
    )*};
}

as_text!(Host, NameServer, WebAddress);

/// The longest web address.
const MAX_WEB_ADDRESS_BYTES: usize = 1_024;
const DNS_PORT: u16 = 53;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_address_has_one_form() {
        for (text, form) in [
            ("https://xvia.example.br", "https://xvia.example.br/"),
            ("https://xvia.example.br:443/a", "https://xvia.example.br/a"),
            ("http://192.0.2.1:8888", "http://192.0.2.1:8888/"),
            ("http://[2001:db8::1]/tsa", "http://[2001:db8::1]/tsa"),
        ] {
            let address: WebAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), form);
            assert_eq!(form.parse::<WebAddress>(), Ok(address));
        }
    }

    #[test]
    fn what_could_mean_two_things_is_no_web_address() {
        let long = format!("https://a.br/{}", "x".repeat(MAX_WEB_ADDRESS_BYTES));
        for text in [
            "xvia.example.br",
            "ftp://a.br/",
            "https://a.br:0/",
            "https://a.br:+1/",
            "https://a.br:99999/",
            "https://u@a.br/",
            "https://a.br/?q",
            "https://a.br/#x",
            "https://a.br/ b",
            "https://*.a.br/",
            "https:///x",
            &long,
        ] {
            assert!(text.parse::<WebAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_server_has_port_53_unless_it_says_another() {
        for (text, form, port) in [
            ("ns1.example.br", "ns1.example.br", 53),
            ("192.0.2.1", "192.0.2.1", 53),
            ("192.0.2.1:5353", "192.0.2.1:5353", 5_353),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353", 5_353),
            ("2001:db8::1", "2001:db8::1", 53),
            ("ns1.example.br:53", "ns1.example.br", 53),
        ] {
            let server: NameServer = text.parse().unwrap();
            assert_eq!((server.to_string().as_str(), server.port), (form, port));
        }
    }
}
