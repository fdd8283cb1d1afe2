//! What an authoritative server says: answers, denials, wildcards, chains, referrals and refusals.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record};

use super::*;
use crate::{DomainName, Edit, RecordSet, Soa, Source, Zone};

mod message;

/// One edit a line: `NAME TTL TYPE DATA|DATA`.
fn zone(origin: &str, records: &str) -> Zone {
    let ns: DomainName = format!("ns1.{origin}.").parse().unwrap();
    let mut soa = Soa::new(ns.clone(), format!("hostmaster.{origin}.").parse().unwrap());
    soa.minimum_s = 120;
    let edits: Vec<Edit> = records.lines().map(put).collect();
    let empty = Zone::new(origin.parse().unwrap(), soa, vec![ns]).unwrap();
    empty.edit(&edits).unwrap().0
}

fn put(line: &str) -> Edit {
    let [name, ttl_s, rtype, data] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else {
        panic!("four fields expected in `{line}`");
    };
    let (name, rtype) = (name.parse().unwrap(), rtype.parse().unwrap());
    let data = data.split('|');
    let set = RecordSet::from_text(name, rtype, ttl_s.parse().unwrap(), data, Source::Operator);
    Edit::Put(set.unwrap())
}

fn zones() -> Zones {
    let org = zone(
        "example.org",
        "ns1 300 A 192.0.2.53\n\
         www 300 A 192.0.2.1|192.0.2.2\n\
         www 300 AAAA 2001:db8::1\n\
         @ 300 MX 10 mail.example.org.|20 mail.example.com.\n\
         mail 300 A 192.0.2.25\n\
         mail 300 AAAA 2001:db8::25\n\
         _mqtt._tcp 300 SRV 0 5 8883 mail.example.org.\n\
         *.wild 300 TXT \"wild\"\n\
         host.wild 300 A 192.0.2.3\n\
         a.ent.wild 300 A 192.0.2.4\n\
         alias 60 CNAME www.example.org.\n\
         far 60 CNAME alias.example.net.\n\
         out 60 CNAME www.example.com.\n\
         dangling 60 CNAME nowhere.example.org.\n\
         loop-a 60 CNAME loop-b.example.org.\n\
         loop-b 60 CNAME loop-a.example.org.\n\
         into-sub 60 CNAME x.sub.example.org.\n\
         sub 300 NS ns.sub.example.org.|ns1.example.org.|ns.elsewhere.com.\n\
         ns.sub 300 A 192.0.2.54",
    );
    let net = zone("example.net", "alias 60 CNAME www.example.org.");
    [org, net].into_iter().collect()
}

fn query(name: &str, qtype: WireType) -> Message {
    let mut message = Message::new(0x4d61, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), qtype));
    message
}

fn ask_in(zones: &Zones, message: &Message, transport: Transport) -> Message {
    let answer = answer(zones, &message.to_vec().unwrap(), transport).unwrap();
    Message::from_vec(&answer.bytes).unwrap()
}

fn ask(name: &str, qtype: WireType) -> Message {
    ask_in(&zones(), &query(name, qtype), Transport::Tcp)
}

/// `name type data` of each record, as zone files write it.
fn lines(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| format!("{} {} {}", record.name, record.record_type(), record.data))
        .collect()
}

fn assert_denied(response: &Message, rcode: ResponseCode) {
    assert_eq!(response.response_code, rcode);
    assert!(response.authoritative);
    assert!(response.answers.is_empty());
    let [soa] = &response.authorities[..] else {
        panic!("one SOA expected, got {:?}", response.authorities);
    };
    assert_eq!(soa.record_type(), WireType::SOA);
    assert_eq!(soa.ttl, 120, "the smaller of SOA minimum and SOA TTL");
}

#[test]
fn a_set_is_answered_whole_and_with_authority() {
    let response = ask("www.example.org.", WireType::A);
    assert!(response.authoritative && !response.recursion_available);
    assert_eq!(
        lines(&response.answers),
        [
            "www.example.org. A 192.0.2.1",
            "www.example.org. A 192.0.2.2"
        ]
    );
    assert!(response.authorities.is_empty());
}

#[test]
fn the_apex_answers_with_soa_and_ns() {
    let soa = ask("example.org.", WireType::SOA);
    assert_eq!(
        lines(&soa.answers),
        ["example.org. SOA ns1.example.org. hostmaster.example.org. 2 3600 600 1209600 120"]
    );
    let ns = ask("example.org.", WireType::NS);
    assert_eq!(lines(&ns.answers), ["example.org. NS ns1.example.org."]);
    assert_eq!(lines(&ns.additionals), ["ns1.example.org. A 192.0.2.53"]);
}

#[test]
fn the_case_of_the_question_comes_back() {
    let response = ask("wWw.ExAmPlE.oRg.", WireType::AAAA);
    assert_eq!(response.queries[0].name().to_ascii(), "wWw.ExAmPlE.oRg.");
    assert_eq!(
        lines(&response.answers),
        ["wWw.ExAmPlE.oRg. AAAA 2001:db8::1"]
    );
}

#[test]
fn a_name_without_the_type_is_nodata_and_a_missing_one_nxdomain() {
    assert_denied(
        &ask("www.example.org.", WireType::TXT),
        ResponseCode::NoError,
    );
    assert_denied(
        &ask("www.example.org.", WireType::HTTPS),
        ResponseCode::NoError,
    );
    assert_denied(
        &ask("nope.example.org.", WireType::A),
        ResponseCode::NXDomain,
    );
    assert_denied(
        &ask("below.www.example.org.", WireType::A),
        ResponseCode::NXDomain,
    );
}

#[test]
fn a_name_that_exists_only_above_others_is_nodata() {
    assert_denied(
        &ask("_tcp.example.org.", WireType::A),
        ResponseCode::NoError,
    );
    assert_denied(
        &ask("_tcp.example.org.", WireType::ANY),
        ResponseCode::NoError,
    );
    assert_denied(
        &ask("ent.wild.example.org.", WireType::TXT),
        ResponseCode::NoError,
    );
}

#[test]
fn a_wildcard_covers_what_does_not_exist_and_nothing_else() {
    let response = ask("x.y.wild.example.org.", WireType::TXT);
    assert_eq!(lines(&response.answers), ["x.y.wild.example.org. TXT wild"]);
    assert_denied(
        &ask("x.wild.example.org.", WireType::A),
        ResponseCode::NoError,
    );
    assert_denied(
        &ask("host.wild.example.org.", WireType::TXT),
        ResponseCode::NoError,
    );
    // The closest encloser is `ent.wild`, which has no wildcard of its own (RFC 4592 section 3.3.1).
    assert_denied(
        &ask("b.ent.wild.example.org.", WireType::TXT),
        ResponseCode::NXDomain,
    );
    let literal = ask("*.wild.example.org.", WireType::TXT);
    assert_eq!(lines(&literal.answers), ["*.wild.example.org. TXT wild"]);
}

#[test]
fn a_cname_is_followed_through_all_our_zones() {
    let response = ask("far.example.org.", WireType::AAAA);
    assert_eq!(
        lines(&response.answers),
        [
            "far.example.org. CNAME alias.example.net.",
            "alias.example.net. CNAME www.example.org.",
            "www.example.org. AAAA 2001:db8::1",
        ]
    );
    let itself = ask("far.example.org.", WireType::CNAME);
    assert_eq!(
        lines(&itself.answers),
        ["far.example.org. CNAME alias.example.net."]
    );
}

#[test]
fn a_cname_that_leaves_our_zones_ends_there() {
    for name in ["out.example.org.", "into-sub.example.org."] {
        let response = ask(name, WireType::A);
        assert_eq!(response.response_code, ResponseCode::NoError);
        assert!(response.authoritative);
        assert_eq!(response.answers.len(), 1);
        assert!(response.authorities.is_empty());
    }
}

#[test]
fn a_cname_to_a_missing_name_says_nxdomain_after_the_chain() {
    let response = ask("dangling.example.org.", WireType::A);
    assert_eq!(response.response_code, ResponseCode::NXDomain);
    assert_eq!(response.answers.len(), 1);
    assert_eq!(response.authorities.len(), 1);
}

#[test]
fn a_cname_loop_ends_and_a_long_chain_is_bounded() {
    assert_eq!(ask("loop-a.example.org.", WireType::A).answers.len(), 2);
    let chain: Vec<String> = (0..20)
        .map(|n| format!("c{n} 60 CNAME c{}.example.org.", n + 1))
        .collect();
    let zones = Zones::new().with(zone("example.org", &chain.join("\n")));
    let response = ask_in(
        &zones,
        &query("c0.example.org.", WireType::A),
        Transport::Tcp,
    );
    assert_eq!(response.answers.len(), MAX_CHAIN_HOPS);
    assert_eq!(response.response_code, ResponseCode::NoError);
}

#[test]
fn a_delegation_is_a_referral_with_glue_and_without_authority() {
    for name in [
        "sub.example.org.",
        "a.b.sub.example.org.",
        "ns.sub.example.org.",
    ] {
        let response = ask(name, WireType::A);
        assert!(!response.authoritative, "{name}");
        assert!(response.answers.is_empty());
        assert_eq!(
            lines(&response.authorities),
            [
                "sub.example.org. NS ns.elsewhere.com.",
                "sub.example.org. NS ns1.example.org.",
                "sub.example.org. NS ns.sub.example.org.",
            ]
        );
        assert_eq!(
            lines(&response.additionals),
            [
                "ns1.example.org. A 192.0.2.53",
                "ns.sub.example.org. A 192.0.2.54"
            ]
        );
    }
}

#[test]
fn the_ds_of_a_delegation_is_denied_by_the_parent() {
    assert_denied(
        &ask("sub.example.org.", WireType::DS),
        ResponseCode::NoError,
    );
    let zones = zones().with(zone("sub.example.org", "www 60 A 192.0.2.9"));
    let response = ask_in(
        &zones,
        &query("sub.example.org.", WireType::DS),
        Transport::Udp,
    );
    assert_eq!(response.authorities[0].name.to_ascii(), "example.org.");
}

#[test]
fn a_zone_of_ours_below_another_answers_itself() {
    let zones = zones().with(zone("sub.example.org", "www 60 A 192.0.2.9"));
    let response = ask_in(
        &zones,
        &query("www.sub.example.org.", WireType::A),
        Transport::Udp,
    );
    assert!(response.authoritative);
    assert_eq!(response.answers.len(), 1);
}

#[test]
fn addresses_of_mail_and_service_hosts_come_along() {
    let mx = ask("example.org.", WireType::MX);
    assert_eq!(mx.answers.len(), 2);
    let srv = ask("_mqtt._tcp.example.org.", WireType::SRV);
    for response in [mx, srv] {
        assert_eq!(
            lines(&response.additionals),
            [
                "mail.example.org. A 192.0.2.25",
                "mail.example.org. AAAA 2001:db8::25"
            ]
        );
    }
}

#[test]
fn any_gets_one_small_record() {
    let response = ask("www.example.org.", WireType::ANY);
    assert_eq!(
        lines(&response.answers),
        ["www.example.org. HINFO RFC8482 "]
    );
}

#[test]
fn what_is_not_ours_is_refused() {
    let mut chaos = query("www.example.org.", WireType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let cases = [
        query("www.example.com.", WireType::A),
        query(".", WireType::NS),
        query("example.org.", WireType::AXFR),
        query("example.org.", WireType::IXFR),
        chaos,
    ];
    for message in cases {
        let response = ask_in(&zones(), &message, Transport::Tcp);
        assert_eq!(
            response.response_code,
            ResponseCode::Refused,
            "{:?}",
            message.queries
        );
        assert_eq!(response.queries, message.queries);
        assert!(!response.authoritative && response.answers.is_empty());
    }
}

#[test]
fn other_opcodes_are_not_implemented() {
    for op_code in [
        OpCode::Notify,
        OpCode::Update,
        OpCode::Status,
        OpCode::Unknown(9),
    ] {
        let mut message = query("example.org.", WireType::SOA);
        message.metadata.op_code = op_code;
        let response = ask_in(&zones(), &message, Transport::Udp);
        assert_eq!(
            (response.response_code, response.op_code),
            (ResponseCode::NotImp, op_code)
        );
    }
}
