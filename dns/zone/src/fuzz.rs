//! Entry points for fuzzing, replayed over the committed corpus by an ordinary test. They panic when
//! an invariant breaks and never otherwise.

use std::sync::OnceLock;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{Name, RData, Record};

use crate::{
    DomainName, Edit, RecordName, RecordSet, Serial, Soa, Source, TCP_PAYLOAD_BYTES, Transport,
    UDP_PAYLOAD_BYTES, Zone, Zones, answer, truncated_answer,
};

/// Any bytes as a message: every answer is a well-formed response to it within its limit.
pub fn fuzz_answer(data: &[u8]) {
    let zones = zones();
    let limits = [
        (Transport::Udp, UDP_PAYLOAD_BYTES),
        (Transport::Tcp, TCP_PAYLOAD_BYTES),
    ];
    for (transport, limit_bytes) in limits {
        let Some(answer) = answer(zones, data, transport) else {
            continue;
        };
        assert!(answer.bytes.len() <= usize::from(limit_bytes));
        check_response(data, &answer.bytes, answer.truncated);
    }
    if let Some(answer) = truncated_answer(data) {
        assert!(answer.truncated && answer.bytes.len() <= data.len() + SLACK_BYTES);
        check_response(data, &answer.bytes, true);
    }
}

/// Any text as edits, one a line: `put NAME TYPE TTL DATA|DATA…` or `del NAME TYPE`, with `route` in
/// front when a route asks. An accepted batch replays, restores, and moves the serial on.
pub fn fuzz_edit(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let edits: Vec<Edit> = text
        .lines()
        .take(MAX_FUZZ_EDITS)
        .filter_map(read_edit)
        .collect();
    let old = sample_zone();
    let Ok((new, change)) = old.edit(&edits) else {
        return;
    };
    assert_eq!(change.is_empty(), new.serial() == old.serial());
    assert!(change.is_empty() || new.serial().is_newer_than(old.serial()));
    assert_eq!(old.replay(&change).as_ref(), Ok(&new));
    let sets: Vec<RecordSet> = new.sets().cloned().collect();
    let restored = Zone::restore(new.origin().clone(), new.soa().clone(), new.serial(), sets);
    assert_eq!(restored.as_ref(), Ok(&new));
}

/// The zones that queries are fuzzed against: chains, wildcards, delegations, large sets.
pub(crate) fn zones() -> &'static Zones {
    static ZONES: OnceLock<Zones> = OnceLock::new();
    ZONES.get_or_init(|| Zones::new().with(sample_zone().clone()).with(second_zone()))
}

fn check_response(query: &[u8], bytes: &[u8], truncated: bool) {
    let parsed = Message::from_vec(bytes);
    let response = parsed.unwrap_or_else(|error| panic!("our answer does not parse: {error}"));
    assert_eq!(response.message_type, MessageType::Response);
    assert_eq!(response.truncation, truncated);
    assert_eq!(response.id.to_be_bytes(), query[..2]);
    if let [question] = &response.queries[..] {
        check_chain(question.name(), &response.answers);
    }
}

/// Each answer's name is the one asked for, or where the CNAME before it leads.
fn check_chain(asked: &Name, answers: &[Record]) {
    let mut expected = asked;
    for record in answers {
        assert!(
            record.name.eq_case(expected),
            "{} is not {expected}",
            record.name
        );
        if let RData::CNAME(target) = &record.data {
            expected = &target.0;
        }
    }
}

fn sample_zone() -> &'static Zone {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    ZONE.get_or_init(|| build("example.org", SAMPLE))
}

fn second_zone() -> Zone {
    build("example.net", "put * CNAME 60 www.example.org.")
}

fn build(origin: &str, script: &str) -> Zone {
    let invariant = "the built-in sample is well-formed";
    let ns: DomainName = "ns1.example.org.".parse().expect(invariant);
    let soa = Soa::new(ns.clone(), ns.clone());
    let zone = Zone::new(origin.parse().expect(invariant), soa.clone(), vec![ns]);
    let sets: Vec<RecordSet> = zone.expect(invariant).sets().cloned().collect();
    let edits: Vec<Edit> = script.lines().filter_map(read_edit).collect();
    let origin = origin.parse().expect(invariant);
    let zone = Zone::restore(origin, soa, Serial::new(u32::MAX), sets).expect(invariant);
    zone.edit(&edits).expect(invariant).0
}

fn read_edit(line: &str) -> Option<Edit> {
    let (source, line) = match line.strip_prefix("route ") {
        Some(line) => (Source::Route, line),
        None => (Source::Operator, line),
    };
    let mut fields = line.splitn(5, ' ');
    let verb = fields.next()?;
    let name: RecordName = fields.next()?.parse().ok()?;
    let rtype = fields.next()?.parse().ok()?;
    match verb {
        "del" => Some(Edit::Delete {
            name,
            rtype,
            source,
        }),
        "put" => {
            let ttl_s = fields.next()?.parse().ok()?;
            let data = fields.next()?.split('|');
            RecordSet::from_text(name, rtype, ttl_s, data, source)
                .ok()
                .map(Edit::Put)
        }
        _ => None,
    }
}

const SAMPLE: &str = "\
put @ MX 300 10 mail.example.org.
put ns1 A 300 192.0.2.53
put mail A 300 192.0.2.25
put mail AAAA 300 2001:db8::25
put www A 300 192.0.2.80|192.0.2.81
put loop-a CNAME 60 loop-b.example.org.
put loop-b CNAME 60 loop-a.example.org.
put * TXT 60 \"wild\"
put deep.ent A 60 192.0.2.9
put sub NS 300 ns.sub.example.org.|ns1.example.org.
put ns.sub A 300 192.0.2.54
put alias CNAME 60 x.example.net.
put _mqtt._tcp SRV 60 0 5 8883 mail.example.org.
put @ CAA 60 0 issue \"ca.example\"
route put garagem-01 A 60 192.0.2.99";
const MAX_FUZZ_EDITS: usize = 64;
/// What a truncated answer may be longer than its query: the question's name may be a pointer into the
/// header, and is written out in ours.
const SLACK_BYTES: usize = 12;
