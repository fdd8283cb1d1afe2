//! An answer as bytes: sections, name compression, EDNS and truncation. A set is sent whole or not at
//! all (RFC 2181 section 9); it never sends more than the client's limit.

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType as WireType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::lookup::{Body, Extra, Part, What};
use super::request::{ClientEdns, Question};
use super::{Answer, Rcode, UDP_PAYLOAD_BYTES};
use crate::rdata::{RecordData, SoaData};

/// Everything of an answer that does not depend on its records.
pub(super) struct Reply<'q> {
    pub(super) head: Metadata,
    pub(super) question: Option<&'q Question>,
    pub(super) edns: Option<ClientEdns>,
    pub(super) limit_bytes: u16,
}

impl Reply<'_> {
    pub(super) fn encode(&self, body: &Body<'_>) -> Answer {
        let mut bytes = Vec::with_capacity(FIRST_CAPACITY_BYTES);
        match self.write(body, &mut bytes) {
            Ok(truncated) => Answer {
                bytes,
                rcode: body.rcode,
                truncated,
            },
            Err(_) => self.server_failure(),
        }
    }

    /// Only header, question and OPT, with TC set.
    pub(super) fn truncated(&self) -> Answer {
        let mut answer = self.encode(&Body::error(Rcode::NoError));
        answer.truncated = true;
        if let Some(flags) = answer.bytes.get_mut(FLAGS_AT) {
            *flags |= TC_BIT;
        }
        answer
    }

    fn write(&self, body: &Body<'_>, bytes: &mut Vec<u8>) -> Result<bool, ProtoError> {
        let mut encoder = BinEncoder::new(bytes);
        let opt_bytes = self.edns.map_or(0, |_| OPT_BYTES);
        encoder.set_max_size(self.limit_bytes - opt_bytes);
        let place = encoder.place::<Header>()?;
        let mut counts = HeaderCounts::default();
        if let Some(question) = self.question {
            question.query().emit(&mut encoder)?;
            counts.queries = 1;
        }
        let truncated = write_sections(&mut encoder, body, &mut counts)?;
        encoder.set_max_size(self.limit_bytes);
        if let Some(client) = self.edns {
            our_edns(client, body.rcode).emit(&mut encoder)?;
            counts.additionals += 1;
        }
        let mut metadata = self.head;
        metadata.authoritative = body.authoritative;
        metadata.truncation = truncated;
        metadata.response_code = wire_code(body.rcode);
        place.replace(&mut encoder, Header { metadata, counts })?;
        Ok(truncated)
    }

    /// A bare header, for the case that an answer could not be written at all.
    fn server_failure(&self) -> Answer {
        let [id_high, id_low] = self.head.id.to_be_bytes();
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = id_high;
        bytes[1] = id_low;
        bytes[FLAGS_AT] = QR_BIT;
        bytes[FLAGS_AT + 1] = wire_code(Rcode::ServFail).low();
        Answer {
            bytes,
            rcode: Rcode::ServFail,
            truncated: false,
        }
    }
}

/// Writes the three record sections; whether the client must come back over TCP.
fn write_sections(
    encoder: &mut BinEncoder<'_>,
    body: &Body<'_>,
    counts: &mut HeaderCounts,
) -> Result<bool, ProtoError> {
    let start = encoder.offset();
    let questions = *counts;
    for (parts, section) in [
        (&body.answers, Section::Answer),
        (&body.authority, Section::Authority),
    ] {
        for part in parts {
            match write_whole(encoder, part)? {
                Some(records) => *section.count(counts) += records,
                None => {
                    roll_back(encoder, start);
                    *counts = questions;
                    return Ok(true);
                }
            }
        }
    }
    let mut truncated = false;
    for Extra { part, required } in &body.additional {
        match write_whole(encoder, part)? {
            Some(records) => counts.additionals += records,
            None => truncated |= required,
        }
    }
    Ok(truncated)
}

#[derive(Clone, Copy)]
enum Section {
    Answer,
    Authority,
}

impl Section {
    fn count(self, counts: &mut HeaderCounts) -> &mut u16 {
        match self {
            Self::Answer => &mut counts.answers,
            Self::Authority => &mut counts.authorities,
        }
    }
}

/// Writes a set and gives its number of records, or nothing when it did not fit and was taken back.
fn write_whole(encoder: &mut BinEncoder<'_>, part: &Part<'_>) -> Result<Option<u16>, ProtoError> {
    let start = encoder.offset();
    match write_part(encoder, part) {
        Ok(records) => Ok(Some(records)),
        Err(ProtoError::MaxBufferSizeExceeded(_)) => {
            roll_back(encoder, start);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

fn roll_back(encoder: &mut BinEncoder<'_>, to: usize) {
    encoder.set_offset(to);
    encoder.trim();
}

fn write_part(encoder: &mut BinEncoder<'_>, part: &Part<'_>) -> Result<u16, ProtoError> {
    let owner = &part.owner;
    match &part.what {
        What::Set(set) => {
            let mut records = 0;
            for data in set.data() {
                let rtype = set.rtype().code().into();
                write_record(encoder, owner, rtype, set.ttl_s(), |encoder| {
                    write_data(encoder, data)
                })?;
                records += 1;
            }
            Ok(records)
        }
        What::Soa { data, ttl_s } => {
            write_record(encoder, owner, WireType::SOA, *ttl_s, |encoder| {
                write_soa(encoder, data)
            })?;
            Ok(1)
        }
        What::MinimalAny => {
            write_record(
                encoder,
                owner,
                WireType::HINFO,
                MINIMAL_ANY_TTL_S,
                |encoder| {
                    encoder.emit_character_data("RFC8482")?;
                    encoder.emit_character_data("")
                },
            )?;
            Ok(1)
        }
    }
}

fn write_record(
    encoder: &mut BinEncoder<'_>,
    owner: &Name,
    rtype: WireType,
    ttl_s: u32,
    write: impl FnOnce(&mut BinEncoder<'_>) -> Result<(), ProtoError>,
) -> Result<(), ProtoError> {
    owner.emit(encoder)?;
    rtype.emit(encoder)?;
    DNSClass::IN.emit(encoder)?;
    encoder.emit_u32(ttl_s)?;
    let place = encoder.place::<u16>()?;
    write(encoder)?;
    let length = u16::try_from(encoder.len_since_place(&place))
        .map_err(|_| ProtoError::Message("record data longer than its length field"))?;
    place.replace(encoder, length)
}

fn write_data(encoder: &mut BinEncoder<'_>, data: &RecordData) -> Result<(), ProtoError> {
    match data {
        RecordData::A(address) => encoder.emit_vec(&address.octets()),
        RecordData::Aaaa(address) => encoder.emit_vec(&address.octets()),
        RecordData::Cname(name) | RecordData::Ns(name) | RecordData::Ptr(name) => {
            name.wire().emit(encoder)
        }
        RecordData::Txt(txt) => txt
            .strings()
            .try_for_each(|string| encoder.emit_character_data(string)),
        RecordData::Mx {
            preference,
            exchange,
        } => {
            encoder.emit_u16(*preference)?;
            exchange.wire().emit(encoder)
        }
        RecordData::Srv {
            priority,
            weight,
            port,
            target,
        } => {
            encoder.emit_u16(*priority)?;
            encoder.emit_u16(*weight)?;
            encoder.emit_u16(*port)?;
            // RFC 2782: the target of an SRV record is never compressed.
            let mut plain = encoder.with_name_encoding(NameEncoding::Uncompressed);
            target.wire().emit(&mut plain)
        }
        RecordData::Caa(caa) => {
            encoder.emit_u8(caa.flags())?;
            encoder.emit_character_data(caa.tag())?;
            encoder.emit_vec(caa.value())
        }
        RecordData::Soa(soa) => write_soa(encoder, soa),
    }
}

fn write_soa(encoder: &mut BinEncoder<'_>, soa: &SoaData) -> Result<(), ProtoError> {
    soa.mname.wire().emit(encoder)?;
    soa.rname.wire().emit(encoder)?;
    let numbers = [
        soa.serial.value(),
        soa.refresh_s,
        soa.retry_s,
        soa.expire_s,
        soa.minimum_s,
    ];
    numbers
        .into_iter()
        .try_for_each(|number| encoder.emit_u32(number))
}

/// Our OPT: the DO bit comes back as it was sent (RFC 3225 section 3), options do not.
fn our_edns(client: ClientEdns, rcode: Rcode) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD_BYTES)
        .set_dnssec_ok(client.dnssec_ok)
        .set_rcode_high(wire_code(rcode).high());
    edns
}

fn wire_code(rcode: Rcode) -> ResponseCode {
    match rcode {
        Rcode::NoError => ResponseCode::NoError,
        Rcode::FormErr => ResponseCode::FormErr,
        Rcode::ServFail => ResponseCode::ServFail,
        Rcode::NxDomain => ResponseCode::NXDomain,
        Rcode::NotImp => ResponseCode::NotImp,
        Rcode::Refused => ResponseCode::Refused,
        Rcode::BadVers => ResponseCode::BADVERS,
    }
}

const HEADER_BYTES: usize = 12;
/// The byte with QR, opcode, AA, TC and RD (RFC 1035 section 4.1.1).
const FLAGS_AT: usize = 2;
const QR_BIT: u8 = 0x80;
const TC_BIT: u8 = 0x02;
/// An OPT record without options (RFC 6891 section 6.1.2).
const OPT_BYTES: u16 = 11;
const FIRST_CAPACITY_BYTES: usize = 512;
const MINIMAL_ANY_TTL_S: u32 = 3_600;
