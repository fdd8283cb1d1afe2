//! Sample data: two garages, an agency with two security servers, one of each thing that can go
//! wrong.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use malha_web::model::*;
use time::OffsetDateTime;

use super::World;

pub(super) fn fill(world: &mut World) {
    let now = OffsetDateTime::now_utc();
    world.revision = 418;
    world.checked = true;
    world.organizations = vec!["estacione".into(), "saude".into()];
    for (organization, site) in [
        ("estacione", "garagem-01"),
        ("estacione", "garagem-02"),
        ("saude", "producao"),
    ] {
        world.sites.push((organization.into(), site.into()));
    }
    add_nodes(world, now);
    add_services(world, now);
    add_tokens(world, now);
    add_zone(world);
    super::balancers::fill(world);
    add_activity(world, now);
    world.lagging = vec!["seguro-02".into()];
}

fn add_nodes(world: &mut World, now: OffsetDateTime) {
    let good = |port| {
        hops(
            now,
            HopState::Up,
            HopState::Up,
            &[("web", port, ProbeState::Up)],
            None,
        )
    };
    let refused = BrokenHop {
        kind: BreakKind::ServiceRefused,
        service: Some("web".into()),
        since: ago(now, 190),
    };
    let link = BrokenHop {
        kind: BreakKind::LinkDown,
        service: None,
        since: ago(now, 5_400),
    };
    let mut refusing = hops(
        now,
        HopState::Up,
        HopState::Up,
        &[("web", 80, ProbeState::Refused)],
        Some(refused),
    );
    refusing.services[0].since = Some(ago(now, 190));
    let silent = hops(
        now,
        HopState::Down,
        HopState::Down,
        &[
            ("xroad", 5500, ProbeState::Unknown),
            ("ocsp", 5577, ProbeState::Unknown),
        ],
        Some(link),
    );
    world.nodes = vec![
        node(
            now,
            1,
            ("estacione", "garagem-01", "servidor"),
            Profile::Garage,
            NodeState::Active,
            good(80),
        ),
        node(
            now,
            2,
            ("estacione", "garagem-02", "servidor"),
            Profile::Garage,
            NodeState::Active,
            refusing,
        ),
        node(
            now,
            3,
            ("saude", "producao", "seguro-01"),
            Profile::SecurityServer,
            NodeState::Quarantined,
            good(5500),
        ),
        node(
            now,
            4,
            ("saude", "producao", "seguro-02"),
            Profile::SecurityServer,
            NodeState::Active,
            silent,
        ),
        node(
            now,
            5,
            ("saude", "producao", "borda"),
            Profile::Edge,
            NodeState::Pending,
            hops(now, HopState::Unknown, HopState::Unknown, &[], None),
        ),
    ];
    let claimant = |host: &str, source: &str, fingerprint: &str| Claimant {
        host_name: host.into(),
        source: source.into(),
        fingerprint: fingerprint.into(),
        seen_at: ago(now, 20),
    };
    world.nodes[2].quarantine = Some(Quarantine {
        since: ago(now, 900),
        this: claimant("seguro-01", "203.0.113.24:51820", "SHA256:9f2c 71aa 04de"),
        other: claimant(
            "seguro-01-copia",
            "198.51.100.7:41200",
            "SHA256:51be 0c93 7af1",
        ),
    });
}

pub(super) fn node(
    now: OffsetDateTime,
    number: u8,
    (organization, site, name): (&str, &str, &str),
    profile: Profile,
    state: NodeState,
    hops: Hops,
) -> NodeDetail {
    NodeDetail {
        row: NodeRow {
            id: format!("n{number}").into(),
            organization: organization.into(),
            site: site.into(),
            name: name.into(),
            ipv4: Some(Ipv4Addr::new(100, 64, 0, number)),
            ipv6: Some(Ipv6Addr::new(
                0xfd7a,
                0x115c,
                0xa1e0,
                0,
                0,
                0,
                0,
                number.into(),
            )),
            profile,
            state,
            hops,
        },
        public_key: "kX4bC1nq0l3m8fV5o2sJ7yTz9uEw6rQhAdGxPiLcB0s=".into(),
        enrolled_at: ago(now, 3_000_000),
        overlay_name: format!("{name}.{site}.{organization}.malha.internal").into(),
        software: "malha-node 0.1.0 · Debian 13".into(),
        applied_revision: Some(418),
        path: Some(PathKind::Direct),
        psk_since: Some(ago(now, 30_000)),
        services: Vec::new(),
        leading: Vec::new(),
        quarantine: None,
        policy: None,
    }
}

fn hops(
    now: OffsetDateTime,
    control: HopState,
    tunnel: HopState,
    services: &[(&str, u16, ProbeState)],
    broken: Option<BrokenHop>,
) -> Hops {
    let known = |state: HopState| (state != HopState::Unknown).then(|| ago(now, 5_400));
    Hops {
        control: ControlHop {
            state: control,
            since: known(control),
        },
        tunnel: TunnelHop {
            state: tunnel,
            since: known(tunnel),
            handshake_at: known(tunnel).map(|_| ago(now, 42)),
            rx_bytes: 48_318_382,
            tx_bytes: 1_932_735_283,
            endpoint: known(tunnel).map(|_| "203.0.113.24:51820".into()),
        },
        services: services
            .iter()
            .map(|(name, port, state)| ServiceHop {
                name: (*name).into(),
                port: *port,
                state: *state,
                since: Some(ago(now, 86_000)),
            })
            .collect(),
        broken,
    }
}

fn add_services(world: &mut World, now: OffsetDateTime) {
    let service =
        |node: &str, path: &str, name: &str, port, target: &str, exposure, state| ServiceRow {
            id: format!("{node}.{name}").into(),
            node: node.into(),
            node_path: path.into(),
            name: name.into(),
            port,
            protocol: Protocol::Tcp,
            target: target.into(),
            exposure,
            state,
            since: Some(ago(now, 190)),
        };
    let (tunnel, public) = (Exposure::Tunnel, Exposure::Public);
    world.services = vec![
        service(
            "n1",
            "estacione/garagem-01/servidor",
            "web",
            80,
            "127.0.0.1:8080",
            public,
            ProbeState::Up,
        ),
        service(
            "n2",
            "estacione/garagem-02/servidor",
            "web",
            80,
            "127.0.0.1:8080",
            public,
            ProbeState::Refused,
        ),
        service(
            "n4",
            "saude/producao/seguro-02",
            "xroad",
            5500,
            "127.0.0.1:5500",
            tunnel,
            ProbeState::Unknown,
        ),
        service(
            "n4",
            "saude/producao/seguro-02",
            "ocsp",
            5577,
            "127.0.0.1:5577",
            tunnel,
            ProbeState::Unknown,
        ),
    ];
    let route = |host: &str, service: &str, state| RouteRow {
        id: host.into(),
        host: host.into(),
        path: "/".into(),
        url: Some(format!("https://{host}/").into()),
        services: vec![service.into()],
        elsewhere: None,
        state,
        since: Some(ago(now, 190)),
    };
    world.routes = vec![
        route("garagem-01.malha.example", "n1.web", RouteState::Up),
        route("garagem-02.malha.example", "n2.web", RouteState::Down),
    ];
}

fn add_tokens(world: &mut World, now: OffsetDateTime) {
    let token = |id: &str, site: &str, uses_left, state, ends_in_s: i64| TokenRow {
        id: id.into(),
        organization: "estacione".into(),
        site: site.into(),
        profile: Profile::Garage,
        replaces: None,
        created_at: ago(now, 7_200),
        expires_at: now + time::Duration::seconds(ends_in_s),
        uses_left,
        uses_total: 1,
        state,
    };
    world.tokens = vec![
        token("k8f3", "garagem-02", 1, TokenState::Active, 79_200),
        token("k71c", "garagem-01", 0, TokenState::Used, 72_000),
        token("k02a", "garagem-01", 1, TokenState::Expired, -3_600),
    ];
}

fn add_zone(world: &mut World) {
    let set = |name: &str, kind: &str, values: &[&str], source| RecordSetRow {
        name: name.into(),
        record_type: kind.into(),
        ttl_s: 300,
        values: values.iter().map(|value| (*value).into()).collect(),
        source,
    };
    let (operator, automatic) = (RecordSource::Operator, RecordSource::Automatic);
    let rows = vec![
        set(
            "@",
            "SOA",
            &["ns1.malha.example. hostmaster.malha.example. 2026112201 7200 900 1209600 300"],
            automatic,
        ),
        set(
            "@",
            "NS",
            &["ns1.malha.example.", "ns2.malha.example."],
            automatic,
        ),
        set("garagem-01", "A", &["203.0.113.1"], automatic),
        set("@", "MX", &["10 mail.malha.example."], operator),
        set(
            "_dmarc",
            "TXT",
            &["v=DMARC1; p=reject; rua=mailto:postmaster@malha.example; adkim=s; aspf=s"],
            operator,
        ),
    ];
    world.zones = vec![ZoneDetail {
        name: "malha.example".into(),
        serial: 2_026_112_201,
        record_sets: rows.into(),
    }];
}

fn add_activity(world: &mut World, now: OffsetDateTime) {
    let rows = [
        (418, 40, "ana", Action::TokenCreated, "estacione/garagem-02"),
        (
            417,
            900,
            "seguro-01",
            Action::NodeQuarantined,
            "saude/producao/seguro-01",
        ),
        (
            416,
            4_000,
            "ana",
            Action::RouteAdded,
            "garagem-02.malha.example",
        ),
        (
            415,
            86_400,
            "servidor",
            Action::NodeEnrolled,
            "estacione/garagem-02/servidor",
        ),
        (
            414,
            90_000,
            "bruno",
            Action::Other("policy.test".into()),
            "grants.toml",
        ),
    ];
    world.activity = rows
        .into_iter()
        .map(|(revision, seconds, actor, action, subject)| ActivityRow {
            sequence: revision,
            at: ago(now, seconds),
            actor: actor.into(),
            action,
            subject: subject.into(),
            revision: Some(revision),
        })
        .collect();
}

fn ago(now: OffsetDateTime, seconds: u64) -> OffsetDateTime {
    now - Duration::from_secs(seconds)
}
