//! Character strings in text: `"in quotes"`, with `\"`, `\\` and `\DDD` escapes (RFC 1035 section 5.1).
//! It never lets a raw control character in, and never prints one.

use std::fmt;

/// Quoted strings one space apart, or a bare text without quotes and backslashes, taken as one string.
pub(super) fn read_text(text: &str) -> Result<Vec<Vec<u8>>, String> {
    if text.is_empty() {
        return Err("it is empty; an empty string is written `\"\"`".to_owned());
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("its text is longer than {MAX_TEXT_BYTES} bytes"));
    }
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(format!(
            "it has the control character `{}`; write it as `\\DDD` inside quotes",
            control.escape_debug()
        ));
    }
    if text.starts_with('"') {
        return read_quoted(text.as_bytes());
    }
    if text.contains(['"', '\\']) {
        return Err(
            "it has a quote or backslash; put the whole string in double quotes".to_owned(),
        );
    }
    Ok(vec![text.as_bytes().to_vec()])
}

pub(super) fn write_all<'a>(
    f: &mut fmt::Formatter<'_>,
    strings: impl Iterator<Item = &'a [u8]>,
) -> fmt::Result {
    for (index, string) in strings.enumerate() {
        f.write_str(if index == 0 { "\"" } else { " \"" })?;
        for byte in string {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "\\{byte:03}")?,
            }
        }
        f.write_str("\"")?;
    }
    Ok(())
}

fn read_quoted(mut rest: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut strings = Vec::new();
    loop {
        let Some(inner) = rest.strip_prefix(b"\"") else {
            return Err("its strings must be quoted and one space apart".to_owned());
        };
        let (string, after) = read_one(inner)?;
        strings.push(string);
        if after.is_empty() {
            return Ok(strings);
        }
        let Some(next) = after.strip_prefix(b" ") else {
            return Err("a closing quote must be followed by a space or the end".to_owned());
        };
        rest = next;
    }
}

/// The bytes up to the closing quote, and what follows it.
fn read_one(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let mut string = Vec::new();
    loop {
        match rest {
            [] => return Err("its closing quote is missing".to_owned()),
            [b'"', after @ ..] => return Ok((string, after)),
            [
                b'\\',
                a @ b'0'..=b'9',
                b @ b'0'..=b'9',
                c @ b'0'..=b'9',
                after @ ..,
            ] => {
                let value = [a, b, c]
                    .iter()
                    .fold(0_u16, |value, digit| value * 10 + u16::from(**digit - b'0'));
                let byte = u8::try_from(value)
                    .map_err(|_| format!("`\\{value}` is above the largest byte, `\\255`"))?;
                string.push(byte);
                rest = after;
            }
            [b'\\', b'0'..=b'9', ..] | [b'\\'] => {
                return Err("a numeric escape has exactly three digits, as in `\\009`".to_owned());
            }
            [b'\\', escaped, after @ ..] => {
                string.push(*escaped);
                rest = after;
            }
            [byte, after @ ..] => {
                string.push(*byte);
                rest = after;
            }
        }
    }
}

/// Room for the longest content with every byte escaped, its quotes and its spaces.
const MAX_TEXT_BYTES: usize = 5 * super::MAX_TXT_BYTES;
