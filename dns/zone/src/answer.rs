//! From the bytes of a query to the bytes of its answer, the way an authoritative server decides.
//! It never recurses, never answers a response, and never sends a datagram the client cannot take.

mod encode;
mod lookup;
mod request;

use hickory_proto::op::Metadata;
use hickory_proto::rr::{DNSClass, RecordType as WireType};

use crate::key::NameKey;
use crate::zones::Zones;
use encode::Reply;
use lookup::Body;
use request::{Question, Request};

pub use lookup::MAX_CHAIN_HOPS;

/// Our EDNS payload size, and so the largest datagram we send (DNS flag day 2020).
pub const UDP_PAYLOAD_BYTES: u16 = 1_232;
/// The largest message on a stream: its length prefix has 16 bits.
pub const TCP_PAYLOAD_BYTES: u16 = u16::MAX;

/// How the query came, which decides how long the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The outcome told to the client (RFC 1035 section 4.1.1, RFC 6891 section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rcode {
    NoError,
    FormErr,
    ServFail,
    NxDomain,
    NotImp,
    Refused,
    BadVers,
}

/// A finished answer message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub rcode: Rcode,
    /// Whether TC is set: the client is to ask again over TCP.
    pub truncated: bool,
}

/// The answer to `query`, or nothing when silence is the only safe answer: for a response (QR set,
/// which a spoofer would bounce between servers) and for less than a message header.
///
/// Not our zone, another class, and transfers are refused; opcodes other than QUERY are not
/// implemented; ANY gets the minimal answer of RFC 8482.
pub fn answer(zones: &Zones, query: &[u8], transport: Transport) -> Option<Answer> {
    let request = Request::read(query)?;
    let body = match &request.question {
        Ok(question) => decide(zones, &request, question),
        Err(rcode) => Body::error(*rcode),
    };
    let reply = Reply {
        head: Metadata::response_from_request(&request.head),
        question: request.question.as_ref().ok(),
        edns: request.edns,
        limit_bytes: limit_bytes(&request, transport),
    };
    Some(reply.encode(&body))
}

/// The empty answer with TC set, which sends an honest client to TCP; used when datagrams to a network
/// are limited. Nothing for a query that [`answer`] would leave unanswered or refuse as malformed.
pub fn truncated_answer(query: &[u8]) -> Option<Answer> {
    let request = Request::read(query)?;
    let question = request.question.as_ref().ok()?;
    let reply = Reply {
        head: Metadata::response_from_request(&request.head),
        question: Some(question),
        edns: request.edns,
        limit_bytes: MIN_PAYLOAD_BYTES,
    };
    Some(reply.truncated())
}

impl Rcode {
    pub const ALL: [Self; 7] = [
        Self::NoError,
        Self::FormErr,
        Self::ServFail,
        Self::NxDomain,
        Self::NotImp,
        Self::Refused,
        Self::BadVers,
    ];

    /// The name in the IANA registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::FormErr => "FORMERR",
            Self::ServFail => "SERVFAIL",
            Self::NxDomain => "NXDOMAIN",
            Self::NotImp => "NOTIMP",
            Self::Refused => "REFUSED",
            Self::BadVers => "BADVERS",
        }
    }
}

fn decide<'z>(zones: &'z Zones, request: &Request, question: &Question) -> Body<'z> {
    if request.edns.is_some_and(|edns| edns.version > 0) {
        return Body::error(Rcode::BadVers);
    }
    if question.class() != DNSClass::IN {
        return Body::error(Rcode::Refused);
    }
    match question.qtype() {
        WireType::AXFR | WireType::IXFR => return Body::error(Rcode::Refused),
        WireType::ZERO | WireType::OPT => return Body::error(Rcode::FormErr),
        WireType::ANY => {}
        other if META_TYPES.contains(&u16::from(other)) => return Body::error(Rcode::NotImp),
        _ => {}
    }
    let key = NameKey::of(question.name());
    match lookup::zone_for(zones, key.bytes(), question.qtype()) {
        Some(found) => lookup::resolve(zones, found, question, key),
        None => Body::error(Rcode::Refused),
    }
}

fn limit_bytes(request: &Request, transport: Transport) -> u16 {
    match (transport, request.edns) {
        (Transport::Tcp, _) => TCP_PAYLOAD_BYTES,
        (Transport::Udp, None) => MIN_PAYLOAD_BYTES,
        (Transport::Udp, Some(edns)) => edns
            .payload_bytes
            .clamp(MIN_PAYLOAD_BYTES, UDP_PAYLOAD_BYTES),
    }
}

/// What every client takes in a datagram (RFC 1035 section 2.3.4).
const MIN_PAYLOAD_BYTES: u16 = 512;
/// Types that are questions or transaction machinery, not data (RFC 6895 section 3.1).
const META_TYPES: std::ops::RangeInclusive<u16> = 128..=255;

#[cfg(test)]
mod tests;
