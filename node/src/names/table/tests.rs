//! What a map's names lead to, and that nothing else is answered.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType as WireType};
use malha_proto::{NodeId, Peer, WgKey};
use malha_zone::{Transport, answer};
use proptest::prelude::*;

use super::*;
use crate::testbed;

fn host(text: &str) -> HostName {
    text.parse().unwrap()
}

fn peer(last: u8, name: &str, names: &[&str]) -> Peer {
    Peer {
        id: NodeId(last.into()),
        name: host(name),
        key: WgKey([last; 32]),
        addresses: OverlayAddresses {
            v4: [100, 64, 0, last].into(),
            v6: [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into(),
        },
        endpoints: vec![],
        keepalive_s: None,
        allow: vec![],
        hub: false,
        former: None,
        names: names.iter().map(|it| host(it)).collect(),
    }
}

fn map(peers: impl IntoIterator<Item = Peer>) -> Netmap {
    let mut map = testbed::netmap(7);
    map.peers = peers.into_iter().map(|peer| (peer.id, peer)).collect();
    map
}

fn table(map: &Netmap) -> Table {
    believing(map, &[])
}

fn believing(map: &Netmap, controllers: &[String]) -> Table {
    let content = Content::of(map, controllers).unwrap();
    Table::new(content, map.revision).unwrap()
}

/// What this machine is told: the code and the addresses of both families.
fn told(table: &Table, name: &str) -> (ResponseCode, Vec<IpAddr>) {
    let mut addresses = Vec::new();
    let mut code = ResponseCode::NoError;
    for rtype in [WireType::A, WireType::AAAA] {
        let mut query = Message::new(1, MessageType::Query, OpCode::Query);
        let name = Name::from_ascii(format!("{name}.")).unwrap();
        query.add_query(Query::query(name, rtype));
        let answer = answer(&table.zones(), &query.to_vec().unwrap(), Transport::Udp).unwrap();
        let answer = Message::from_vec(&answer.bytes).unwrap();
        code = answer.metadata.response_code;
        assert!(!answer.metadata.recursion_available);
        addresses.extend(answer.answers.iter().filter_map(|it| match &it.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        }));
    }
    (code, addresses)
}

fn leads_to(table: &Table, name: &str, last: &[u8]) {
    let v4 = last.iter().map(|last| IpAddr::from([100, 64, 0, *last]));
    let v6 = last
        .iter()
        .map(|last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(*last)]));
    let expected = (ResponseCode::NoError, v4.chain(v6).collect::<Vec<_>>());
    assert_eq!(told(table, name), expected, "{name}");
}

#[test]
fn nodes_that_the_map_shows_have_names_below_the_overlay_zone() {
    let table = table(&map([peer(3, "ss-1.producao.sedec", &[])]));
    leads_to(&table, "ss-1.producao.sedec.malha.internal", &[3]);
    leads_to(&table, "SS-1.Producao.SEDEC.malha.internal", &[3]);
    leads_to(&table, "servidor.garagem.org.malha.internal", &[1]);
    // The names above it exist, without an address.
    leads_to(&table, "producao.sedec.malha.internal", &[]);
    let missing = told(&table, "ss-2.producao.sedec.malha.internal");
    assert_eq!(missing, (ResponseCode::NXDomain, vec![]));
}

#[test]
fn nothing_is_said_of_other_names() {
    let table = table(&map([peer(3, "ss-1.producao.sedec", &[])]));
    for name in ["example.org", "internal", "malha.internal.example", "a.b"] {
        assert_eq!(
            told(&table, name),
            (ResponseCode::Refused, vec![]),
            "{name}"
        );
    }
}

#[test]
fn a_declared_name_leads_to_every_node_that_bears_it() {
    let name = "xvia.sedec.example";
    let table = table(&map([
        peer(3, "ss-1.producao.sedec", &[name]),
        peer(4, "ss-2.producao.sedec", &[name]),
    ]));
    leads_to(&table, name, &[3, 4]);
    assert_eq!(table.domains(false)[..1], ["malha.internal"]);
    assert_eq!(table.domains(true)[..2], ["malha.internal", name]);
    assert!(table.speaks_of(&host(name)) && !table.speaks_of(&host("sedec.example")));
}

/// What an address is called here: the code and the names.
fn called(table: &Table, address: &str) -> (ResponseCode, Vec<String>) {
    let mut query = Message::new(1, MessageType::Query, OpCode::Query);
    let name = Name::from(address.parse::<IpAddr>().unwrap());
    query.add_query(Query::query(name, WireType::PTR));
    let answer = answer(&table.zones(), &query.to_vec().unwrap(), Transport::Udp).unwrap();
    let answer = Message::from_vec(&answer.bytes).unwrap();
    let names = answer.answers.iter().map(|it| match &it.data {
        RData::PTR(name) => name.to_ascii(),
        other => panic!("{other:?} is no name"),
    });
    (answer.metadata.response_code, names.collect())
}

#[test]
fn an_address_leads_back_to_the_node_that_the_map_shows_there() {
    let table = table(&map([peer(3, "ss-1.producao.sedec", &["xvia.example"])]));
    for (address, name) in [
        ("100.64.0.3", "ss-1.producao.sedec.malha.internal."),
        ("fd00::3", "ss-1.producao.sedec.malha.internal."),
        ("100.64.0.1", "servidor.garagem.org.malha.internal."),
    ] {
        let said = called(&table, address);
        assert_eq!(said, (ResponseCode::NoError, vec![name.to_owned()]));
    }
    for hidden in ["100.64.0.4", "100.64.255.3", "fd00::4", "fd00::ff:3"] {
        let said = called(&table, hidden);
        assert_eq!(said, (ResponseCode::NXDomain, vec![]), "{hidden}");
    }
    for foreign in ["100.65.0.3", "192.0.2.1", "fd00:0:1::3", "2001:db8::1"] {
        let said = called(&table, foreign);
        assert_eq!(said, (ResponseCode::Refused, vec![]), "{foreign}");
    }
}

#[test]
fn the_machine_asks_here_for_addresses_of_the_overlay_and_for_no_wider_prefix() {
    let mut map = map([peer(3, "ss-1.producao.sedec", &[])]);
    let v6 = "0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(
        table(&map).domains(false),
        ["malha.internal", v6, "64.100.in-addr.arpa"]
    );
    map.me.prefix_v4 = 24;
    map.me.prefix_v6 = 0;
    let v6 = "0.0.0.0.0.0.d.f.ip6.arpa";
    let v4 = "0.64.100.in-addr.arpa";
    assert_eq!(table(&map).domains(false), ["malha.internal", v6, v4]);
}

#[test]
fn a_name_that_two_organizations_claim_is_nobodys() {
    let name = "xvia.sedec.example";
    let table = table(&map([
        peer(3, "ss-1.producao.sedec", &[name]),
        peer(4, "ss-1.producao.outro", &[name]),
    ]));
    assert_eq!(told(&table, name), (ResponseCode::Refused, vec![]));
}

#[test]
fn no_declaration_takes_the_overlay_zone_an_address_or_a_controller() {
    let taken = [
        "malha.internal",
        "hub.malha.internal",
        "hub.example",
        "malha.example",
        "xvia.sedec.example",
        "3.0.64.100.in-addr.arpa",
        "in-addr.arpa",
    ];
    let map = map([peer(3, "ss-1.producao.sedec", &taken)]);
    let controllers = ["hub.example:443", "a.malha.example:443", "192.0.2.1:443"];
    let controllers = controllers.map(str::to_owned);
    let table = believing(&map, &controllers);
    assert_eq!(table.declared(), ["xvia.sedec.example"]);
    let missing = told(&table, "hub.malha.internal");
    assert_eq!(missing.0, ResponseCode::NXDomain);
}

#[test]
fn a_map_of_an_older_controller_has_no_names() {
    let mut map = map([]);
    map.zone = None;
    assert!(Content::of(&map, &[]).is_none());
}

#[test]
fn an_endpoint_that_moves_changes_no_answer() {
    let one = map([peer(3, "ss-1.producao.sedec", &[])]);
    let mut moved = one.clone();
    moved.revision.0 += 1;
    if let Some(peer) = moved.peers.get_mut(&NodeId(3)) {
        peer.endpoints = vec!["192.0.2.9:51820".parse().unwrap()];
    }
    let says = |map| table(&one).says(&Content::of(map, &[]).unwrap());
    assert!(says(&moved));
    let more = map([peer(3, "ss-1.producao.sedec", &["xvia.sedec.example"])]);
    assert!(!says(&more));
}

fn any_host() -> impl Strategy<Value = HostName> {
    let label = prop::sample::select(vec!["a", "b", "malha", "internal", "org", "xn--a"]);
    prop::collection::vec(label, 2..5)
        .prop_filter_map("no host name", |labels| labels.join(".").parse().ok())
}

proptest! {
    /// Whatever a controller says, the map is answered or refused whole, and only nodes of the map are named.
    #[test]
    fn any_names_of_a_map_make_answers_that_lead_into_it(
        nodes in prop::collection::btree_map(2_u8..30, (any_host(), prop::collection::vec(any_host(), 0..4)), 0..8),
        zone in any_host(),
        asked in any_host(),
    ) {
        let mut map = map(nodes.iter().map(|(last, (name, names))| {
            let names: Vec<&str> = names.iter().map(HostName::as_str).collect();
            peer(*last, name.as_str(), &names)
        }));
        map.zone = Some(zone.clone());
        let table = table(&map);
        let (code, addresses) = told(&table, asked.as_str());
        let bears = |address: &IpAddr| map.peers.values().any(|peer| {
            let is_at = [IpAddr::V4(peer.addresses.v4), IpAddr::V6(peer.addresses.v6)].contains(address);
            is_at && (peer.names.contains(&asked) || asked.as_str() == format!("{}.{zone}", peer.name))
        });
        prop_assert!(addresses.iter().all(bears), "{asked} in {zone}: {addresses:?}");
        prop_assert_eq!(code == ResponseCode::Refused, !table.domains(true).iter().any(|it| asked.is_within(it)));
    }

    #[test]
    fn any_bytes_are_answered_in_form_or_not_at_all(data in prop::collection::vec(any::<u8>(), 0..300)) {
        crate::names::fuzz::query(&data);
    }
}

#[test]
fn every_query_of_the_corpus_keeps_the_invariants() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/names");
    let files = std::fs::read_dir(folder).unwrap();
    let count = files
        .map(|file| crate::names::fuzz::query(&std::fs::read(file.unwrap().path()).unwrap()))
        .count();
    assert!(count >= 10, "only {count} inputs");
}
