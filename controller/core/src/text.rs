//! Checks of free text: what people name things, what machines say of themselves, and the paths of routes.

use crate::Rejection;
use crate::limits::{MAX_DISPLAY_NAME_CHARS, MAX_FACT_CHARS, MAX_PATH_CHARS};
use crate::reason::Reason;

/// A name for people: short, on one line, and shown as it is written.
pub(crate) fn check_display_name(text: &str) -> Result<(), Rejection> {
    match display_name_flaw(text) {
        Some(reason) => Err(Rejection::Invalid {
            field: "display_name",
            reason,
        }),
        None => Ok(()),
    }
}

/// Why a text is no name for people; None if it is one.
pub(crate) fn display_name_flaw(text: &str) -> Option<Reason> {
    let chars = text.chars().count();
    if chars > MAX_DISPLAY_NAME_CHARS {
        return Some(Reason::DisplayNameLong { chars });
    }
    let wrong = text.chars().find(|c| is_unprintable(*c))?;
    Some(Reason::DisplayNameCharacter {
        character: wrong.escape_unicode().to_string(),
    })
}

/// Why somebody did something, in words for whoever reads the history.
pub(crate) fn check_reason(text: &str) -> Result<(), Rejection> {
    let chars = text.chars().count();
    let blank = text.trim().is_empty();
    if blank || chars > MAX_DISPLAY_NAME_CHARS || text.chars().any(is_unprintable) {
        return Err(Rejection::Invalid {
            field: "emergency",
            reason: Reason::EmergencyReason,
        });
    }
    Ok(())
}

/// What a machine says of itself, without what could mislead a reader; cut where it is too long.
pub(crate) fn clean_fact(text: &str) -> String {
    text.chars()
        .filter(|c| !is_unprintable(*c))
        .take(MAX_FACT_CHARS)
        .collect()
}

/// A route's path in its one form: it starts with `/`, and ends with it only when it is nothing else.
pub(crate) fn check_path(text: &str) -> Result<String, Rejection> {
    let refuse = |reason| {
        Err(Rejection::Invalid {
            field: "path",
            reason,
        })
    };
    if text.len() > MAX_PATH_CHARS {
        return refuse(Reason::PathLong { bytes: text.len() });
    }
    if !text.starts_with('/') {
        return refuse(Reason::PathStart);
    }
    if let Some(wrong) = text.chars().find(|c| !is_path_char(*c)) {
        return refuse(Reason::PathCharacter {
            character: wrong.escape_default().to_string(),
        });
    }
    if text.contains("//")
        || text.split('/').any(|segment| matches!(segment, "." | ".."))
        || text.contains("..")
    {
        return refuse(Reason::PathDots);
    }
    if !percent_encoding_is_plain(text) {
        return refuse(Reason::PathEncoding);
    }
    let trimmed = text.trim_end_matches('/');
    Ok(if trimmed.is_empty() {
        "/".to_owned()
    } else {
        trimmed.to_owned()
    })
}

/// Controls, line separators, and the marks that turn the direction of text or have no width.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}')
}

/// RFC 3986 `pchar` and `/`.
fn is_path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c)
}

fn percent_encoding_is_plain(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let code = rest
            .get(..2)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_some_and(|byte| !byte.is_ascii_control() && !matches!(byte, b'/' | b'.' | b'\\'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_display_names_are_refused() {
        let long = "a".repeat(MAX_DISPLAY_NAME_CHARS + 1);
        for text in [
            "a\nb",
            "a\u{0}",
            "a\u{202e}b",
            "a\u{200b}b",
            "\u{feff}",
            &long,
        ] {
            assert!(check_display_name(text).is_err(), "{text:?}");
        }
        assert!(check_display_name("Secretaria de Fazenda — Praça da Sé, 1º andar").is_ok());
    }

    #[test]
    fn hostile_paths_are_refused() {
        let long = format!("/{}", "a".repeat(MAX_PATH_CHARS));
        let hostile = [
            "", "a", "//", "/a//b", "/..", "/a/../b", "/.", "/a?b", "/a#b", "/a b", "/a\n", "/ç",
            "/%2e%2e", "/%2F", "/%", "/%zz", "/a\\b",
        ];
        for text in hostile.into_iter().chain([long.as_str()]) {
            assert!(check_path(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_path_has_one_form() {
        assert_eq!(check_path("/"), Ok("/".to_owned()));
        assert_eq!(check_path("/painel/"), Ok("/painel".to_owned()));
        assert_eq!(check_path("/a%20b"), Ok("/a%20b".to_owned()));
    }

    #[test]
    fn facts_lose_what_could_mislead_and_their_tail() {
        assert_eq!(clean_fact("gara\u{202e}gem\n01"), "garagem01");
        assert_eq!(clean_fact(&"x".repeat(10_000)).len(), MAX_FACT_CHARS);
    }
}
