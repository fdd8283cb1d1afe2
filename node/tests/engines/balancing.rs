//! A tunnel balancer on a node, its client and its two servers behind the tunnel: what it carries, and who is cut.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use malha_node::balancers::{Balanced, Balancers};
use malha_proto::{
    Algorithm, Backend, BackendCondition, BackendMode, Balancer, BalancerId, Exposure,
    OverlayAddresses, Port, ServiceId,
};
use malha_tunnel::{BoxStream, Engine, TunnelListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::ground::{Ground, SUBJECT};
use crate::nodes::*;

pub(crate) async fn one_server_is_removed(ground: Ground) {
    let scene = Scene::open(ground).await;
    for door in [overlay(SUBJECT, PORT), overlay6(SUBJECT, PORT)] {
        let (_, stream) = scene.meet(door).await;
        let sent = body(ground.affordable(BODY_BYTES), 7);
        assert_echoes(stream, sent).await;
    }
    scene.only_the_tunnel_leads_in(ground).await;
    // Equals take turns.
    let (one, other) = (scene.meet(DOOR).await, scene.meet(DOOR).await);
    let [(first, mut gone), (second, mut stays)] = [one, other];
    assert_ne!(first, second);

    let removed = key(first).public_key();
    assert!(scene.subject.tunnel.remove_peer(removed).await.unwrap());
    let cut = timeout(LIMIT, gone.read_u8()).await.unwrap();
    assert_eq!(cut.unwrap_err().kind(), ErrorKind::ConnectionReset);
    stays.write_all(b"x").await.unwrap();
    assert_eq!(stays.read_u8().await.unwrap(), b'x');
    for _ in 0..NEWCOMERS {
        assert_eq!(scene.meet(DOOR).await.0, second);
    }
}

pub(crate) async fn the_clients_address_leaves_its_peer(ground: Ground) {
    let scene = Scene::open(ground).await;
    let (client, tunnel) = (&scene.client, &scene.subject.tunnel);
    let (_, first) = scene.meet(DOOR).await;
    let (_, second) = scene.meet(DOOR).await;
    // It belongs to whom it was given last.
    let mut heir = peer(HEIR, Vec::new());
    heir.allowed_ips = peer(CLIENT, Vec::new()).allowed_ips;
    tunnel.set_peer(heir).await.unwrap();
    scene.until(|it| it.balancers[0].counts.open == 0).await;

    // The client knows nothing of it, and returns.
    scene.subject.expects(client).await;
    client.tunnel.refresh().await;
    let (_, third) = scene.meet(DOOR).await;
    let removed = key(CLIENT).public_key();
    assert!(tunnel.remove_peer(removed).await.unwrap());
    scene.until(|it| it.balancers[0].counts.open == 0).await;
    drop([first, second, third]);
}

/// The node under test with its balancer, before servers that are up.
struct Scene {
    subject: Node,
    client: Node,
    balancers: Balancers,
    _servers: [Node; 2],
}

impl Scene {
    async fn open(ground: Ground) -> Self {
        let subject = ground.subject().await;
        let client = ground.partner(CLIENT);
        subject.expects(&client).await;
        client.knows(&subject).await;
        let servers = SERVERS.map(|number| ground.partner(number));
        for server in &servers {
            say_and_echo(server.listen(SERVICE_PORT).await, server.number);
            server.expects(&subject).await;
            let known = peer(server.number, server.underlay().await);
            ground.introduce(&subject, known).await;
        }
        let mut balancers = Balancers::default();
        let wanted = BTreeMap::from([(BALANCER, balancer())]);
        let opened = balancers.open(&subject.tunnel, addresses(), &wanted).await;
        assert_eq!(opened, []);
        let scene = Self {
            subject,
            client,
            balancers,
            _servers: servers,
        };
        let is_up = |it: &Balanced| {
            let conditions = it.backends.iter().map(|it| it.condition);
            conditions.eq([BackendCondition::Up; 2])
        };
        scene.until(is_up).await;
        scene
    }

    /// A new connection of the client's, and the server that it reaches.
    async fn meet(&self, door: SocketAddr) -> (u8, BoxStream) {
        let mut stream = self.client.dial(door).await.unwrap();
        let name = timeout(LIMIT, stream.read_u8()).await.unwrap();
        (name.unwrap(), stream)
    }

    async fn until(&self, is_so: impl Fn(&Balanced) -> bool) {
        let looking = async {
            let mut looks = interval(Duration::from_millis(5));
            while !is_so(&self.balancers.report()) {
                looks.tick().await;
            }
        };
        let seen = timeout(LIMIT, looking).await;
        assert!(seen.is_ok(), "{:?}", self.balancers.report());
    }

    /// Where the node has an interface, Linux lets its own programs come to the address past it: no peer's, and so not served.
    async fn only_the_tunnel_leads_in(&self, ground: Ground) {
        if ground.engine != Engine::Netstack {
            let own = async { TcpStream::connect(DOOR).await?.read_u8().await };
            let served = timeout(LIMIT, own).await.unwrap();
            assert!(served.is_err(), "{served:?}");
        }
    }
}

pub(crate) fn balancer() -> Balancer {
    let backends = SERVERS.map(|number| Backend {
        service: ServiceId(number.into()),
        address: overlay(number, SERVICE_PORT),
        mode: BackendMode::Serve,
    });
    Balancer {
        id: BALANCER,
        name: "xroad".parse().unwrap(),
        port: Port::new(PORT).unwrap(),
        exposure: Exposure::Tunnel,
        algorithm: Algorithm::LeastConnections,
        backends: backends.into(),
        health: None,
        proxy_protocol: None,
        check_interval_ms: 1_000,
        connect_ms: 5_000,
        idle_s: 300,
        slow_start_s: 10,
        connections: 100,
        connections_per_source: 100,
        allowed_sources: Vec::new(),
    }
}

fn addresses() -> OverlayAddresses {
    match (overlay(SUBJECT, 0), overlay6(SUBJECT, 0)) {
        (SocketAddr::V4(v4), SocketAddr::V6(v6)) => OverlayAddresses {
            v4: *v4.ip(),
            v6: *v6.ip(),
        },
        other => panic!("{other:?}"),
    }
}

/// Says its number to whoever comes, then sends back what it hears.
fn say_and_echo(mut listener: TunnelListener, number: u8) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = write.write_u8(number).await;
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
}

const CLIENT: u8 = 2;
const SERVERS: [u8; 2] = [3, 4];
/// Who gets the client's address.
const HEIR: u8 = 5;
const BALANCER: BalancerId = BalancerId(1);
const PORT: u16 = 5500;
const DOOR: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(100, 64, 0, SUBJECT)),
    PORT,
);
const SERVICE_PORT: u16 = 6500;
const BODY_BYTES: usize = 1024 * 1024;
const NEWCOMERS: usize = 10;
