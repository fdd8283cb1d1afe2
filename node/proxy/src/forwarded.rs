//! Tells the origin who asked: `X-Forwarded-*`, `X-Real-IP` and `Forwarded` (RFC 7239). Believes only trusted proxies.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// What the edge knows about a request on its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) peer: SocketAddr,
    /// `Host` as the client wrote it.
    pub(crate) host: &'a HeaderValue,
    pub(crate) port: u16,
    pub(crate) trusted: &'a [IpNet],
}

/// Replaces what the client claims by what the edge knows; a trusted proxy's claims are extended instead.
pub(crate) fn apply(headers: &mut HeaderMap, origin: Origin<'_>) {
    let peer = origin.peer.ip().to_canonical();
    let is_trusted = |address: &IpAddr| origin.trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        remove_claims(headers);
    }
    let chain = extended(headers, &X_FORWARDED_FOR, &peer.to_string());
    let client = client_of(&chain, &is_trusted).unwrap_or(peer);
    set(headers, X_FORWARDED_FOR, &chain);
    set(headers, X_REAL_IP, &client.to_string());
    let element = forwarded_element(peer, origin.host);
    let forwarded = extended(headers, &http::header::FORWARDED, &element);
    set(headers, http::header::FORWARDED, &forwarded);
    for (name, value) in [
        (X_FORWARDED_PROTO, HeaderValue::from_static("https")),
        (X_FORWARDED_HOST, origin.host.clone()),
        (X_FORWARDED_PORT, HeaderValue::from(origin.port)),
    ] {
        headers.entry(name).or_insert(value);
    }
}

/// Some origins read `_` as `-`, so `X_Forwarded_For` is a claim too.
fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str().replace('_', "-");
            name.starts_with("x-forwarded-") || CLAIMS.contains(&name.as_str())
        })
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
}

/// The field's values with one more at the end.
fn extended(headers: &HeaderMap, name: &HeaderName, last: &str) -> String {
    let mut parts: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    parts.push(last);
    parts.join(", ")
}

/// The last address in the chain that no trusted proxy has.
fn client_of(chain: &str, is_trusted: &impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let mut addresses = chain.rsplit(',').map(|text| text.trim().parse::<IpAddr>());
    addresses.find_map(|address| match address {
        Ok(address) if is_trusted(&address) => None,
        other => Some(other.ok()),
    })?
}

fn forwarded_element(peer: IpAddr, host: &HeaderValue) -> String {
    let node = match peer {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = host.to_str().unwrap_or_default();
    format!("for={node};host=\"{host}\";proto=https")
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    match HeaderValue::from_str(text) {
        Ok(value) => headers.insert(name, value),
        Err(_) => headers.remove(name),
    };
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Claims about the client besides `X-Forwarded-*`.
const CLAIMS: [&str; 4] = ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip"];

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(peer: &str, fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let origin = Origin {
            peer: peer.parse().unwrap(),
            host: &HeaderValue::from_static("a.org:8443"),
            port: 8443,
            trusted: &["10.0.0.0/8".parse().unwrap()],
        };
        apply(&mut headers, origin);
        headers
    }

    #[test]
    fn a_strangers_claims_are_replaced_by_what_the_edge_saw() {
        let headers = applied(
            "[2001:db8::7]:5000",
            &[
                ("x-forwarded-for", "127.0.0.1"),
                ("x_forwarded_for", "127.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-server", "evil"),
                ("x-real-ip", "127.0.0.1"),
                ("forwarded", "for=127.0.0.1"),
            ],
        );
        assert_eq!(headers["x-forwarded-for"], "2001:db8::7");
        assert_eq!(headers["x-real-ip"], "2001:db8::7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "a.org:8443");
        assert_eq!(headers["x-forwarded-port"], "8443");
        assert_eq!(
            headers["forwarded"],
            "for=\"[2001:db8::7]\";host=\"a.org:8443\";proto=https"
        );
        assert!(!headers.contains_key("x_forwarded_for"));
        assert!(!headers.contains_key("x-forwarded-server"));
    }

    #[test]
    fn a_trusted_proxys_claims_are_extended() {
        let headers = applied(
            "10.1.1.1:5000",
            &[
                ("x-forwarded-for", "203.0.113.9, 10.2.2.2"),
                ("x-forwarded-proto", "https"),
                ("forwarded", "for=203.0.113.9"),
            ],
        );
        assert_eq!(
            headers["x-forwarded-for"],
            "203.0.113.9, 10.2.2.2, 10.1.1.1"
        );
        assert_eq!(headers["x-real-ip"], "203.0.113.9");
        assert_eq!(
            headers["forwarded"],
            "for=203.0.113.9, for=10.1.1.1;host=\"a.org:8443\";proto=https"
        );
    }

    #[test]
    fn a_mapped_ipv4_peer_is_written_as_ipv4() {
        let headers = applied("[::ffff:192.0.2.1]:5000", &[]);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
    }
}
