//! A stream between two nodes that meet only at a hub's relay, beside the same stream without it. The hub is a third process, on
//! the far machine, and can't read what it passes on.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use malha_tunnel::{PrivateKey, PublicKey};
use serde_json::{Value, json};

use super::contender::tunnel_end;
use super::echo;
use super::ends::{End, peer_of};
use super::iperf::{Flow, Iperf};
use super::meter::busy;
use super::plan::Plan;
use super::sheet::Sheet;
use super::throughput::CONTROL;
use super::wire::{Side, Wire};
use crate::lab::Process;

pub(super) fn relay(wire: &Wire, plan: &Plan, sheet: &mut Sheet) -> Result<()> {
    for round in 1..=plan.runs {
        eprintln!("relay {round}/{}", plan.runs);
        let pair = Pair::direct(wire)?;
        sheet.add_alone(DIRECT, pair.stream(wire, plan.seconds)?.gbit_per_s());
        drop(pair);
        let (pair, hub) = Pair::relayed(wire)?;
        let before = busy(hub.id())?;
        let flow = pair.stream(wire, plan.seconds)?;
        let used = busy(hub.id())?.saturating_sub(before);
        ensure!(!used.is_zero(), "nothing went through the relay");
        sheet.add_alone(RELAYED, flow.gbit_per_s());
        sheet.add_alone(RELAY_PROCESSOR, used.as_secs_f64() / (flow.bytes / 1e9));
    }
    sheet.note("relay: it lets a pair pass 1 Gbit/s, so a faster pair measures that limit");
    Ok(())
}

/// The two nodes.
struct Pair {
    _ends: Vec<Process>,
}

impl Pair {
    fn direct(wire: &Wire) -> Result<Self> {
        let keys = [PrivateKey::generate(), PrivateKey::generate()];
        Self::start(wire, &keys, |at, side| {
            vec![peer_of(side, keys[1 - at].public_key(), None)]
        })
    }

    /// With the hub that relays for them.
    fn relayed(wire: &Wire) -> Result<(Self, Process)> {
        let keys = [PrivateKey::generate(), PrivateKey::generate()];
        let channels = [Channel::new(1, &keys[0]), Channel::new(2, &keys[1])];
        let mut hub = End::new(Side::Far, PrivateKey::generate(), Vec::new());
        (hub.netstack, hub.port, hub.overlay) = (true, HUB_PORT, HUB_OVERLAY);
        for (key, side) in keys.iter().zip(Side::BOTH) {
            // The nodes dial it.
            let mut member = peer_of(side.other(), key.public_key(), None);
            (member["endpoint"], member["keepalive_s"]) = (Value::Null, Value::Null);
            hub.peers.push(member);
        }
        hub.relay_pairs = json!([channels.each_ref().map(Channel::as_granted)]);
        let hub_key = hub.key.public_key();
        let process = hub.start(wire, &tunnel_end()?)?;
        let pair = Self::start(wire, &keys, |at, side| {
            let mut other = peer_of(side, keys[1 - at].public_key(), None);
            (other["endpoint"], other["keepalive_s"]) = (Value::Null, Value::Null);
            other["relay"] = channels[at].as_grant(hub_key);
            let to_hub = json!({
                "public_key": hub_key.to_base64(),
                "endpoint": SocketAddr::from((Side::Far.underlay(), HUB_PORT)),
                "allowed_ip": format!("{HUB_OVERLAY}/32"),
                "keepalive_s": KEEPALIVE_S,
                "pings": false,
            });
            vec![to_hub, other]
        })?;
        Ok((pair, process))
    }

    /// Starts both, each with its key and the peers it is told of, and waits for a session in both directions.
    fn start(
        wire: &Wire,
        keys: &[PrivateKey; 2],
        peers: impl Fn(usize, Side) -> Vec<Value>,
    ) -> Result<Self> {
        let mut ends = Vec::new();
        for (at, side) in Side::BOTH.into_iter().enumerate() {
            let end = End::new(side, keys[at].clone(), peers(at, side));
            ends.push(end.start(wire, &tunnel_end()?)?);
        }
        echo::wait_for(wire.namespace(Side::Near), Side::Far.overlay()).context("the pair")?;
        Ok(Self { _ends: ends })
    }

    fn stream(&self, wire: &Wire, seconds: u64) -> Result<Flow> {
        Iperf::start(wire, Side::Far.overlay())?.tcp(1, seconds, CONTROL)
    }
}

/// One node's end of the pair on the relay.
struct Channel {
    number: u32,
    key: PrivateKey,
    /// Whose end it is.
    node: PublicKey,
}

impl Channel {
    fn new(number: u32, holder: &PrivateKey) -> Self {
        // Any 32 random bytes are a channel's key.
        let key = PrivateKey::generate();
        Self {
            number,
            key,
            node: holder.public_key(),
        }
    }

    /// As the hub knows it.
    fn as_granted(&self) -> Value {
        json!({ "channel": self.number, "key": self.key.as_bytes(), "node": self.node.to_base64() })
    }

    /// As the node knows it.
    fn as_grant(&self, via: PublicKey) -> Value {
        json!({ "channel": self.number, "key": self.key.as_bytes(), "via": via.to_base64() })
    }
}

pub(super) const DIRECT: &str = "TCP of a pair, directly, Gbit/s";
pub(super) const RELAYED: &str = "TCP of a pair, through a relay, Gbit/s";
const RELAY_PROCESSOR: &str = "- the relay's processor, s/GB";
/// Beside the far node's own.
const HUB_PORT: u16 = 51821;
const HUB_OVERLAY: Ipv4Addr = Ipv4Addr::new(100, 96, 0, 3);
const KEEPALIVE_S: u16 = 25;
