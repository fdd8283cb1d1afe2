//! The page as Prometheus reads it, of a hub with a real tunnel on the loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use malha_core::{Settings, State as CoreState};
use malha_proto::{MachineId, OverlayPools};
use malha_store::audit::AuditLog;
use malha_tunnel::{
    ChannelGrant, ChannelId, Engine, PrivateKey, RelayKey, RelayPair, TunnelConfig, start,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::DropGuard;

use super::*;
use crate::coordinator::Coordinator;

/// Far more than a look at the page takes.
const LIMIT: Duration = Duration::from_secs(60);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Scene {
    tunnel: Arc<dyn Tunnel>,
    page: SocketAddr,
    _stop: DropGuard,
    _audit: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let audit = tempfile::tempdir().unwrap();
        let store = malha_store::memory(&crate::folder::schema()).unwrap();
        let state = CoreState::new(Settings::new(
            MachineId([7; 16]),
            OverlayPools::with_random_v6([1, 2, 3, 4, 5]),
            "malha.internal".parse().unwrap(),
        ));
        let log = AuditLog::open(audit.path()).unwrap();
        let (coordinator, handle) = Coordinator::new(state, store.clone(), log);
        let stop = CancellationToken::new();
        tokio::spawn(coordinator.run(stop.clone()));
        let tunnel = tunnel();
        let metrics = Metrics {
            handle,
            live: Arc::new(Live::new()),
            registry: Arc::default(),
            edge: Arc::default(),
            dns: None,
            store,
            tunnel: tunnel.clone(),
        };
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let page = listener.local_addr().unwrap();
        tokio::spawn(metrics.serve(listener, stop.clone()));
        Self {
            tunnel,
            page,
            _stop: stop.drop_guard(),
            _audit: audit,
        }
    }

    async fn page(&self) -> String {
        let mut stream = TcpStream::connect(self.page).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    }

    /// Sends a datagram to the hub and waits until this has counted so many.
    async fn send(&self, datagram: &[u8], count: fn(&TunnelStats) -> u64, expected: u64) {
        let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
        let at = self.tunnel.listen_addrs().await[0];
        socket.send_to(datagram, at).await.unwrap();
        let arrived = async {
            while count(&self.tunnel.stats().await) < expected {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, arrived).await.unwrap();
    }
}

fn tunnel() -> Arc<dyn Tunnel> {
    let address = "100.64.0.1/10".parse().unwrap();
    let mut config = TunnelConfig::new(PrivateKey::from_bytes([1; 32]), vec![address]);
    config.listen = vec![(LOOPBACK, 0).into()];
    start(Engine::Netstack, config).unwrap()
}

/// A frame that hands a datagram to the relay.
fn relayed(channel: u8) -> Vec<u8> {
    [&[DATA, 0, 0, 0, 0, 0, 0, channel][..], &[4; 32]].concat()
}

const DATA: u8 = 0x13;

#[tokio::test]
async fn what_the_hub_drops_is_counted_by_reason() {
    let scene = Scene::new().await;
    let end = |number: u8| ChannelGrant {
        channel: ChannelId(number.into()),
        key: RelayKey::from_bytes([number; 32]),
        node: PrivateKey::from_bytes([number; 32]).public_key(),
    };
    let (a, b) = (end(2), end(3));
    let pairs = vec![RelayPair { a, b }];
    scene.tunnel.set_relay_pairs(pairs).await.unwrap();
    let page = scene.page().await;
    for reason in ["stranger", "relay_refused", "no_rule"] {
        let silent = format!("malha_hub_dropped_total{{reason=\"{reason}\"}} 0\n");
        assert!(page.contains(&silent), "{page}");
    }
    scene.send(&[0; 32], |it| it.device.malformed, 1).await;
    // Nobody has proven to be at the channel's place, and nobody was given the other one.
    scene.send(&relayed(2), |it| it.relay.refused, 1).await;
    scene.send(&relayed(9), |it| it.relay.refused, 2).await;
    let page = scene.page().await;
    for (reason, count) in [("stranger", 1), ("relay_refused", 2), ("relay_unbound", 0)] {
        let counted = format!("malha_hub_dropped_total{{reason=\"{reason}\"}} {count}\n");
        assert!(page.contains(&counted), "{page}");
    }
}
