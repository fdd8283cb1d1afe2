//! Both ends of a contender, started on a wire until they are dropped. Keys are fresh each time and stand in files of this
//! run, never among arguments.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use malha_tunnel::{PrivateKey, PublicKey};
use serde_json::{Value, json};

use super::super::figures::resident_bytes;
use super::contender::{Contender, Kind};
use super::echo;
use super::wire::{Side, Wire};
use crate::lab::process::checked;
use crate::lab::{PATIENCE, Process, eventually};

/// A running contender.
pub(super) struct Ends {
    processes: Vec<Process>,
    /// The far end's address in the tunnel.
    pub(super) to: Ipv4Addr,
}

/// What one end of Malha's tunnel is told.
pub(super) struct End {
    pub(super) side: Side,
    pub(super) key: PrivateKey,
    pub(super) port: u16,
    pub(super) overlay: Ipv4Addr,
    pub(super) netstack: bool,
    pub(super) sink_and_source: Option<(u16, u16)>,
    /// As many as suit the machine if nothing is said.
    pub(super) shards: Option<usize>,
    pub(super) peers: Vec<Value>,
    /// The channels between which it relays, in twos.
    pub(super) relay_pairs: Value,
}

impl Ends {
    /// Starts both ends and waits for a session in both directions.
    pub(super) fn start(wire: &Wire, contender: &Contender) -> Result<Self> {
        let keys = [PrivateKey::generate(), PrivateKey::generate()];
        let mut processes = Vec::new();
        for (at, side) in Side::BOTH.into_iter().enumerate() {
            let (key, peer) = (&keys[at], keys[1 - at].public_key());
            processes.extend(match &contender.kind {
                Kind::Cable => None,
                Kind::Userspace { program } => {
                    let end = End::new(side, key.clone(), vec![peer_of(side, peer, None)]);
                    Some(end.start(wire, program)?)
                }
                Kind::Netstack { program } => {
                    let mut end = End::new(side, key.clone(), vec![peer_of(side, peer, None)]);
                    end.netstack = side == Side::Far;
                    end.sink_and_source = end.netstack.then_some((SINK, SOURCE));
                    Some(end.start(wire, program)?)
                }
                Kind::Foreign { program, arguments } => {
                    Some(start_foreign(wire, side, program, arguments, key, peer)?)
                }
            });
        }
        let to = match contender.kind {
            Kind::Cable => Side::Far.underlay(),
            _ => Side::Far.overlay(),
        };
        let ends = Self { processes, to };
        echo::wait_for(wire.namespace(Side::Near), to)
            .with_context(|| format!("starting {}", contender.name))?;
        Ok(ends)
    }

    /// The memory of the larger end; none without a tunnel.
    pub(super) fn resident_mib(&self) -> Result<Option<f64>> {
        let ends = self.processes.iter().map(|it| resident_bytes(it.id()));
        let ends = ends.collect::<Result<Vec<f64>>>()?;
        Ok(ends.into_iter().reduce(f64::max).map(|bytes| bytes / MIB))
    }
}

impl End {
    pub(super) fn new(side: Side, key: PrivateKey, peers: Vec<Value>) -> Self {
        Self {
            side,
            key,
            port: PORT,
            overlay: side.overlay(),
            netstack: false,
            sink_and_source: None,
            shards: None,
            peers,
            relay_pairs: json!([]),
        }
    }

    /// Starts it, and returns when it has all its peers.
    pub(super) fn start(&self, wire: &Wire, program: &Path) -> Result<Process> {
        let name = format!("tunnel-{}-{}", self.side.name(), self.port);
        let text = json!({
            "netstack": self.netstack,
            "private_key": *self.key.to_base64(),
            "listen": SocketAddr::from((self.side.underlay(), self.port)),
            "address": format!("{}/24", self.overlay),
            "mtu_bytes": MTU_BYTES,
            "interface": self.side.interface(),
            "connection_buffer_bytes": CONNECTION_BUFFER_BYTES,
            "sink_and_source": self.sink_and_source,
            "shards": self.shards,
            "peers": self.peers,
            "relay_pairs": self.relay_pairs,
        });
        let file = wire.write(&format!("{name}.json"), &text.to_string())?;
        let log = wire.log(&name);
        // A log that goes on would say "ready" at once.
        std::fs::write(&log, "")?;
        let mut command = wire.namespace(self.side).command(program);
        let mut process = wire.start(&name, command.arg(file))?;
        eventually("Malha's end is ready", PATIENCE, || {
            process.check_runs()?;
            let said = std::fs::read_to_string(&log)?;
            said.contains("ready").then_some(()).context(said)
        })?;
        Ok(process)
    }
}

/// The other side as a peer of this one, with the one address it may use. Only the near side dials
/// and pings.
pub(super) fn peer_of(side: Side, key: PublicKey, endpoint: Option<SocketAddr>) -> Value {
    let other = side.other();
    let dials = side == Side::Near;
    let endpoint = endpoint.unwrap_or_else(|| SocketAddr::from((other.underlay(), PORT)));
    json!({
        "public_key": key.to_base64(),
        "endpoint": dials.then_some(endpoint),
        "allowed_ip": format!("{}/32", other.overlay()),
        "keepalive_s": dials.then_some(KEEPALIVE_S),
        "pings": !dials,
    })
}

fn start_foreign(
    wire: &Wire,
    side: Side,
    program: &Path,
    arguments: &[OsString],
    key: &PrivateKey,
    peer: PublicKey,
) -> Result<Process> {
    let (namespace, interface) = (wire.namespace(side), side.interface());
    let mut command = namespace.command(program);
    command.args(arguments).arg(&interface);
    let mut process = wire.start(&format!("foreign-{}", side.name()), &mut command)?;
    let file = wire.write(&format!("key-{}", side.name()), &key.to_base64())?;
    let other = side.other();
    let words = [
        "set".to_owned(),
        interface.clone(),
        "private-key".to_owned(),
        file.display().to_string(),
        "listen-port".to_owned(),
        PORT.to_string(),
        "peer".to_owned(),
        peer.to_base64(),
        "allowed-ips".to_owned(),
        format!("{}/32", other.overlay()),
        "endpoint".to_owned(),
        format!("{}:{PORT}", other.underlay()),
    ];
    eventually("wg reaches the interface", PATIENCE, || {
        process.check_runs()?;
        checked(namespace.command("wg").args(&words))
    })?;
    namespace.ip(&format!(
        "address add {}/24 dev {interface}",
        side.overlay()
    ))?;
    namespace.ip(&format!("link set {interface} mtu {MTU_BYTES} up"))?;
    Ok(process)
}

/// The ports of a netstack end on which it swallows, and pours.
pub(super) const SINK: u16 = 9;
pub(super) const SOURCE: u16 = 19;
/// The UDP port of both ends.
pub(super) const PORT: u16 = 51820;
/// What fits a path of 1500 bytes over IPv4 and IPv6.
const MTU_BYTES: usize = 1420;
const CONNECTION_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const KEEPALIVE_S: u16 = 25;
pub(super) const MIB: f64 = 1024.0 * 1024.0;
