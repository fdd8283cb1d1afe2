#![forbid(unsafe_code)]
//! `tunnel_end FILE`: one end of a tunnel for the benchmark of the data plane, as the JSON file says, until it is killed. It
//! listens inside the tunnel: what comes to the sink's port is thrown away, and who calls the source's port is sent zeros.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use malha_tunnel::{
    Allow, BoxStream, ChannelGrant, ChannelId, Engine, PeerConfig, RelayGrant, RelayKey, RelayPair,
    Tunnel, TunnelConfig, start,
};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    /// WireGuard in the process, TCP too if true.
    netstack: bool,
    private_key: String,
    listen: SocketAddr,
    address: IpNet,
    mtu_bytes: usize,
    interface: String,
    connection_buffer_bytes: usize,
    /// The ports of sink and source; only a netstack needs them, since iperf3 can't use it.
    sink_and_source: Option<(u16, u16)>,
    shards: Option<usize>,
    peers: Vec<Peer>,
    relay_pairs: Vec<[Channel; 2]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    public_key: String,
    endpoint: Option<SocketAddr>,
    allowed_ip: IpNet,
    keepalive_s: Option<u16>,
    /// Whether it may send echo requests; TCP and UDP it may always open.
    pings: bool,
    relay: Option<Grant>,
}

/// One end of a pair on this end's relay.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Channel {
    channel: u32,
    key: [u8; 32],
    /// The peer whose end it is.
    node: String,
}

/// The channel to a peer on another's relay.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    channel: u32,
    key: [u8; 32],
    via: String,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let path = std::env::args()
        .nth(1)
        .ok_or("give the file that says what this end is")?;
    let end: End = serde_json::from_slice(&std::fs::read(path)?)?;
    let engine = if end.netstack {
        Engine::Netstack
    } else {
        Engine::Userspace
    };
    let mut config = TunnelConfig::new(end.private_key.parse()?, vec![end.address]);
    config.listen = vec![end.listen];
    config.mtu_bytes = end.mtu_bytes;
    config.interface.clone_from(&end.interface);
    config.connection_buffer_bytes = end.connection_buffer_bytes;
    config.shards = end.shards;
    let tunnel = start(engine, config)?;
    for peer in &end.peers {
        tunnel.set_peer(peer.config()?).await?;
    }
    let pairs = end.relay_pairs.iter().map(|[a, b]| {
        Ok::<_, Failure>(RelayPair {
            a: a.grant()?,
            b: b.grant()?,
        })
    });
    let pairs = pairs.collect::<Result<_, _>>()?;
    tunnel.set_relay_pairs(pairs).await?;
    if let Some((sink, source)) = end.sink_and_source {
        serve(&tunnel, sink, swallow).await?;
        serve(&tunnel, source, pour).await?;
    }
    println!("{READY}");
    std::future::pending().await
}

impl Peer {
    fn config(&self) -> Result<PeerConfig, Failure> {
        let mut config = PeerConfig::new(self.public_key.parse()?);
        config.endpoints = self.endpoint.into_iter().collect();
        config.allowed_ips = vec![self.allowed_ip];
        config.keepalive_s = self.keepalive_s;
        config.ingress = vec![Allow::tcp(1..=u16::MAX), Allow::udp(1..=u16::MAX)];
        if self.pings {
            config.ingress.push(Allow::icmp());
        }
        if let Some(relay) = &self.relay {
            config.relay = Some(RelayGrant {
                channel: ChannelId(relay.channel),
                key: RelayKey::from_bytes(relay.key),
                via: relay.via.parse()?,
            });
        }
        Ok(config)
    }
}

impl Channel {
    fn grant(&self) -> Result<ChannelGrant, Failure> {
        Ok(ChannelGrant {
            channel: ChannelId(self.channel),
            key: RelayKey::from_bytes(self.key),
            node: self.node.parse()?,
        })
    }
}

async fn serve<F>(
    tunnel: &Arc<dyn Tunnel>,
    port: u16,
    work: impl Fn(BoxStream) -> F + Send + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut listener = tunnel.listen(([0, 0, 0, 0], port).into()).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(work(stream));
        }
    });
    Ok(())
}

async fn swallow(mut stream: BoxStream) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

async fn pour(mut stream: BoxStream) {
    let zeros = vec![0; CHUNK_BYTES];
    while stream.write_all(&zeros).await.is_ok() {}
}

/// The word by which the benchmark knows that everything listens.
const READY: &str = "ready";
const CHUNK_BYTES: usize = 256 * 1024;
