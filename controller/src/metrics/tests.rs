//! The page as Prometheus reads it, of a hub with a real tunnel on the loopback.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use malha_core::{Settings, State as CoreState};
use malha_proto::{MachineId, OverlayPools};
use malha_store::audit::AuditLog;
use malha_tunnel::{
    ChannelGrant, ChannelId, DeviceCounters, Engine, FilterCounters, PrivateKey, Refusals,
    RelayCounters, RelayKey, RelayPair, StackCounters, TunnelConfig, UnderlayCounters, start,
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

/// Each counter is another power of two: a sum tells what is in it.
fn counted() -> TunnelStats {
    let mut bits = (0..u64::BITS).map(|bit| 1 << bit);
    let mut next = || bits.next().expect("there are fewer counters than bits");
    TunnelStats {
        device: DeviceCounters {
            malformed: next(),
            quic: next(),
            unknown_session: next(),
            unknown_peer: next(),
            flooded: next(),
            cookies_sent: next(),
            no_peer: next(),
            malformed_packets: next(),
            transmits_dropped: next(),
            packets_dropped: next(),
            events_dropped: next(),
            no_endpoint: next(),
            unopened: next(),
            spoofed: next(),
            too_large: next(),
        },
        filter: FilterCounters {
            admitted_by_rule: next(),
            admitted_as_answer: next(),
            refused: Refusals {
                no_rule: next(),
                not_ours: next(),
                malformed: next(),
                fragment: next(),
                extension: next(),
            },
            flows_evicted: next(),
        },
        relay: RelayCounters {
            forwarded: next(),
            forwarded_bytes: next(),
            bound: next(),
            challenged: next(),
            refused: next(),
            limited: next(),
            unbound: next(),
        },
        underlay: UnderlayCounters {
            datagrams_received: next(),
            datagrams_sent: next(),
            send_errors: next(),
            receive_errors: next(),
            carrier_dropped: next(),
            quic_received: next(),
            quic_dropped: next(),
            quic_sent: next(),
            handed_over: next(),
            handover_dropped: next(),
        },
        stack: StackCounters {
            connections: next(),
            buffer_bytes: next(),
            accepted: next(),
            dialled: next(),
            refused_full: next(),
            refused_closed: next(),
            damaged: next(),
            packets_dropped: next(),
        },
    }
}

#[test]
fn every_counter_of_the_tunnel_comes_out_under_its_own_name() {
    let stats = counted();
    let mut figures = Figures(vec![]);
    figures.hub(&stats);
    let seen: BTreeMap<&str, u64> = (figures.0.iter())
        .map(|figure| {
            let Value::Counter(count) = figure.value else {
                panic!("{figure:?}")
            };
            let label = figure.label.as_ref();
            (label.map_or(figure.name, |(_, reason)| reason), count)
        })
        .collect();
    let TunnelStats {
        device,
        filter,
        relay,
        underlay,
        stack,
    } = stats;
    let strangers = [
        device.malformed,
        device.quic,
        device.unknown_session,
        device.unknown_peer,
    ];
    let full_queues = [
        device.transmits_dropped,
        device.packets_dropped,
        device.events_dropped,
        stack.packets_dropped,
    ];
    let expected = BTreeMap::from([
        ("hub_datagrams_received", underlay.datagrams_received),
        ("hub_datagrams_sent", underlay.datagrams_sent),
        ("hub_quic_received", underlay.quic_received),
        ("hub_quic_dropped", underlay.quic_dropped),
        ("hub_handed_over", underlay.handed_over),
        ("hub_handover_dropped", underlay.handover_dropped),
        ("stranger", strangers.iter().sum()),
        ("flooded", device.flooded),
        ("relay_refused", relay.refused),
        ("relay_limited", relay.limited),
        ("relay_unbound", relay.unbound),
        ("carrier_full", underlay.carrier_dropped),
        ("full_queue", full_queues.iter().sum()),
        ("unsent", underlay.send_errors),
        ("receive_error", underlay.receive_errors),
        ("no_peer", device.no_peer),
        ("contradictory", device.malformed_packets),
        ("no_room", stack.refused_full),
        ("damaged", stack.damaged),
        ("forgotten", filter.flows_evicted),
        ("no_rule", filter.refused.no_rule),
        ("not_ours", filter.refused.not_ours),
        ("malformed", filter.refused.malformed),
        ("fragment", filter.refused.fragment),
        ("extension", filter.refused.extension),
        ("spoofed", device.spoofed),
        ("unopened", device.unopened),
        ("no_endpoint", device.no_endpoint),
        ("too_large", device.too_large),
    ]);
    assert_eq!(seen, expected);
}
