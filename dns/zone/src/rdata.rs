//! The data of one record: a typed value with one strict text form per type, as zone files write it.
//! It never guesses: what is not exactly of the type is refused with an example of what would be.

mod quoted;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::name::{DomainName, shown};
use crate::rtype::RecordType;
use crate::serial::Serial;

/// Longest content of one TXT record, its 255-byte strings taken together.
pub const MAX_TXT_BYTES: usize = 4_096;

/// The data of one record. [`fmt::Display`] gives the text form that [`RecordData::parse`] reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordData {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(DomainName),
    Txt(Txt),
    Mx {
        preference: u16,
        exchange: DomainName,
    },
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: DomainName,
    },
    Caa(Caa),
    Ns(DomainName),
    Ptr(DomainName),
    Soa(Box<SoaData>),
}

/// One to many strings of at most 255 bytes each (RFC 1035 section 3.3.14).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Txt(Vec<Box<[u8]>>);

/// A certification authority authorization (RFC 8659).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caa {
    flags: u8,
    tag: Box<str>,
    value: Box<[u8]>,
}

/// The data of an SOA record as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SoaData {
    pub mname: DomainName,
    pub rname: DomainName,
    pub serial: Serial,
    pub refresh_s: u32,
    pub retry_s: u32,
    pub expire_s: u32,
    pub minimum_s: u32,
}

/// Why a text is not the data of a record of this type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the data of a {rtype} record: {reason}; write it like `{}`", example(*.rtype))]
pub struct DataError {
    pub rtype: RecordType,
    pub text: String,
    pub reason: String,
}

impl RecordData {
    /// Reads the text form of `rtype`: `192.0.2.1`, `10 mail.example.`, `0 issue "ca.example"`.
    pub fn parse(rtype: RecordType, text: &str) -> Result<Self, DataError> {
        let parsed = match rtype {
            RecordType::A => text.parse().map(Self::A).map_err(|e| e.to_string()),
            RecordType::Aaaa => text.parse().map(Self::Aaaa).map_err(|e| e.to_string()),
            RecordType::Cname => target(text, Root::Refused).map(Self::Cname),
            RecordType::Ns => target(text, Root::Refused).map(Self::Ns),
            RecordType::Ptr => target(text, Root::Refused).map(Self::Ptr),
            RecordType::Txt => quoted::read_text(text)
                .and_then(Txt::of_strings)
                .map(Self::Txt),
            RecordType::Mx => mx(text),
            RecordType::Srv => srv(text),
            RecordType::Caa => caa(text),
            RecordType::Soa => soa(text),
        };
        parsed.map_err(|reason| DataError {
            rtype,
            text: shown(text),
            reason,
        })
    }

    pub fn rtype(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::Aaaa,
            Self::Cname(_) => RecordType::Cname,
            Self::Txt(_) => RecordType::Txt,
            Self::Mx { .. } => RecordType::Mx,
            Self::Srv { .. } => RecordType::Srv,
            Self::Caa(_) => RecordType::Caa,
            Self::Ns(_) => RecordType::Ns,
            Self::Ptr(_) => RecordType::Ptr,
            Self::Soa(_) => RecordType::Soa,
        }
    }

    /// The name whose addresses help whoever asked for this record (RFC 1034 section 4.3.2 step 6).
    pub(crate) fn host(&self) -> Option<&DomainName> {
        match self {
            Self::Mx { exchange: host, .. } | Self::Srv { target: host, .. } | Self::Ns(host) => {
                Some(host)
            }
            _ => None,
        }
    }

    /// Bytes on the wire without name compression.
    pub(crate) fn wire_bytes(&self) -> usize {
        match self {
            Self::A(_) => 4,
            Self::Aaaa(_) => 16,
            Self::Cname(name) | Self::Ns(name) | Self::Ptr(name) => name.wire_bytes(),
            Self::Txt(txt) => txt.strings().map(|string| string.len() + 1).sum(),
            Self::Mx { exchange, .. } => 2 + exchange.wire_bytes(),
            Self::Srv { target, .. } => 6 + target.wire_bytes(),
            Self::Caa(caa) => 2 + caa.tag.len() + caa.value.len(),
            Self::Soa(soa) => 20 + soa.mname.wire_bytes() + soa.rname.wire_bytes(),
        }
    }
}

impl Txt {
    /// `content` cut into strings of 255 bytes; refused when longer than [`MAX_TXT_BYTES`].
    pub fn of_content(content: &[u8]) -> Result<Self, DataError> {
        Self::of_strings(vec![content.to_vec()]).map_err(|reason| DataError {
            rtype: RecordType::Txt,
            text: shown(&String::from_utf8_lossy(content)),
            reason,
        })
    }

    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }

    fn of_strings(strings: Vec<Vec<u8>>) -> Result<Self, String> {
        let bytes: usize = strings.iter().map(Vec::len).sum();
        if bytes > MAX_TXT_BYTES || strings.len() > MAX_TXT_STRINGS {
            return Err(format!(
                "it holds {bytes} bytes in {} strings; at most {MAX_TXT_BYTES} bytes in \
                 {MAX_TXT_STRINGS} strings fit",
                strings.len()
            ));
        }
        let mut parts: Vec<Box<[u8]>> = Vec::new();
        for string in &strings {
            if string.is_empty() {
                parts.push(Box::default());
            }
            parts.extend(string.chunks(MAX_STRING_BYTES).map(Box::from));
        }
        Ok(Self(parts))
    }
}

impl Caa {
    pub fn flags(&self) -> u8 {
        self.flags
    }

    pub fn tag(&self) -> &str {
        &self.tag
    }

    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

impl fmt::Display for RecordData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => address.fmt(f),
            Self::Aaaa(address) => address.fmt(f),
            Self::Cname(name) | Self::Ns(name) | Self::Ptr(name) => name.fmt(f),
            Self::Txt(txt) => quoted::write_all(f, txt.strings()),
            Self::Mx {
                preference,
                exchange,
            } => write!(f, "{preference} {exchange}"),
            Self::Srv {
                priority,
                weight,
                port,
                target,
            } => write!(f, "{priority} {weight} {port} {target}"),
            Self::Caa(caa) => {
                write!(f, "{} {} ", caa.flags, caa.tag)?;
                quoted::write_all(f, [caa.value()].into_iter())
            }
            Self::Soa(soa) => write!(
                f,
                "{} {} {} {} {} {} {}",
                soa.mname,
                soa.rname,
                soa.serial,
                soa.refresh_s,
                soa.retry_s,
                soa.expire_s,
                soa.minimum_s
            ),
        }
    }
}

/// Ordered by text only so that record data as a whole has an order.
impl Ord for SoaData {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let fields = |soa: &Self| {
            (
                soa.mname.clone(),
                soa.rname.clone(),
                soa.serial.value(),
                [soa.refresh_s, soa.retry_s, soa.expire_s, soa.minimum_s],
            )
        };
        fields(self).cmp(&fields(other))
    }
}

impl PartialOrd for SoaData {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(PartialEq)]
enum Root {
    Allowed,
    Refused,
}

fn target(text: &str, root: Root) -> Result<DomainName, String> {
    let name: DomainName = text.parse().map_err(|e: crate::NameError| e.to_string())?;
    if name.is_root() && root == Root::Refused {
        return Err("the root is no target".to_owned());
    }
    Ok(name)
}

fn mx(text: &str) -> Result<RecordData, String> {
    let [preference, exchange] = fields(text)?;
    Ok(RecordData::Mx {
        preference: number(preference, "preference")?,
        exchange: target(exchange, Root::Allowed)?,
    })
}

fn srv(text: &str) -> Result<RecordData, String> {
    let [priority, weight, port, host] = fields(text)?;
    Ok(RecordData::Srv {
        priority: number(priority, "priority")?,
        weight: number(weight, "weight")?,
        port: number(port, "port")?,
        target: target(host, Root::Allowed)?,
    })
}

fn caa(text: &str) -> Result<RecordData, String> {
    let mut parts = text.splitn(3, ' ');
    let (Some(flags), Some(tag), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it needs three fields: flags, tag and value".to_owned());
    };
    if tag.is_empty() || tag.len() > MAX_CAA_TAG_BYTES || !is_alphanumeric(tag) {
        return Err(format!(
            "the tag must be 1 to {MAX_CAA_TAG_BYTES} letters and digits"
        ));
    }
    let mut strings = quoted::read_text(value)?;
    let value = match (strings.pop(), strings.is_empty()) {
        (Some(value), true) if value.len() <= MAX_CAA_VALUE_BYTES => value,
        _ => {
            return Err(format!(
                "the value must be one string of at most {MAX_CAA_VALUE_BYTES} bytes"
            ));
        }
    };
    Ok(RecordData::Caa(Caa {
        flags: number(flags, "flags")?,
        tag: tag.to_ascii_lowercase().into(),
        value: value.into(),
    }))
}

fn soa(text: &str) -> Result<RecordData, String> {
    let [mname, rname, serial, refresh, retry, expire, minimum] = fields(text)?;
    Ok(RecordData::Soa(Box::new(SoaData {
        mname: target(mname, Root::Allowed)?,
        rname: target(rname, Root::Allowed)?,
        serial: Serial::new(number(serial, "serial")?),
        refresh_s: number(refresh, "refresh")?,
        retry_s: number(retry, "retry")?,
        expire_s: number(expire, "expire")?,
        minimum_s: number(minimum, "minimum")?,
    })))
}

/// Exactly `N` fields, one space apart.
fn fields<const N: usize>(text: &str) -> Result<[&str; N], String> {
    let found: Vec<&str> = text.split(' ').take(N + 1).collect();
    if found.iter().any(|field| field.is_empty()) {
        return Err("its fields must be one space apart".to_owned());
    }
    <[&str; N]>::try_from(found).map_err(|_| format!("it needs {N} fields"))
}

fn number<T: FromStr + TryFrom<u64>>(text: &str, field: &str) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bits = 8 * size_of::<T>();
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| format!("the {field} must be a number below 2^{bits}"))
}

fn is_alphanumeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn example(rtype: RecordType) -> &'static str {
    match rtype {
        RecordType::A => "192.0.2.1",
        RecordType::Aaaa => "2001:db8::1",
        RecordType::Cname => "www.example.org.",
        RecordType::Txt => "\"v=spf1 -all\"",
        RecordType::Mx => "10 mail.example.org.",
        RecordType::Srv => "0 5 8883 mqtt.example.org.",
        RecordType::Caa => "0 issue \"letsencrypt.org\"",
        RecordType::Ns => "ns1.example.org.",
        RecordType::Ptr => "www.example.org.",
        RecordType::Soa => "ns1.example.org. hostmaster.example.org. 1 3600 600 1209600 300",
    }
}

/// RFC 1035 section 3.3: a character-string has one length byte.
const MAX_STRING_BYTES: usize = 255;
const MAX_TXT_STRINGS: usize = 64;
/// RFC 8659 section 4.1 recommends 15.
const MAX_CAA_TAG_BYTES: usize = 15;
const MAX_CAA_VALUE_BYTES: usize = 1_024;

#[cfg(test)]
mod tests;
