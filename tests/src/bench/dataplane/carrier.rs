//! Streams where only TCP passes: of a node to its hub over a carrier, beside the same stream by UDP and beside what TLS alone
//! carries on the cable, and of two nodes that meet at the hub's relay over a carrier each. All ends run here, each on threads in
//! its own namespace; the node dials as it always does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use malha_node::control::{Credentials, dial_carrier};
use malha_pki::{Authority, AuthorityProfile, ControlCertificate, server_config_control};
use malha_proto::CARRIER_PROTOCOL;
use malha_tunnel::{
    Allow, CarrierStream, ChannelGrant, ChannelId, Engine, PeerConfig, PrivateKey, PublicKey,
    RelayGrant, RelayKey, RelayPair, Tunnel, TunnelConfig, prepare_carrier_socket,
};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::beside;
use super::echo::{self, pings};
use super::ends::PORT;
use super::iperf::Iperf;
use super::meter::busy;
use super::plan::Plan;
use super::sheet::Sheet;
use super::throughput::{CONTROL, LOADED_PAUSE};
use super::wire::{Side, Wire};

pub(super) fn carrier(wire: &Wire, plan: &Plan, sheet: &mut Sheet) -> Result<()> {
    let machines = Machines::new(wire)?;
    for round in 1..=plan.runs {
        for case in CASES {
            eprintln!("carrier {round}/{}: {}", plan.runs, case.carried);
            let found = match case.way {
                Way::TlsAlone => machines.tls(plan.seconds)?,
                way => {
                    let tunnels = match way {
                        Way::Relayed => machines.relayed_pair()?,
                        way => machines.hub_and_node(way)?,
                    };
                    let found = stream(wire, plan.seconds);
                    machines.end(tunnels);
                    found?
                }
            };
            sheet.add_alone(case.carried, found.gbit_per_s);
            sheet.add_alone(case.processor, found.processor_s_per_gb);
            if let Some((name, ping)) = case.ping.zip(found.ping_ms) {
                sheet.add_alone(name, ping);
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Udp,
    Carrier,
    TlsAlone,
    Relayed,
}

struct Case {
    way: Way,
    carried: &'static str,
    processor: &'static str,
    ping: Option<&'static str>,
}

struct Found {
    gbit_per_s: f64,
    /// Of all ends, and of the programs between which the stream runs.
    processor_s_per_gb: f64,
    ping_ms: Option<f64>,
}

/// Threads on both machines, and what TLS between them takes.
struct Machines {
    near: Runtime,
    far: Runtime,
    acceptor: TlsAcceptor,
    credentials: Arc<Credentials>,
}

type Tunnels = Vec<Arc<dyn Tunnel>>;

impl Machines {
    fn new(wire: &Wire) -> Result<Self> {
        let now = OffsetDateTime::now_utc();
        let profile = AuthorityProfile {
            name: "Benchmark".into(),
            years: 1,
        };
        let overlay = Arc::new(Authority::create(&profile, now)?);
        let certificate = ControlCertificate::issue(overlay.clone(), 1, now)?;
        let mut tls = server_config_control(Arc::new(certificate))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let runtime = |side| wire.namespace(side).within(beside::runtime)?;
        Ok(Self {
            near: runtime(Side::Near)?,
            far: runtime(Side::Far)?,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            credentials: Arc::new(beside::credentials(&overlay, now)?),
        })
    }

    fn of(&self, side: Side) -> &Runtime {
        match side {
            Side::Near => &self.near,
            Side::Far => &self.far,
        }
    }

    /// Does the work on a thread of the machine.
    fn run<T: Send + 'static>(
        &self,
        side: Side,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let runtime = self.of(side);
        runtime.block_on(runtime.spawn(work))?
    }

    /// A hub on the far machine, and a node on the near one.
    fn hub_and_node(&self, way: Way) -> Result<Tunnels> {
        let keys = [PrivateKey::generate(), PrivateKey::generate()];
        let [hub_key, node_key] = keys.each_ref().map(PrivateKey::public_key);
        let [hub, node] = keys;
        let hub = self.start(Side::Far, Engine::Userspace, hub, Side::Far.overlay())?;
        let node = self.start(Side::Near, Engine::Userspace, node, Side::Near.overlay())?;
        self.set(&hub, peer(node_key, Side::Near.overlay()))?;
        let mut to_hub = peer(hub_key, Side::Far.overlay());
        to_hub.keepalive_s = Some(KEEPALIVE_S);
        if way == Way::Udp {
            to_hub.endpoints = vec![(Side::Far.underlay(), PORT).into()];
        }
        self.set(&node, to_hub)?;
        if way == Way::Carrier {
            self.carry(Side::Near, &node, &hub, hub_key)?;
        }
        Ok(vec![node, hub])
    }

    /// Two nodes that have only carriers, each to a hub that relays between them.
    fn relayed_pair(&self) -> Result<Tunnels> {
        let hub_key = PrivateKey::generate();
        let hub_public = hub_key.public_key();
        let hub = self.start(Side::Far, Engine::Netstack, hub_key, HUB_OVERLAY)?;
        let keys = Side::BOTH.map(|side| (side, PrivateKey::generate()));
        let [a, b] = [0, 1].map(|at| ChannelGrant {
            channel: ChannelId(at as u32),
            // Any 32 random bytes are a channel's key.
            key: RelayKey::from_bytes(*PrivateKey::generate().as_bytes()),
            node: keys[at].1.public_key(),
        });
        let table = vec![RelayPair {
            a: a.clone(),
            b: b.clone(),
        }];
        let relay = hub.clone();
        self.run(
            Side::Far,
            async move { Ok(relay.set_relay_pairs(table).await?) },
        )?;
        let mut tunnels = vec![hub.clone()];
        for (at, own) in [a, b].into_iter().enumerate() {
            let ((side, key), (other, other_key)) = (&keys[at], &keys[1 - at]);
            let node = self.start(*side, Engine::Userspace, key.clone(), side.overlay())?;
            self.set(&hub, peer(key.public_key(), side.overlay()))?;
            let mut to_hub = peer(hub_public, HUB_OVERLAY);
            to_hub.keepalive_s = Some(KEEPALIVE_S);
            self.set(&node, to_hub)?;
            self.carry(*side, &node, &hub, hub_public)?;
            let mut to_other = peer(other_key.public_key(), other.overlay());
            to_other.relay = Some(RelayGrant {
                channel: own.channel,
                key: own.key,
                via: hub_public,
            });
            self.set(&node, to_other)?;
            tunnels.push(node);
        }
        Ok(tunnels)
    }

    fn start(
        &self,
        side: Side,
        engine: Engine,
        key: PrivateKey,
        overlay: Ipv4Addr,
    ) -> Result<Arc<dyn Tunnel>> {
        let mut config = TunnelConfig::new(key, vec![format!("{overlay}/24").parse()?]);
        let port = match engine {
            Engine::Netstack => 0,
            _ => PORT,
        };
        config.listen = vec![(side.underlay(), port).into()];
        config.interface = side.interface();
        self.run(
            side,
            async move { Ok(malha_tunnel::start(engine, config)?) },
        )
    }

    fn set(&self, tunnel: &Arc<dyn Tunnel>, peer: PeerConfig) -> Result<()> {
        Ok(self.near.block_on(tunnel.set_peer(peer))?)
    }

    /// Joins a node to the hub on the far machine by a carrier.
    fn carry(
        &self,
        from: Side,
        node: &Arc<dyn Tunnel>,
        hub: &Arc<dyn Tunnel>,
        hub_key: PublicKey,
    ) -> Result<()> {
        let (ours, theirs) = self.connect(from)?;
        let (node, hub) = (node.clone(), hub.clone());
        self.run(Side::Far, async move {
            Ok(hub.attach_carrier(theirs, None).await?)
        })?;
        self.run(from, async move {
            Ok(node.attach_carrier(ours, Some(hub_key)).await?)
        })?;
        Ok(())
    }

    /// A carrier's stream: the node's end, and the end of the hub on the far machine.
    fn connect(&self, from: Side) -> Result<(CarrierStream, CarrierStream)> {
        let at = SocketAddr::from((Side::Far.underlay(), CARRIER_PORT));
        let listener = self.run(Side::Far, async move { Ok(TcpListener::bind(at).await?) })?;
        let accepted = self.far.spawn(accept(listener, self.acceptor.clone()));
        let credentials = self.credentials.clone();
        let dialled = self.run(from, async move {
            let dialled = dial_carrier(&at.to_string(), &credentials).await;
            dialled.map_err(|error| anyhow!("{error}"))
        })?;
        Ok((dialled, self.far.block_on(accepted)??))
    }

    /// Zeros over a carrier's stream, without frames and without a tunnel.
    fn tls(&self, seconds: u64) -> Result<Found> {
        let (mut ours, mut theirs) = self.connect(Side::Near)?;
        let before = busy(std::process::id())?;
        let start = Instant::now();
        let read = self.far.spawn(async move {
            let (mut buffer, mut bytes) = (vec![0; CHUNK_BYTES], 0);
            loop {
                match theirs.read(&mut buffer).await {
                    Ok(read) if read > 0 => bytes += read,
                    _ => return bytes,
                }
            }
        });
        self.run(Side::Near, async move {
            let zeros = vec![0; CHUNK_BYTES];
            while start.elapsed() < Duration::from_secs(seconds) {
                ours.write_all(&zeros).await?;
            }
            Ok(ours.shutdown().await?)
        })?;
        let bytes = self.far.block_on(read)? as f64;
        let elapsed = start.elapsed().as_secs_f64();
        let used = busy(std::process::id())?.saturating_sub(before);
        ensure!(bytes > 0.0, "nothing arrived");
        Ok(Found {
            gbit_per_s: bytes * 8.0 / elapsed / 1e9,
            processor_s_per_gb: used.as_secs_f64() / (bytes / 1e9),
            ping_ms: None,
        })
    }

    fn end(&self, tunnels: Tunnels) {
        for tunnel in tunnels {
            self.near.block_on(tunnel.shutdown());
        }
    }
}

/// As the hub does it, without asking who comes.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor) -> Result<CarrierStream> {
    let (tcp, _) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    let mut stream = acceptor.accept(tcp).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {CARRIER_PROTOCOL}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await?;
    prepare_carrier_socket(stream.get_ref().0)?;
    Ok(Box::new(stream))
}

fn peer(key: PublicKey, overlay: Ipv4Addr) -> PeerConfig {
    let mut peer = PeerConfig::new(key);
    peer.allowed_ips = vec![ipnet::Ipv4Net::from(overlay).into()];
    peer.ingress = vec![
        Allow::tcp(1..=u16::MAX),
        Allow::udp(1..=u16::MAX),
        Allow::icmp(),
    ];
    peer
}

/// One stream from near to far, and pings beside it.
fn stream(wire: &Wire, seconds: u64) -> Result<Found> {
    let (near, to) = (wire.namespace(Side::Near), Side::Far.overlay());
    echo::wait_for(near, to).context("the ends")?;
    let iperf = Iperf::start(wire, to)?;
    let before = busy(std::process::id())?;
    let (flow, pinged) = std::thread::scope(|scope| {
        // It ends while the stream still runs.
        let length = Duration::from_secs(seconds) * 3 / 4;
        let pinging = scope.spawn(move || pings(near, to, length, LOADED_PAUSE));
        let flow = iperf.tcp(1, seconds, CONTROL);
        let pinged = pinging.join();
        (
            flow,
            pinged.unwrap_or_else(|_| Err(anyhow!("pinging panicked"))),
        )
    });
    let flow = flow?;
    let used = busy(std::process::id())?.saturating_sub(before) + flow.processor;
    Ok(Found {
        gbit_per_s: flow.gbit_per_s(),
        processor_s_per_gb: used.as_secs_f64() / (flow.bytes / 1e9),
        ping_ms: Some(pinged?.at(0.5)),
    })
}

const CASES: [Case; 4] = [
    Case {
        way: Way::Udp,
        carried: BY_UDP,
        processor: "- processor of both ends, s/GB",
        ping: Some("- ping beside it, ms"),
    },
    Case {
        way: Way::Carrier,
        carried: BY_CARRIER,
        processor: "- processor of both ends, carrier, s/GB",
        ping: Some("- ping beside it, carrier, ms"),
    },
    Case {
        way: Way::TlsAlone,
        carried: TLS_ALONE,
        processor: "- processor of both ends, TLS alone, s/GB",
        ping: None,
    },
    Case {
        way: Way::Relayed,
        carried: RELAYED_BY_CARRIERS,
        processor: "- processor of both ends and the relay, s/GB",
        ping: Some("- ping beside it, relayed, ms"),
    },
];
pub(super) const BY_UDP: &str = "TCP of a node to its hub by UDP, Gbit/s";
pub(super) const BY_CARRIER: &str = "TCP of a node to its hub over a carrier, Gbit/s";
pub(super) const TLS_ALONE: &str = "TLS over TCP on the cable, Gbit/s";
pub(super) const RELAYED_BY_CARRIERS: &str = "TCP of a pair, relayed over two carriers, Gbit/s";
const HUB_OVERLAY: Ipv4Addr = Ipv4Addr::new(100, 96, 0, 3);
const CARRIER_PORT: u16 = 443;
const CHUNK_BYTES: usize = 64 * 1024;
const KEEPALIVE_S: u16 = 25;
