//! The answer as a message: silence, malformed queries, EDNS, size limits and truncation.

use hickory_proto::op::Edns;

use super::*;

#[test]
fn responses_and_fragments_get_silence() {
    let mut response = query("www.example.org.", WireType::A);
    response.metadata.message_type = MessageType::Response;
    let bytes = response.to_vec().unwrap();
    assert_eq!(answer(&zones(), &bytes, Transport::Udp), None);
    assert_eq!(truncated_answer(&bytes), None);
    for length in 0..12 {
        assert_eq!(answer(&zones(), &vec![0; length], Transport::Udp), None);
    }
}

#[test]
fn garbage_after_a_header_is_a_format_error_with_its_id() {
    let two_questions = {
        let mut message = query("www.example.org.", WireType::A);
        message.add_query(Query::query(Name::root(), WireType::NS));
        message.to_vec().unwrap()
    };
    let mut counts_only = vec![0xab, 0xcd, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
    let cut = query("www.example.org.", WireType::A).to_vec().unwrap()[..20].to_vec();
    counts_only.extend([0xff; 30]);
    for bytes in [two_questions, counts_only, cut, vec![0; 12]] {
        let reply = answer(&zones(), &bytes, Transport::Udp).unwrap();
        assert_eq!(reply.rcode, Rcode::FormErr);
        assert_eq!(reply.bytes[..2], bytes[..2]);
        assert_eq!(reply.bytes.len(), 12, "nothing but a header");
    }
}

fn with_edns(mut message: Message, payload_bytes: u16, version: u8) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload_bytes)
        .set_version(version)
        .set_dnssec_ok(true);
    message.set_edns(edns);
    message
}

#[test]
fn edns_is_answered_with_ours_and_only_when_asked() {
    let plain = ask("www.example.org.", WireType::A);
    assert!(plain.edns.is_none());
    let message = with_edns(query("www.example.org.", WireType::A), 4_096, 0);
    let edns = ask_in(&zones(), &message, Transport::Udp).edns.unwrap();
    assert_eq!(edns.max_payload(), UDP_PAYLOAD_BYTES);
    assert_eq!(edns.version(), 0);
    assert!(edns.flags().dnssec_ok);
}

#[test]
fn a_later_edns_version_is_answered_badvers() {
    let message = with_edns(query("www.example.org.", WireType::A), 1_232, 1);
    let response = ask_in(&zones(), &message, Transport::Udp);
    // The parser calls code 16 by its TSIG name.
    assert_eq!(
        u16::from(response.response_code),
        u16::from(ResponseCode::BADVERS)
    );
    assert_eq!(response.edns.unwrap().version(), 0);
    assert!(response.answers.is_empty());
}

/// A zone whose `big` set needs more than any datagram.
fn big_zones() -> Zones {
    let addresses: Vec<String> = (0..40).map(|n| format!("192.0.2.{n}")).collect();
    let strings: Vec<String> = (0..10).map(|n| n.to_string().repeat(250)).collect();
    let records = format!(
        "forty 60 A {}\nbig 60 TXT {}",
        addresses.join("|"),
        strings.join("|")
    );
    Zones::new().with(zone("example.org", &records))
}

#[test]
fn a_datagram_is_cut_at_what_the_client_takes_and_a_stream_is_not() {
    let zones = big_zones();
    let forty = query("forty.example.org.", WireType::A);
    let big = query("big.example.org.", WireType::TXT);
    // 40 addresses take 674 bytes: too long for 512, short enough for 700.
    let cases = [
        (forty.clone(), Transport::Udp, true),
        (with_edns(forty.clone(), 600, 0), Transport::Udp, true),
        (with_edns(forty.clone(), 700, 0), Transport::Udp, false),
        (forty, Transport::Tcp, false),
        (with_edns(big.clone(), 65_535, 0), Transport::Udp, true),
        (big, Transport::Tcp, false),
    ];
    for (message, transport, truncated) in cases {
        let reply = answer(&zones, &message.to_vec().unwrap(), transport).unwrap();
        let response = Message::from_vec(&reply.bytes).unwrap();
        assert_eq!(
            (reply.truncated, response.truncation),
            (truncated, truncated)
        );
        assert_eq!(response.answers.is_empty(), truncated);
        assert_eq!(response.edns.is_some(), message.edns.is_some());
    }
}

#[test]
fn helpful_records_are_dropped_before_an_answer_is_cut() {
    let hosts: Vec<String> = (0..16).map(|n| format!("{n} m{n}.example.org.")).collect();
    let mut records = vec![format!("@ 60 MX {}", hosts.join("|"))];
    records.extend((0..16).map(|n| format!("m{n} 60 AAAA 2001:db8::{n}")));
    let zones = Zones::new().with(zone("example.org", &records.join("\n")));
    let response = ask_in(&zones, &query("example.org.", WireType::MX), Transport::Udp);
    assert!(!response.truncation);
    assert_eq!(response.answers.len(), 16);
    assert!(!response.additionals.is_empty() && response.additionals.len() < 16);
}

#[test]
fn a_referral_without_room_for_its_glue_is_cut() {
    let hosts: Vec<String> = (0..13).map(|n| format!("n{n}.sub.example.org.")).collect();
    let mut records = vec![format!("sub 60 NS {}", hosts.join("|"))];
    records.extend((0..13).map(|n| format!("n{n}.sub 60 AAAA 2001:db8::{n}")));
    let zones = Zones::new().with(zone("example.org", &records.join("\n")));
    let asked = query("www.sub.example.org.", WireType::A);
    assert!(ask_in(&zones, &asked, Transport::Udp).truncation);
    let whole = ask_in(&zones, &asked, Transport::Tcp);
    assert_eq!((whole.truncation, whole.additionals.len()), (false, 13));
}

#[test]
fn a_limited_client_is_sent_to_tcp_with_a_message_no_longer_than_its_own() {
    let message = with_edns(query("www.example.org.", WireType::A), 1_232, 0);
    let bytes = message.to_vec().unwrap();
    let reply = truncated_answer(&bytes).unwrap();
    let response = Message::from_vec(&reply.bytes).unwrap();
    assert!(response.truncation && response.answers.is_empty());
    assert_eq!(response.queries, message.queries);
    assert!(reply.bytes.len() <= bytes.len());
}

#[test]
fn names_are_compressed() {
    let reply = answer(
        &zones(),
        &query("www.example.org.", WireType::A).to_vec().unwrap(),
        Transport::Udp,
    );
    let question_bytes = 12 + "www.example.org.".len() + 1 + 4;
    let record_bytes = 2 + 10 + 4;
    assert_eq!(
        reply.unwrap().bytes.len(),
        question_bytes + 2 * record_bytes
    );
}
