//! Addresses of our own pages: safe to build from foreign text, safe to follow when they come from
//! a request.

use std::fmt::Write;

/// Percent-encodes everything but the unreserved characters of RFC 3986 §2.3, for one path segment
/// or query value.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The address if it is a path on this host; else the start page. Refused are `//host`, `/\host`
/// and anything with control characters, with which a browser could be led elsewhere.
pub(crate) fn local_or_start(address: &str) -> &str {
    let stays_here = address.starts_with('/')
        && !address.starts_with("//")
        && address.len() <= LOCAL_BYTES_MAX
        && address
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if stays_here { address } else { "/" }
}

/// The longest path that a redirect repeats.
const LOCAL_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_ours_are_followed() {
        assert_eq!(local_or_start("/nodes?q=a%20b"), "/nodes?q=a%20b");
    }

    #[test]
    fn addresses_that_lead_elsewhere_end_at_the_start_page() {
        for address in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "",
            "/a\r\nb",
            "/\t/evil",
            "javascript:x",
        ] {
            assert_eq!(local_or_start(address), "/", "{address:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]
        #[test]
        fn an_encoded_text_stays_one_segment_and_one_value(text in any::<String>()) {
            prop_assert!(!encode(&text).contains(['/', '?', '#', '&', '=', '+', ' ', '"']));
        }
    }
}
