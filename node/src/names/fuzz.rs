//! Entry point for fuzzing the answers that a map gives, replayed over the committed corpus by an ordinary test. It panics when an
//! invariant breaks and never otherwise.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::OnceLock;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use malha_proto::{HostName, Me, Netmap, NodeId, OverlayAddresses, Peer, Profile, Revision, WgKey};
use malha_zone::{Transport, answer};

use super::table::{Content, Table};

/// Any bytes as a query: what is answered is well formed, leads to nodes of the map alone, and says nothing of other names.
pub fn query(data: &[u8]) {
    let (table, shown) = sample();
    for transport in [Transport::Udp, Transport::Tcp] {
        let Some(answer) = answer(&table.zones(), data, transport) else {
            continue;
        };
        let parsed = Message::from_vec(&answer.bytes);
        let response = parsed.unwrap_or_else(|error| panic!("our answer does not parse: {error}"));
        assert!(!response.metadata.recursion_available, "it never recurses");
        let names = response.queries.first().map(|query| query.name().clone());
        let host = names.and_then(|name| name.to_ascii().parse::<HostName>().ok());
        if response.metadata.response_code == ResponseCode::NoError
            && let Some(host) = host
            && response.metadata.authoritative
        {
            let is_ours = |it: &String| host.is_within(it);
            let ours = table.domains(true);
            assert!(ours.iter().any(is_ours), "{host} is not ours");
        }
        for record in response.answers.iter().chain(&response.additionals) {
            let address = match &record.data {
                RData::A(a) => IpAddr::V4(a.0),
                RData::AAAA(aaaa) => IpAddr::V6(aaaa.0),
                _ => continue,
            };
            assert!(shown.contains(&address), "{address} is not in the map");
        }
    }
}

/// The map that queries are fuzzed against, and every address in it.
fn sample() -> &'static (Table, BTreeSet<IpAddr>) {
    static SAMPLE: OnceLock<(Table, BTreeSet<IpAddr>)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let map = map();
        let peers = map.peers.values().map(|peer| peer.addresses);
        let all = peers.chain([map.me.addresses]);
        let shown = all.flat_map(|it| [IpAddr::V4(it.v4), IpAddr::V6(it.v6)]);
        let shown = shown.collect();
        let well_formed = "the built-in map is well formed";
        let content = Content::of(&map, &[]).expect(well_formed);
        let table = Table::new(content, map.revision).expect(well_formed);
        (table, shown)
    })
}

fn map() -> Netmap {
    let name = |text: &str| text.parse::<HostName>().expect("a built-in name");
    let addresses = |last: u8| OverlayAddresses {
        v4: [100, 64, 0, last].into(),
        v6: [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into(),
    };
    let peer = |last: u8, node: &str, names: &[&str]| Peer {
        id: NodeId(last.into()),
        name: name(node),
        key: WgKey([last; 32]),
        addresses: addresses(last),
        endpoints: Vec::new(),
        keepalive_s: None,
        allow: Vec::new(),
        hub: last == 1,
        former: None,
        names: names.iter().map(|it| name(it)).collect(),
    };
    let peers = [
        peer(1, "hub.hub.malha", &[]),
        peer(3, "ss-1.producao.sedec", &["xvia.sedec.example"]),
        peer(4, "ss-2.producao.sedec", &["xvia.sedec.example"]),
        peer(5, "ss-1.producao.seplag", &["xvia.seplag.example"]),
    ];
    Netmap {
        revision: Revision(7),
        me: Me {
            id: NodeId(2),
            name: name("servidor.garagem-01.vendor"),
            addresses: addresses(2),
            prefix_v4: 10,
            prefix_v6: 48,
            profile: Profile::Garage,
            quarantined: false,
            names: Vec::new(),
        },
        peers: peers.into_iter().map(|peer| (peer.id, peer)).collect(),
        services: [].into(),
        balancers: [].into(),
        closed: None,
        zone: Some(name("malha.internal")),
    }
}
