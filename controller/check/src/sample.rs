//! An organization like the one of the seed document, for the tests of this crate.

use std::net::{IpAddr, SocketAddr};

use malha_proto::NodeId;

use crate::{
    Balancer, DeclaredPort, Direction, Exposure, NameServer, Node, Outside, Port, PortDifference,
    PortProbe, Protocol, Server, Stage, Subject, Target, TargetKind,
};

pub(crate) fn subject() -> Subject {
    Subject {
        organization: "sedec".to_owned(),
        production: Stage {
            names: vec!["xvia.sedec.mt.gov.br".to_owned()],
            public_addresses: vec![ip("201.49.10.7")],
            internal_addresses: vec![ip("10.90.0.10")],
            asker: Some(node(31, "par")),
            urls: vec!["https://xvia.sedec.mt.gov.br/".to_owned()],
            servers: vec![server(11, "servidor-1", "10.90.0.11")],
            balancers: vec![Balancer {
                name: "entrada".to_owned(),
            }],
        },
        development: Stage {
            names: vec!["xvia-dev.sedec.mt.gov.br".to_owned()],
            public_addresses: vec![ip("201.49.10.8")],
            internal_addresses: vec![ip("10.90.0.21")],
            asker: Some(node(31, "par")),
            urls: vec!["https://xvia-dev.sedec.mt.gov.br/".to_owned()],
            servers: vec![server(21, "desenv-1", "10.90.0.21")],
            balancers: Vec::new(),
        },
        name_servers: vec![name_server("ns1", 1), name_server("ns2", 2)],
        unresolved_name_servers: Vec::new(),
        egress: vec![central()],
        ocsp_urls: vec!["http://ocsp.mt.gov.br:8888/".to_owned()],
        timestamp_urls: vec!["http://tsa.mt.gov.br:8899/".to_owned()],
        issuers_pem: vec!["-----BEGIN CERTIFICATE-----".to_owned()],
        web_issuers_pem: Vec::new(),
        declared_ports: [(5500, true), (4000, true), (2080, true), (8888, false)]
            .map(|(number, from_outside)| DeclaredPort {
                number,
                direction: Direction::In,
                from_outside,
            })
            .to_vec(),
        port_differences: Some(
            [
                (4000, true, Some(Exposure::Tunnel)),
                (8080, false, Some(Exposure::Tunnel)),
            ]
            .map(|(number, is_declared_outside, exposure)| PortDifference {
                number,
                direction: Direction::In,
                is_declared_inside: false,
                is_declared_outside,
                exposure,
            })
            .to_vec(),
        ),
        outside: Some(Outside {
            node: node(99, "fora"),
            sources: vec![ip("198.51.100.99")],
            control: vec![SocketAddr::from(([198, 51, 100, 1], 443))],
        }),
        controller_sources: vec![ip("198.51.100.1")],
    }
}

pub(crate) fn node(id: u64, name: &str) -> Node {
    Node {
        id: NodeId(id),
        name: name.to_owned(),
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("a sample address")
}

fn name_server(name: &str, last: u8) -> NameServer {
    NameServer {
        name: format!("{name}.mt.gov.br"),
        address: SocketAddr::from(([201, 49, 1, last], 53)),
    }
}

fn server(id: u64, name: &str, address: &str) -> Server {
    let port = |number, exposure, probe| Port {
        number,
        protocol: Protocol::Tcp,
        exposure,
        probe,
        granted: (exposure != Exposure::Never).then(|| node(31, "par")),
        ungranted: Some(node(32, "alheio")),
        allow_list: None,
    };
    Server {
        node: node(id, name),
        overlay_addresses: vec![ip(address)],
        ports: vec![
            port(5500, Exposure::Public, PortProbe::TlsClientCertificate),
            port(
                5577,
                Exposure::Public,
                PortProbe::OcspCache { tls_port: 5500 },
            ),
            port(4000, Exposure::Tunnel, PortProbe::Tls),
            port(5588, Exposure::Tunnel, PortProbe::Health),
            port(9011, Exposure::Never, PortProbe::None),
        ],
        egress: vec![central()],
    }
}

fn central() -> Target {
    Target {
        kind: TargetKind::Central,
        name: "central.mt.gov.br".to_owned(),
        port: 4001,
        addresses: vec![ip("201.49.99.1")],
    }
}
