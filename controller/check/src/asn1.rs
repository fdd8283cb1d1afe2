//! Reading BER and writing DER, no more than OCSP (RFC 6960) and time stamps (RFC 3161) need. Answers come from outside: what
//! does not fit is an error, never a panic, and lengths and depths are bounded by the parser below.

use thiserror::Error;
use time::{Date, Month, OffsetDateTime, Time};
use x509_parser::asn1_rs::{Any, FromBer};

/// The bytes are not what the format asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is missing or malformed")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// One element: all its bytes, and those after tag and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) content: &'a [u8],
}

impl<'a> Element<'a> {
    pub(crate) fn tag(&self) -> u8 {
        self.raw.first().copied().unwrap_or_default()
    }

    pub(crate) fn inside(&self) -> Reader<'a> {
        Reader(self.content)
    }
}

/// Elements one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The only element of `bytes`, which must have this tag.
    pub(crate) fn whole(bytes: &'a [u8], tag: u8, what: &'static str) -> Result<Self, Malformed> {
        let mut reader = Self(bytes);
        let element = reader.take(tag, what)?;
        match reader.0 {
            [] => Ok(element.inside()),
            _ => Err(Malformed(what)),
        }
    }

    /// The next element, whatever its tag.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (rest, any) = Any::from_ber(self.0).ok()?;
        let raw = self.0.get(..self.0.len() - rest.len())?;
        // Tags above 30 take more than one byte and are in none of these formats.
        if raw.first()? & 0x1f == 0x1f {
            return None;
        }
        self.0 = rest;
        Some(Element {
            raw,
            content: any.data,
        })
    }

    /// The next element, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8, what: &'static str) -> Result<Element<'a>, Malformed> {
        self.optional(tag).ok_or(Malformed(what))
    }

    /// The next element if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.any().filter(|element| element.tag() == tag)?;
        *self = ahead;
        Some(element)
    }

    pub(crate) fn has_more(&self) -> bool {
        !self.0.is_empty()
    }
}

/// The bytes of an octet string, also when it comes in pieces (BER).
pub(crate) fn octets(reader: &mut Reader<'_>, what: &'static str) -> Result<Vec<u8>, Malformed> {
    if let Some(pieces) = reader.optional(OCTET_STRING | CONSTRUCTED) {
        let mut pieces = pieces.inside();
        let mut bytes = Vec::new();
        while pieces.has_more() {
            bytes.extend_from_slice(pieces.take(OCTET_STRING, what)?.content);
        }
        return Ok(bytes);
    }
    Ok(reader.take(OCTET_STRING, what)?.content.to_vec())
}

/// `YYYYMMDDHHMMSS[.f…]Z` (RFC 5280 §4.1.2.5.2, fractions as in RFC 3161 §2.4.2).
pub(crate) fn generalized_time(
    reader: &mut Reader<'_>,
    what: &'static str,
) -> Result<OffsetDateTime, Malformed> {
    let element = reader.take(GENERALIZED_TIME, what)?;
    instant(element.content).ok_or(Malformed(what))
}

fn instant(text: &[u8]) -> Option<OffsetDateTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || fraction.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to)?.parse::<u8>().ok();
    let year: i32 = whole.get(..4)?.parse().ok()?;
    let month = Month::try_from(part(4, 6)?).ok()?;
    let date = Date::from_calendar_date(year, month, part(6, 8)?).ok()?;
    let nanos: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let time = Time::from_hms_nano(
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?,
        nanos.parse().ok()?,
    );
    Some(OffsetDateTime::new_utc(date, time.ok()?))
}

/// An element in DER.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = length.iter().copied().skip_while(|byte| *byte == 0);
    match content.len() {
        short if short < 128 => bytes.extend(significant.chain((short == 0).then_some(0))),
        _ => {
            let significant: Vec<u8> = significant.collect();
            // At most 8 of them: usize has no more.
            bytes.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            bytes.extend(significant);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// A number without sign, from its big-endian bytes.
pub(crate) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0);
    let mut content = start.map_or(vec![0], |start| bytes[start..].to_vec());
    if content[0] & 0x80 != 0 {
        content.insert(0, 0);
    }
    element(INTEGER, &content)
}

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const CONSTRUCTED: u8 = 0x20;

/// `[n]` holding other elements.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// `[n]` in place of a plain type's tag.
pub(crate) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_read_with_and_without_fractions() {
        let read = |text: &str| instant(text.as_bytes());
        assert_eq!(
            read("20261122084100Z"),
            Some(datetime!(2026-11-22 08:41 UTC))
        );
        assert_eq!(
            read("20261122084100.25Z"),
            Some(datetime!(2026-11-22 08:41:00.25 UTC))
        );
        for wrong in [
            "",
            "Z",
            "20261122084100",
            "20261322084100Z",
            "20261122084100.Z",
            "+0261122084100Z",
            "2026112208410Z",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_octet_string_in_pieces_of_unknown_length_is_put_together() {
        let pieces = [
            0x24, 0x80, 0x04, 0x01, 0x61, 0x04, 0x02, 0x62, 0x63, 0x00, 0x00,
        ];
        let mut reader = Reader(&pieces);
        assert_eq!(octets(&mut reader, "text"), Ok(b"abc".to_vec()));
        assert!(!reader.has_more());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(content: Vec<u8>, tag in prop::sample::select(vec![OCTET_STRING, SEQUENCE, context(0)])) {
            let bytes = element(tag, &content);
            let mut reader = Reader(&bytes);
            let read = reader.take(tag, "element").unwrap();
            prop_assert_eq!(read.content, &content[..]);
            prop_assert!(!reader.has_more());
        }

        #[test]
        fn a_number_is_minimal_and_never_negative(bytes: Vec<u8>) {
            let written = unsigned(&bytes);
            let content = Reader(&written).take(INTEGER, "number").unwrap().content;
            prop_assert!(content[0] & 0x80 == 0);
            prop_assert!(content.len() == 1 || content[0] != 0 || content[1] & 0x80 != 0);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut reader = Reader(&bytes);
            let mut elements = 0;
            while reader.any().is_some() {
                elements += 1;
            }
            prop_assert!(elements <= bytes.len());
        }
    }
}
