//! Stories of a node's data plane and a hub that dials it, over real UDP on the loopback and without privilege.

mod crowd;

use std::io;

use malha_proto::{Allow, NodeId, Pair, PairKey, Pairs, Protocol, Secret32, WgKey};
use malha_tunnel::{
    BoxStream, PeerConfig, PresharedKey, PublicKey, Tunnel, TunnelConfig, TunnelEvent,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

use super::*;
use crate::testbed::{TEST_LIMIT, balancer, netmap, plane_config};

/// A node's plane, the hub beside it, and a local web server.
struct Scene {
    orders: mpsc::Sender<PlaneOrder>,
    pairs: watch::Sender<Option<Arc<PairTable>>>,
    events: mpsc::Receiver<PlaneEvent>,
    hub: Arc<dyn Tunnel>,
    hub_events: broadcast::Receiver<TunnelEvent>,
    map: Netmap,
    own: WgKey,
    task: tokio::task::JoinHandle<()>,
}

impl Scene {
    async fn new() -> Self {
        let (node_key, hub_key) = (PrivateKey::generate(), PrivateKey::generate());
        let mut map = netmap(1);
        let hub_addresses = map.peers[&NodeId(2)].addresses;
        let addresses = vec![
            ipnet::Ipv4Net::new(hub_addresses.v4, 10).unwrap().into(),
            ipnet::Ipv6Net::new(hub_addresses.v6, 48).unwrap().into(),
        ];
        let mut config = TunnelConfig::new(hub_key.clone(), addresses);
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        let hub = malha_tunnel::start(Engine::Netstack, config).unwrap();
        let mut node = PeerConfig::new(node_key.public_key());
        node.allowed_ips = vec![
            ipnet::Ipv4Net::from(map.me.addresses.v4).into(),
            ipnet::Ipv6Net::from(map.me.addresses.v6).into(),
        ];
        hub.set_peer(node).await.unwrap();
        let peer = map.peers.get_mut(&NodeId(2)).unwrap();
        peer.key = WgKey(*hub_key.public_key().as_bytes());
        peer.endpoints = hub.listen_addrs().await;
        peer.keepalive_s = Some(1);
        peer.allow = vec![Allow {
            protocol: Protocol::Tcp,
            from_port: 80,
            to_port: 81,
        }];
        let (orders, order_inbox) = mpsc::channel(8);
        let (events, event_inbox) = mpsc::channel(64);
        let own = WgKey(*node_key.public_key().as_bytes());
        let (pairs, pairs_out) = watch::channel(None);
        let overlay = watch::channel(None).0;
        let task = tokio::spawn(run_plane(
            plane_config(),
            node_key,
            order_inbox,
            pairs_out,
            events,
            overlay,
        ));
        Self {
            orders,
            pairs,
            events: event_inbox,
            hub_events: hub.events(),
            hub,
            map,
            own,
            task,
        }
    }

    fn serve(&mut self, port: u16, target: SocketAddr) {
        let id = malha_proto::ServiceId(3);
        let service = self.map.services.get_mut(&id).unwrap();
        service.port = malha_proto::Port::new(port).unwrap();
        service.target = target;
    }

    /// Tells the node the key that it shares with the hub.
    fn share(&self, psk: [u8; 32]) {
        let mut table = PairTable::new(self.own);
        let pair = Pair {
            peer: NodeId(2),
            key: self.map.peers[&NodeId(2)].key,
            candidates: vec![],
            relay: None,
            psk: Some(PairKey {
                secret: Secret32(psk),
                epoch: 7,
                since_ms: 0,
            }),
        };
        table.take(Pairs {
            all: true,
            me: self.own,
            pairs: vec![pair],
        });
        self.pairs.send_replace(Some(Arc::new(table)));
    }

    /// Tells the hub the same.
    async fn hub_shares(&self, psk: [u8; 32]) {
        let mut node = PeerConfig::new(PublicKey::from_bytes(self.own.0));
        node.allowed_ips = vec![ipnet::Ipv4Net::from(self.map.me.addresses.v4).into()];
        node.preshared_key = Some(PresharedKey::from_bytes(psk));
        self.hub.set_peer(node).await.unwrap();
    }

    async fn apply(&mut self) -> Result<(), String> {
        self.map.revision = self.map.revision.next();
        let order = PlaneOrder::Apply(Arc::new(self.map.clone()));
        self.orders.send(order).await.unwrap();
        loop {
            let event = timeout(TEST_LIMIT, self.events.recv()).await.unwrap();
            if let PlaneEvent::Applied { revision, result } = event.unwrap() {
                assert_eq!(revision, self.map.revision);
                return result.trouble().map_or(Ok(()), |why| Err(why.to_owned()));
            }
        }
    }

    /// Dials from the hub, once the node has told it where it is.
    async fn dial(&mut self, port: u16) -> io::Result<BoxStream> {
        let to = (self.map.me.addresses.v4, port).into();
        loop {
            match self.hub.dial(to, Instant::now() + TEST_LIMIT).await {
                Err(error) if error.kind() == io::ErrorKind::HostUnreachable => {
                    let event = timeout(TEST_LIMIT, self.hub_events.recv()).await;
                    event.expect("a handshake should come").unwrap();
                }
                dialed => return dialed,
            }
        }
    }

    async fn greet(&mut self, port: u16) -> String {
        let mut stream = self.dial(port).await.unwrap();
        stream.write_all(b"who is there?").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let read = timeout(TEST_LIMIT, stream.read_to_string(&mut answer)).await;
        read.unwrap().unwrap();
        answer
    }
}

/// A local server that waits for the end of the question and then gives its name.
async fn server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = String::new();
            // A balancer's check resets what it has opened.
            if stream.read_to_string(&mut question).await.is_ok() {
                stream.write_all(name.as_bytes()).await.unwrap();
            }
        }
    });
    address
}

async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn what_a_permission_admits_and_what_is_refused_is_seen() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("garagem").await);
    scene.apply().await.unwrap();
    assert_eq!(scene.greet(80).await, "garagem");
    let soon = Instant::now() + Duration::from_millis(50);
    let away = (scene.map.me.addresses.v4, 443).into();
    assert!(scene.hub.dial(away, soon).await.is_err());
    let seen = timeout(TEST_LIMIT, async {
        loop {
            if let PlaneEvent::Observed(view) = scene.events.recv().await.unwrap()
                && let Some(peer) = view.peers.first()
                && peer.drops.filtered.no_rule > 0
            {
                // The tunnel's own counts say it, too.
                assert!(view.stats.filter.refused.no_rule > 0);
                return peer.clone();
            }
        }
    });
    let seen = seen.await.unwrap();
    assert_eq!(seen.allowed[0].0, scene.map.peers[&NodeId(2)].allow[0]);
    assert!(seen.allowed[0].1 > 0, "{seen:?}");
}

#[tokio::test]
async fn a_service_answers_through_the_tunnel_as_soon_as_it_is_applied() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("garagem").await);
    scene.apply().await.unwrap();
    assert_eq!(scene.greet(80).await, "garagem");
}

#[tokio::test]
async fn a_service_follows_its_new_target_and_port() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("old").await);
    scene.apply().await.unwrap();
    scene.serve(80, server("new").await);
    scene.apply().await.unwrap();
    assert_eq!(scene.greet(80).await, "new");
    scene.serve(81, server("moved").await);
    scene.apply().await.unwrap();
    assert_eq!(scene.greet(81).await, "moved");
    let error = scene.dial(80).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_dead_target_resets_the_connection_so_that_it_is_not_taken_for_an_answer() {
    let mut scene = Scene::new().await;
    scene.serve(80, closed_port().await);
    scene.apply().await.unwrap();
    let error = match scene.dial(80).await {
        Ok(mut stream) => stream.read(&mut [0]).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_quarantined_map_offers_nothing() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("garagem").await);
    scene.apply().await.unwrap();
    let mut stream = scene.dial(80).await.unwrap();
    scene.map.me.quarantined = true;
    // They may still dial, and find nothing open.
    scene.apply().await.unwrap();
    let to = (scene.map.me.addresses.v4, 80).into();
    let error = scene.hub.dial(to, Instant::now() + TEST_LIMIT).await.err();
    assert_eq!(error.unwrap().kind(), io::ErrorKind::ConnectionRefused);
    scene.map.me.quarantined = false;
    scene.apply().await.unwrap();
    assert_eq!(scene.greet(80).await, "garagem");
    // The connection from before the cut is gone for good.
    stream.write_all(b"still there?").await.ok();
    assert_ne!(stream.read(&mut [0]).await.ok(), Some(1));
}

#[tokio::test]
async fn the_peers_are_observed() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("garagem").await);
    scene.apply().await.unwrap();
    scene.greet(80).await;
    loop {
        let event = timeout(TEST_LIMIT, scene.events.recv())
            .await
            .unwrap()
            .unwrap();
        let PlaneEvent::Observed(view) = event else {
            continue;
        };
        let hub = &view.peers[0].seen;
        if hub.handshake_age_ms.is_some() && hub.rx_bytes > 0 {
            assert_eq!(hub.peer, NodeId(2));
            assert_eq!(hub.endpoint, Some(scene.map.peers[&NodeId(2)].endpoints[0]));
            return;
        }
    }
}

#[tokio::test]
async fn a_key_that_is_known_before_the_map_is_in_the_first_handshake() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("garagem").await);
    scene.hub_shares([5; 32]).await;
    scene.share([5; 32]);
    scene.apply().await.unwrap();
    assert_eq!(scene.greet(80).await, "garagem");
}

#[tokio::test]
async fn without_the_hubs_key_nothing_passes_until_it_is_told() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("garagem").await);
    scene.hub_shares([5; 32]).await;
    scene.share([6; 32]);
    scene.apply().await.unwrap();
    let to = (scene.map.me.addresses.v4, 80).into();
    let soon = Instant::now() + Duration::from_millis(300);
    assert!(scene.hub.dial(to, soon).await.is_err());
    scene.share([5; 32]);
    assert_eq!(scene.greet(80).await, "garagem");
}

#[tokio::test]
async fn a_changed_key_breaks_no_connection() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("garagem").await);
    scene.hub_shares([5; 32]).await;
    scene.share([5; 32]);
    scene.apply().await.unwrap();
    let mut stream = scene.dial(80).await.unwrap();
    stream.write_all(b"before, ").await.unwrap();
    scene.share([6; 32]);
    stream.write_all(b"between, ").await.unwrap();
    scene.hub_shares([6; 32]).await;
    stream.write_all(b"after").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    let read = timeout(TEST_LIMIT, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert_eq!(answer, "garagem");
}

#[tokio::test]
async fn a_new_key_makes_a_new_tunnel_at_the_next_map() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("garagem").await);
    scene.apply().await.unwrap();
    let key = PrivateKey::generate();
    let mut node = PeerConfig::new(key.public_key());
    node.allowed_ips = vec![ipnet::Ipv4Net::from(scene.map.me.addresses.v4).into()];
    scene.hub.set_peer(node).await.unwrap();
    scene.orders.send(PlaneOrder::SetKey(key)).await.unwrap();
    scene.apply().await.unwrap();
    assert_eq!(scene.greet(80).await, "garagem");
}

/// Else nobody opens another.
#[tokio::test]
async fn a_carrier_that_goes_down_with_its_tunnel_is_told_of_though_that_is_restarted_twice() {
    let mut scene = Scene::new().await;
    scene.apply().await.unwrap();
    let (near, _far) = tokio::io::duplex(64 * 1024);
    let stream = Carried(Box::new(near));
    let mut orders = vec![PlaneOrder::AttachCarrier { carrier: 5, stream }];
    for _ in 0..2 {
        orders.push(PlaneOrder::SetKey(PrivateKey::generate()));
        orders.push(PlaneOrder::Apply(Arc::new(scene.map.clone())));
    }
    for order in orders {
        scene.orders.send(order).await.unwrap();
    }
    let told = async {
        let is_end = |it: &PlaneEvent| matches!(it, PlaneEvent::CarrierEnded { carrier: 5, .. });
        while !is_end(&scene.events.recv().await.unwrap()) {}
    };
    timeout(TEST_LIMIT, told).await.unwrap();
}

#[tokio::test]
async fn a_tunnel_that_ended_by_itself_is_told_of_and_can_be_put_up_again() {
    let scene = Scene::new().await;
    let mut plane = Plane::new(
        plane_config(),
        PrivateKey::generate(),
        watch::channel(None).0,
    );
    assert!(plane.apply(&Arc::new(scene.map.clone())).await.is_whole());
    assert!(!plane.lost_tunnel());
    let running = plane.running.as_ref().unwrap();
    let listen = running.tunnel.listen_addrs().await;
    plane.config.former.remembered.listen.clone_from(&listen);
    running.tunnel.shutdown().await;
    assert!(plane.lost_tunnel());
    plane.stop().await;
    assert_eq!(plane.config.former.remembered.listen, listen);
    assert!(plane.apply(&Arc::new(scene.map.clone())).await.is_whole());
    assert!(!plane.lost_tunnel());
}

/// That it has ended may be among what was missed.
#[tokio::test]
async fn no_carrier_is_believed_in_after_events_were_missed() {
    let mut plane = Plane::new(
        plane_config(),
        PrivateKey::generate(),
        watch::channel(None).0,
    );
    let scene = Scene::new().await;
    let map = Arc::new(scene.map.clone());
    assert!(plane.apply(&map).await.is_whole());
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let up = plane.attach(5, Carried(Box::new(near))).await;
    assert!(matches!(up, PlaneEvent::CarrierUp { carrier: 5 }));
    let (flood, events) = broadcast::channel(1);
    plane.running.as_mut().unwrap().events = events;
    for _ in 0..2 {
        let peer = PrivateKey::generate().public_key();
        flood.send(TunnelEvent::PathSilent { peer }).unwrap();
    }
    let missed = carrier::next_event(&mut plane.running).await;
    let told = plane.hear(missed).await;
    assert!(matches!(
        told,
        Some(PlaneEvent::CarrierEnded { carrier: 5, .. })
    ));
    let mut rest = Vec::new();
    let closed = timeout(TEST_LIMIT, far.read_to_end(&mut rest)).await;
    closed.expect("the tunnel should let go of it").unwrap();
}

#[tokio::test]
async fn one_wrong_peer_is_named_and_the_rest_works() {
    let mut scene = Scene::new().await;
    scene.serve(80, server("garagem").await);
    let mut wrong = scene.map.peers[&NodeId(2)].clone();
    wrong.id = NodeId(9);
    wrong.key = WgKey([9; 32]);
    wrong.addresses.v4 = [100, 64, 0, 9].into();
    wrong.addresses.v6 = "fd00::9".parse().unwrap();
    wrong.endpoints = vec!["0.0.0.0:1".parse().unwrap()];
    scene.map.peers.insert(wrong.id, wrong);
    let error = scene.apply().await.unwrap_err();
    assert!(
        error.starts_with("n9: ") && error.contains("0.0.0.0:1"),
        "{error}"
    );
    assert_eq!(scene.greet(80).await, "garagem");
    scene.map.peers.remove(&NodeId(9));
    assert_eq!(scene.apply().await, Ok(()));
}

#[tokio::test]
async fn the_end_of_the_orders_is_the_end_of_the_plane() {
    let mut scene = Scene::new().await;
    scene.apply().await.unwrap();
    drop(scene.orders);
    timeout(TEST_LIMIT, scene.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_balancer_reaches_its_servers_through_the_tunnel_and_tells_how_they_are() {
    let mut scene = Scene::new().await;
    let behind = server("produção").await;
    let hub = scene.map.peers[&NodeId(2)].addresses.v4;
    let listener = scene.hub.listen((hub, 5_500).into()).await.unwrap();
    let mut node = PeerConfig::new(PublicKey::from_bytes(scene.own.0));
    node.allowed_ips = vec![ipnet::Ipv4Net::from(scene.map.me.addresses.v4).into()];
    node.ingress = vec![malha_tunnel::Allow::tcp(5_500..=5_501)];
    scene.hub.set_peer(node).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(malha_tunnel::forward(
        listener,
        behind,
        100,
        Arc::default(),
        stop,
    ));
    // Nothing listens on the second.
    let backends = [(hub, 5_500).into(), (hub, 5_501).into()];
    let balanced = balancer(81, &backends);
    scene.map.balancers.insert(balanced.id, balanced);
    scene.apply().await.unwrap();
    for _ in 0..3 {
        assert_eq!(scene.greet(81).await, "produção");
    }
    let seen = timeout(TEST_LIMIT, async {
        loop {
            if let PlaneEvent::Observed(view) = scene.events.recv().await.unwrap() {
                let of = |at: usize| view.balanced.backends.get(at).map(|it| it.condition);
                let expected = [
                    Some(malha_proto::BackendCondition::Up),
                    Some(malha_proto::BackendCondition::Down),
                ];
                if [of(0), of(1)] == expected {
                    return;
                }
            }
        }
    });
    seen.await.unwrap();
    scene.map.balancers.clear();
    scene.apply().await.unwrap();
    let error = scene.dial(81).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
