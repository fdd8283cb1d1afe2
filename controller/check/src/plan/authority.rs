//! Host and port of a web address, as far as a plan and its verdicts need them. It does not judge whether the address is one.

/// The host of `https://host:port/path`.
pub(crate) fn host_of(url: &str) -> Option<&str> {
    let authority = authority_of(url)?;
    if let Some(v6) = authority.strip_prefix('[') {
        return v6.split(']').next();
    }
    authority.split(':').next().filter(|host| !host.is_empty())
}

/// The port of `https://host:port/path`; 443 where none is written.
pub(super) fn port_of(url: &str) -> Option<u16> {
    let authority = authority_of(url)?;
    let after_host = authority.rsplit(']').next()?;
    match after_host.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => Some(HTTPS_PORT),
    }
}

fn authority_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next()
}

const HTTPS_PORT: u16 = 443;
