//! A service of a node: at its overlay addresses a member reaches the local target, and at every other address of the machine nobody
//! listens. No guard helps.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use malha_node::plane::{Former, PlaneConfig, PlaneEvent, PlaneOrder, run_plane};
use malha_proto::{Allow, Netmap, NodeId, Port, Protocol, WgKey};
use malha_tunnel::{Engine, Offload, TunnelEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::balancing::balancer;
use crate::ground::{Ground, SUBJECT, ip};
use crate::nodes::namespace::{make_settings_read_only, switch_ipv6_off};
use crate::nodes::{LIMIT, Node, key, overlay, overlay6, peer, wait_for};
use crate::testbed::{netmap, no_guard};

pub(crate) async fn on_the_overlay_alone(ground: Ground) {
    let port = free_port().await;
    let client = ground.partner(CLIENT);
    client
        .tunnel
        .set_peer(peer(SUBJECT, Vec::new()))
        .await
        .unwrap();
    let map = served(port, say_where().await, &client).await;
    let mut events = client.tunnel.events();
    let mut node = Plane::start(ground);
    node.apply(map).await;
    let peer = key(SUBJECT).public_key();
    wait_for(&mut events, TunnelEvent::HandshakeCompleted { peer }).await;

    for door in [overlay(SUBJECT, port), overlay6(SUBJECT, port)] {
        let mut stream = client.dial(door).await.unwrap();
        let mut said = String::new();
        let read = timeout(LIMIT, stream.read_to_string(&mut said)).await;
        read.unwrap().unwrap();
        assert_eq!(said, TARGET, "{door}");
    }
    for address in other_addresses(ground) {
        let met = TcpStream::connect((address, port)).await;
        let refused = met.expect_err(&format!("{address} is listened on"));
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{address}");
    }
    // Where the node has an interface, Linux lets this machine's own programs come to the address past it.
    if ground.engine != Engine::Netstack {
        let own = async {
            TcpStream::connect(overlay(SUBJECT, port))
                .await?
                .read_u8()
                .await
        };
        let served = timeout(LIMIT, own).await.unwrap();
        assert!(served.is_err(), "past the tunnel: {served:?}");
    }
    node.end().await;
}

pub(crate) async fn on_ipv4_alone(ground: Ground) {
    if ground.engine == Engine::Netstack {
        return;
    }
    let port = free_port().await;
    switch_ipv6_off();
    make_settings_read_only();
    let client = ground.partner(CLIENT);
    client
        .tunnel
        .set_peer(peer(SUBJECT, Vec::new()))
        .await
        .unwrap();
    let mut map = served(port, say_where().await, &client).await;
    map.balancers = [(balancer().id, balancer())].into();
    let mut events = client.tunnel.events();
    let mut node = Plane::start(ground);
    node.apply(map).await;
    let peer = key(SUBJECT).public_key();
    wait_for(&mut events, TunnelEvent::HandshakeCompleted { peer }).await;

    let mut stream = client.dial(overlay(SUBJECT, port)).await.unwrap();
    let mut said = String::new();
    let read = timeout(LIMIT, stream.read_to_string(&mut said)).await;
    read.unwrap().unwrap();
    assert_eq!(said, TARGET);
    node.end().await;
}

/// The node's data plane, as its agent runs it.
struct Plane {
    orders: mpsc::Sender<PlaneOrder>,
    events: mpsc::Receiver<PlaneEvent>,
    task: JoinHandle<()>,
    _pairs: watch::Sender<Option<Arc<malha_proto::PairTable>>>,
}

impl Plane {
    fn start(ground: Ground) -> Self {
        let config = PlaneConfig {
            engine: ground.engine,
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            interface: "malha0".to_owned(),
            mtu_bytes: 1_280,
            offload: Offload::default(),
            shards: Some(ground.shards),
            guard: no_guard(),
            former: Former::default(),
        };
        let (orders, inbox) = mpsc::channel(8);
        let (told, events) = mpsc::channel(64);
        let (pairs, pairs_out) = watch::channel(None);
        let overlay = watch::channel(None).0;
        let plane = run_plane(config, key(SUBJECT), inbox, pairs_out, told, overlay);
        Self {
            orders,
            events,
            task: tokio::spawn(plane),
            _pairs: pairs,
        }
    }

    async fn apply(&mut self, map: Netmap) {
        self.orders
            .send(PlaneOrder::Apply(Arc::new(map)))
            .await
            .unwrap();
        loop {
            let event = timeout(LIMIT, self.events.recv()).await.unwrap();
            if let PlaneEvent::Applied { result, .. } = event.unwrap() {
                return assert_eq!(result.trouble(), None);
            }
        }
    }

    async fn end(self) {
        drop(self.orders);
        timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

/// The map of a node with one service, which one member may open.
async fn served(port: u16, target: SocketAddr, client: &Node) -> Netmap {
    let mut map = netmap(1);
    let service = map.services.values_mut().next().unwrap();
    (service.port, service.target) = (Port::new(port).unwrap(), target);
    let member = map.peers.get_mut(&NodeId(u64::from(CLIENT))).unwrap();
    member.key = WgKey(*key(CLIENT).public_key().as_bytes());
    member.endpoints = client.underlay().await;
    member.keepalive_s = Some(1);
    member.allow = vec![Allow {
        protocol: Protocol::Tcp,
        from_port: port,
        to_port: port,
    }];
    map
}

/// Says [`TARGET`] to whoever comes.
async fn say_where() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(TARGET.as_bytes()).await.unwrap();
        }
    });
    address
}

/// One that nobody has at any address; the namespace of a story is empty, but not every engine has one.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("[::]:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Loopback, and what stands for the machine's other networks where they are ours to give.
fn other_addresses(ground: Ground) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = ["127.0.0.1", "::1"].map(|it| it.parse().unwrap()).into();
    if ground.engine != Engine::Netstack {
        for address in ["192.0.2.7", "2001:db8::7"] {
            ip(&format!("address add {address} dev lo"));
            addresses.push(address.parse().unwrap());
        }
    }
    addresses
}

/// As the map has it.
const CLIENT: u8 = 2;
const TARGET: &str = "the local target";
