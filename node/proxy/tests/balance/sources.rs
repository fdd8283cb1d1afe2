//! Clients that come as through a tunnel, and are cut when their address leaves its peer.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use malha_proxy::balance::{Cut, Mode, SourceWatch, Spec};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, Server, backend, spec};

/// Who owns which address, as a tunnel knows it.
#[derive(Default)]
struct Peers {
    asked: AtomicUsize,
    leaving: Mutex<BTreeMap<IpAddr, Arc<Notify>>>,
}

#[async_trait]
impl SourceWatch for Peers {
    async fn cut(&self, source: IpAddr) -> io::Result<Cut> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if source == STRANGER {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let mut leaving = self.leaving.lock().unwrap();
        let leaving = leaving.entry(source).or_default();
        Ok(Box::pin(Arc::clone(leaving).notified_owned()))
    }
}

impl Peers {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn lose(&self, source: IpAddr) {
        let leaving = self.leaving.lock().unwrap();
        leaving[&source].notify_waiters();
    }
}

async fn connect(rig: &Rig, from: IpAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(rig.address).await
}

/// A client whom the server has greeted.
async fn served(rig: &Rig, from: IpAddr) -> TcpStream {
    let mut client = connect(rig, from).await.unwrap();
    let name = timeout(PATIENCE, client.read_u8()).await.unwrap();
    assert_eq!(name.unwrap(), b'a');
    client
}

async fn is_reset(client: &mut TcpStream) {
    let cut = timeout(PATIENCE, client.read_u8()).await.unwrap();
    assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_address_is_asked_for_once_and_cut_as_a_whole() {
    let server = Server::start(b'a').await;
    let peers = Arc::new(Peers::default());
    let rig = Rig::start_watched(spec(&[&server]), Arc::clone(&peers) as _).await;
    let mut cut = Vec::new();
    for _ in 0..4 {
        cut.push(served(&rig, ONE).await);
    }
    assert_eq!(peers.asked(), 1);
    let mut stays = served(&rig, OTHER).await;
    assert_eq!(peers.asked(), 2);

    peers.lose(ONE);
    for client in &mut cut {
        is_reset(client).await;
    }
    rig.until(|backends| backends[0].connections == 1).await;
    stays.write_all(b"x").await.unwrap();
    assert_eq!(stays.read_u8().await.unwrap(), b'x');
    let mut again = served(&rig, ONE).await;
    assert_eq!(peers.asked(), 3, "it may be another's");
    peers.lose(ONE);
    is_reset(&mut again).await;
}

#[tokio::test]
async fn who_comes_from_no_peers_address_is_reset() {
    let server = Server::start(b'a').await;
    let peers = Arc::new(Peers::default());
    let rig = Rig::start_watched(spec(&[&server]), Arc::clone(&peers) as _).await;
    for asked in [1, 2] {
        let stranger = async { connect(&rig, STRANGER).await?.read_u8().await };
        let served = timeout(PATIENCE, stranger).await.unwrap();
        assert_eq!(served.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(peers.asked(), asked, "nothing is known of it");
    }
    assert_eq!(rig.balancer.status().backends[0].total, 0);
}

#[tokio::test]
async fn who_is_cut_while_a_server_is_being_reached_goes_to_no_other() {
    let server = Server::start(b'a').await;
    let (deaf, _held) = deaf().await;
    let mut two = Spec::new(vec![backend(1, deaf), backend(2, server.address)]);
    two.limits.connect = PATIENCE;
    let mut first_alone = two.clone();
    first_alone.backends[1].mode = Mode::Maintenance;
    let peers = Arc::new(Peers::default());
    let rig = Rig::start_watched(first_alone, Arc::clone(&peers) as _).await;
    let mut learning = connect(&rig, ONE).await.unwrap();
    rig.until(|backends| backends[0].connections == 1).await;
    let mut known = connect(&rig, ONE).await.unwrap();
    rig.until(|backends| backends[0].connections == 2).await;
    rig.balancer.change(two).unwrap();

    peers.lose(ONE);
    is_reset(&mut known).await;
    let mut heard = Vec::new();
    let ended = timeout(PATIENCE, learning.read_to_end(&mut heard)).await;
    ended.unwrap().unwrap_err();
    assert_eq!(peers.asked(), 1);
}

/// An address where connections are neither taken nor refused.
async fn deaf() -> (SocketAddr, (Socket, TcpStream)) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    socket.bind(&any.into()).unwrap();
    // One waits to be accepted, and there is no room for a second.
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let waiting = TcpStream::connect(address).await.unwrap();
    let second = timeout(Duration::from_millis(50), TcpStream::connect(address)).await;
    assert!(second.is_err(), "{second:?}");
    (address, (socket, waiting))
}

const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// No peer's.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
