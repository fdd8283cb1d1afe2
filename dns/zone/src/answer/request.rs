//! What a query asks, read from its bytes. Counts are checked before anything is allocated for them.

use hickory_proto::op::{Header, HeaderCounts, Message, MessageType, Metadata, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType as WireType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::Rcode;

pub(super) struct Request {
    pub(super) head: Metadata,
    /// The question, or the code that says why there is none to answer.
    pub(super) question: Result<Question, Rcode>,
    pub(super) edns: Option<ClientEdns>,
}

/// The client's OPT record (RFC 6891).
#[derive(Clone, Copy)]
pub(super) struct ClientEdns {
    pub(super) version: u8,
    pub(super) payload_bytes: u16,
    pub(super) dnssec_ok: bool,
}

pub(super) struct Question(Query);

impl Request {
    /// Nothing when the message has no complete header or is itself a response.
    pub(super) fn read(query: &[u8]) -> Option<Self> {
        let mut decoder = BinDecoder::new(query);
        let Header {
            metadata: head,
            counts,
        } = Header::read(&mut decoder).ok()?;
        if head.message_type == MessageType::Response {
            return None;
        }
        let failed = |rcode| Self {
            head,
            question: Err(rcode),
            edns: None,
        };
        if matches!(head.op_code, OpCode::Query) {
            let read = read_sections(&mut decoder, counts);
            return Some(match read {
                Some((question, edns)) => Self {
                    head,
                    question: Ok(question),
                    edns,
                },
                None => failed(Rcode::FormErr),
            });
        }
        Some(failed(Rcode::NotImp))
    }
}

impl Question {
    /// The name as the client wrote it, its letters' case included.
    pub(super) fn name(&self) -> &Name {
        self.0.name()
    }

    pub(super) fn qtype(&self) -> WireType {
        self.0.query_type()
    }

    pub(super) fn class(&self) -> DNSClass {
        self.0.query_class()
    }

    pub(super) fn query(&self) -> &Query {
        &self.0
    }
}

/// One question (RFC 9619), and records only where some query has them: an SOA in the authority
/// section of IXFR, OPT and the like in the additional section.
fn read_sections(
    decoder: &mut BinDecoder<'_>,
    counts: HeaderCounts,
) -> Option<(Question, Option<ClientEdns>)> {
    let within = counts.queries == 1
        && counts.answers == 0
        && counts.authorities <= MAX_QUERY_AUTHORITIES
        && counts.additionals <= MAX_QUERY_ADDITIONALS;
    if !within {
        return None;
    }
    let question = Query::read(decoder).ok()?;
    let authorities = usize::from(counts.authorities);
    Message::read_records(decoder, authorities, false, OpCode::Query).ok()?;
    let additionals = usize::from(counts.additionals);
    let (_, edns, _) = Message::read_records(decoder, additionals, true, OpCode::Query).ok()?;
    let edns = edns.map(|edns| ClientEdns {
        version: edns.version(),
        payload_bytes: edns.max_payload(),
        dnssec_ok: edns.flags().dnssec_ok,
    });
    Some((Question(question), edns))
}

const MAX_QUERY_AUTHORITIES: u16 = 1;
const MAX_QUERY_ADDITIONALS: u16 = 4;
