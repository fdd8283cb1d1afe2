//! Path prefixes of routes and the check that a request path can't climb out of one. Never rewrites a path.

/// Longest path prefix of a route in bytes.
pub const MAX_PREFIX_BYTES: usize = 2048;

/// A path prefix that ends on a segment border; the root covers every path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathPrefix(Box<str>);

/// Why a text is not a path prefix; always the fault of whoever wrote the route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path prefix starts with `/`")]
    NotAbsolute,
    #[error("a path prefix has at most {MAX_PREFIX_BYTES} bytes, this one has {bytes}")]
    TooLong { bytes: usize },
    #[error(
        "byte {position} of the path prefix is not a visible ASCII character, or is `?` or `#`; percent-encode it"
    )]
    Character { position: usize },
    #[error("a path prefix has no `..` segment and no empty segment")]
    Segment,
}

impl PathPrefix {
    /// `/api` and `/api/` mean the same prefix.
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        if !text.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if text.len() > MAX_PREFIX_BYTES {
            return Err(PathError::TooLong { bytes: text.len() });
        }
        let wrong = |byte: u8| !byte.is_ascii_graphic() || byte == b'?' || byte == b'#';
        if let Some(position) = text.bytes().position(wrong) {
            return Err(PathError::Character { position });
        }
        let prefix = text.strip_suffix('/').unwrap_or(text);
        if prefix.ends_with('/') || prefix.contains("//") || climbs(prefix) {
            return Err(PathError::Segment);
        }
        Ok(Self(prefix.into()))
    }

    /// Whether the path is the prefix itself or lies below it.
    pub(crate) fn covers(&self, path: &str) -> bool {
        match path.strip_prefix(&*self.0) {
            Some(rest) => self.0.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn as_str(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }
}

/// Whether an origin could read a `..` segment in the path: plain, percent-encoded, after an encoded slash, after a
/// backslash, or before a `;` parameter. Such a path would leave the prefix it was routed by.
pub(crate) fn climbs(path: &str) -> bool {
    if !path.contains("..") && !path.contains('%') {
        return false;
    }
    let decoded = percent_decoded(path.as_bytes());
    decoded
        .split(|&byte| byte == b'/' || byte == b'\\')
        .any(|segment| segment.split(|&byte| byte == b';').next() == Some(b".."))
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let encoded = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match encoded {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_on_segment_borders_only() {
        let prefix = PathPrefix::parse("/api/").unwrap();
        assert!(prefix.covers("/api"));
        assert!(prefix.covers("/api/"));
        assert!(prefix.covers("/api/v1"));
        assert!(!prefix.covers("/apiary"));
        assert!(!prefix.covers("/"));
        assert!(PathPrefix::parse("/").unwrap().covers("/anything"));
        assert!(PathPrefix::parse("/").unwrap().covers("*"));
    }

    #[test]
    fn climbing_paths_are_seen_in_every_spelling() {
        for path in [
            "/a/../b",
            "/..",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a/..%2fb",
            "/a/..\\b",
            "/a%5c..%5cb",
            "/a/..;x=1/b",
        ] {
            assert!(climbs(path), "{path}");
        }
        for path in [
            "/", "/a/...", "/a..b", "/a/..b", "/50%", "/%", "/a%2", "/%zz/..",
        ] {
            assert_eq!(climbs(path), path.ends_with("/.."), "{path}");
        }
    }

    #[test]
    fn a_bad_prefix_is_refused_with_its_reason() {
        assert_eq!(PathPrefix::parse("api"), Err(PathError::NotAbsolute));
        assert_eq!(PathPrefix::parse("/a/../b"), Err(PathError::Segment));
        assert_eq!(PathPrefix::parse("/a//b"), Err(PathError::Segment));
        assert_eq!(PathPrefix::parse("//"), Err(PathError::Segment));
        assert_eq!(
            PathPrefix::parse("/a\r\nb"),
            Err(PathError::Character { position: 2 })
        );
        assert_eq!(
            PathPrefix::parse("/a?b"),
            Err(PathError::Character { position: 2 })
        );
        let long = format!("/{}", "a".repeat(MAX_PREFIX_BYTES));
        assert!(matches!(
            PathPrefix::parse(&long),
            Err(PathError::TooLong { .. })
        ));
    }
}
