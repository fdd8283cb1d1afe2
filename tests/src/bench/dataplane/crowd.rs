//! Many members of one hub, each with a key and an address of its own, played by one process with boringtun's noise: they
//! shake hands, answer cookies, confirm their sessions, and are silent from then on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use boringtun::noise::{Tunn, TunnResult};
use malha_tunnel::{PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use x25519_dalek::StaticSecret;

use super::ends::PORT;
use super::part::part;
use super::spoof::Block;
use super::wire::{Side, Wire};

/// The members' keys.
pub(super) struct Crowd {
    keys: Vec<PrivateKey>,
}

/// What became of their handshakes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Answered {
    pub(super) answered: usize,
    pub(super) cookies: usize,
    pub(super) seconds: f64,
}

impl Crowd {
    pub(super) fn new(members: usize) -> Self {
        Self {
            keys: (0..members).map(|_| PrivateKey::generate()).collect(),
        }
    }

    /// The members as peers of the hub.
    pub(super) fn peers(&self) -> impl Iterator<Item = Value> {
        let addresses = u32::from(FIRST_OVERLAY)..;
        self.keys.iter().zip(addresses).map(|(key, address)| {
            json!({
                "public_key": key.public_key().to_base64(),
                "endpoint": null,
                "allowed_ip": format!("{}/32", Ipv4Addr::from(address)),
                "keepalive_s": null,
                "pings": false,
            })
        })
    }

    /// Lets all of them shake hands with the hub on the far machine.
    pub(super) fn shake_hands(&self, wire: &Wire, hub: PublicKey) -> Result<Answered> {
        Block::route(wire)?;
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| key.to_base64().to_string())
            .collect();
        let play = Play {
            to: (Side::Far.underlay(), PORT).into(),
            hub: hub.to_base64(),
            keys,
        };
        let file = wire.write("crowd.json", &serde_json::to_string(&play)?)?;
        let mut command = part(wire, Side::Near, "crowd")?;
        let printed = wire.run("crowd", command.arg(file), LIMIT)?;
        Ok(serde_json::from_slice(&printed)?)
    }
}

/// What the process is told.
#[derive(Deserialize, Serialize)]
struct Play {
    to: SocketAddr,
    hub: String,
    keys: Vec<String>,
}

/// What the process does.
pub(super) fn play(file: &Path) -> Result<()> {
    let play: Play = serde_json::from_slice(&std::fs::read(file)?)?;
    let hub: PublicKey = play.hub.parse()?;
    let hub = x25519_dalek::PublicKey::from(*hub.as_bytes());
    let members = play.keys.iter().zip(0..).map(|(key, index)| {
        let key: PrivateKey = key.parse()?;
        let secret = StaticSecret::from(*key.as_bytes());
        Ok(Member {
            tunn: Tunn::new(secret, hub, None, None, index, None),
            waits: false,
        })
    });
    let mut shaking = Shaking {
        block: Block::open(play.to)?,
        members: members.collect::<Result<Vec<_>>>()?,
        under_way: 0,
        answered: 0,
        cookies: 0,
    };
    let seconds = shaking.run()?;
    let answered = Answered {
        answered: shaking.answered,
        cookies: shaking.cookies,
        seconds,
    };
    println!("{}", serde_json::to_string(&answered)?);
    Ok(())
}

struct Member {
    tunn: Tunn,
    /// For the answer to its initiation.
    waits: bool,
}

struct Shaking {
    block: Block,
    members: Vec<Member>,
    under_way: usize,
    answered: usize,
    cookies: usize,
}

impl Shaking {
    /// One handshake for each, so many at a time that the hub always has work; how long it took.
    fn run(&mut self) -> Result<f64> {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        let (start, mut last_answer) = (Instant::now(), Instant::now());
        let mut next = 0;
        while next < self.members.len() || self.under_way > 0 {
            while next < self.members.len() && self.under_way < WINDOW {
                self.members[next].waits = true;
                self.under_way += 1;
                self.initiate(next)?;
                next += 1;
            }
            match self.block.receive(&mut buffer, QUIET) {
                Some(answer) => {
                    let answer = answer.to_vec();
                    self.hear(&answer)?;
                    last_answer = Instant::now();
                }
                // What was lost is not asked for again: it counts as not answered.
                None if last_answer.elapsed() > QUIET => {
                    for member in &mut self.members {
                        member.waits = false;
                    }
                    self.under_way = 0;
                }
                None => {}
            }
        }
        Ok((last_answer - start).as_secs_f64())
    }

    fn initiate(&mut self, at: usize) -> Result<()> {
        let mut buffer = [0; HANDSHAKE_BYTES];
        let initiation = self.members[at]
            .tunn
            .format_handshake_initiation(&mut buffer, true);
        let TunnResult::WriteToNetwork(initiation) = initiation else {
            return Err(anyhow!("member {at} makes no initiation"));
        };
        self.block.send(at, initiation)
    }

    fn hear(&mut self, answer: &[u8]) -> Result<()> {
        let word = |at: usize| {
            answer
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
        };
        let kind = word(0).map(u32::from_le_bytes);
        // A response names its sender first, a cookie reply does not.
        let receiver = match kind {
            Some(RESPONSE) => word(8),
            Some(COOKIE) => word(4),
            _ => return Ok(()),
        };
        let receiver = receiver.map(u32::from_le_bytes).context("a short answer")?;
        // boringtun numbers a member's sessions with the lower 8 bits.
        let at = (receiver >> 8) as usize;
        let Some(member) = self.members.get_mut(at).filter(|member| member.waits) else {
            return Ok(());
        };
        let mut buffer = [0; HANDSHAKE_BYTES];
        let result = member.tunn.decapsulate(None, answer, &mut buffer);
        if kind == Some(COOKIE) {
            self.cookies += 1;
            return self.initiate(at);
        }
        if let TunnResult::WriteToNetwork(confirmation) = result {
            member.waits = false;
            self.under_way -= 1;
            self.answered += 1;
            self.block.send(at, confirmation)?;
        }
        ensure!(
            self.answered <= self.members.len(),
            "more answers than members"
        );
        Ok(())
    }
}

/// In a block that the tunnel's own addresses are not in.
const FIRST_OVERLAY: Ipv4Addr = Ipv4Addr::new(100, 97, 0, 1);
/// Types of messages (WireGuard's protocol, §5.4).
const RESPONSE: u32 = 2;
const COOKIE: u32 = 3;
/// Handshakes under way at a time: more than a hub answers in a millisecond, fewer than its socket holds.
const WINDOW: usize = 32;
const QUIET: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(120);
const HANDSHAKE_BYTES: usize = 256;
const MAX_DATAGRAM_BYTES: usize = 2048;
