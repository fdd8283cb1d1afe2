//! Cookies, read and written (RFC 6265). It knows nothing of what they mean.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The value of the first cookie with this name; `None` also for one longer than
/// [`VALUE_BYTES_MAX`].
pub(crate) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty() && value.len() <= VALUE_BYTES_MAX)
}

/// A `Set-Cookie` for the whole host, out of reach of scripts and of requests from other sites.
/// Without `max_age_s` it ends with the browser session; with 0 it is deleted. `None` if the value
/// can't stand in a cookie.
pub(crate) fn set(
    name: &str,
    value: &str,
    secure: bool,
    max_age_s: Option<u64>,
) -> Option<HeaderValue> {
    if value.len() > VALUE_BYTES_MAX || !value.bytes().all(may_stand_in_value) {
        return None;
    }
    let age = max_age_s
        .map(|age_s| format!("; Max-Age={age_s}"))
        .unwrap_or_default();
    let secure = if secure { "; Secure" } else { "" };
    HeaderValue::try_from(format!(
        "{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}"
    ))
    .ok()
}

/// The `cookie-octet` of RFC 6265 §4.1.1.
fn may_stand_in_value(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// The longest cookie value that is written or believed.
const VALUE_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("xmalha=1; malha-x=2"));
        headers.append(COOKIE, HeaderValue::from_static("malha=3"));
        assert_eq!(value(&headers, "malha"), Some("3"));
    }

    #[test]
    fn a_value_that_would_add_attributes_is_not_written() {
        assert_eq!(set("malha", "x; Domain=evil", true, None), None);
        assert_eq!(set("malha", "x\r\nSet-Cookie: y", true, None), None);
    }

    #[test]
    fn attributes_are_those_of_a_session_secret() {
        let header = set("__Host-malha", "abc", true, None).unwrap();
        assert_eq!(
            header,
            "__Host-malha=abc; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
    }
}
