//! The hub's side of the relay: which channel is bound where, and what may pass. It has no I/O, keeps no datagram, and
//! answers nobody who has not proven to hold a channel's key.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use blake2::digest::Mac;

use super::RelayPair;
use super::frame::{
    Control, ControlKind, Cookie, Frame, Sealed, all_on, data_header, is_after, mac,
};
use crate::config::at_most;
use crate::error::TunnelError;
use crate::key::{PublicKey, RelayKey};
use crate::path::{ChannelId, Path};
use crate::status::RelayCounters;

/// All pairs of one relay. Its memory is that of the table it was given.
pub(crate) struct RelayServer {
    channels: HashMap<ChannelId, Channel>,
    /// The channels that are bound to each path.
    bound: HashMap<Path, BTreeSet<ChannelId>>,
    rates: HashMap<ChannelId, Bucket>,
    secret: RelayKey,
    start: Instant,
    counters: RelayCounters,
}

struct Channel {
    key: RelayKey,
    /// Whose end it is.
    node: PublicKey,
    /// The other end of the pair.
    twin: ChannelId,
    /// The end under whose number the pair's rate is kept.
    first: ChannelId,
    binding: Option<Binding>,
    /// Of the last HELLO that was accepted.
    counter: u64,
    /// When a HELLO may be challenged again: one whose counter is used up, and one with a new counter.
    next_challenge: [Instant; 2],
}

#[derive(Clone, Copy)]
struct Binding {
    path: Path,
    until: Instant,
}

/// Bytes that a pair may still send.
struct Bucket {
    bytes: u64,
    at: Instant,
}

impl RelayServer {
    /// # Errors
    /// If the operating system has no random bytes for the secret of the cookies.
    pub(crate) fn new(now: Instant) -> Result<Self, TunnelError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self {
            channels: HashMap::new(),
            bound: HashMap::new(),
            rates: HashMap::new(),
            secret: RelayKey::from_bytes(secret),
            start: now,
            counters: RelayCounters::default(),
        })
    }

    /// Replaces the table. A channel with the same key and the same other end keeps its binding.
    pub(crate) fn set_pairs(
        &mut self,
        pairs: Vec<RelayPair>,
        now: Instant,
    ) -> Result<(), TunnelError> {
        at_most("pairs of a relay", pairs.len(), MAX_PAIRS)?;
        let mut channels = HashMap::with_capacity(2 * pairs.len());
        let mut rates = HashMap::with_capacity(pairs.len());
        for RelayPair { a, b } in pairs {
            let first = a.channel;
            let bucket = Bucket {
                bytes: BURST_BYTES,
                at: now,
            };
            rates.insert(first, bucket);
            for (own, twin) in [(&a, &b), (&b, &a)] {
                let channel = Channel {
                    key: own.key.clone(),
                    node: own.node,
                    twin: twin.channel,
                    first,
                    binding: None,
                    counter: 0,
                    next_challenge: [now; 2],
                };
                if channels.insert(own.channel, channel).is_some() {
                    return Err(TunnelError::ChannelTwice(own.channel));
                }
            }
        }
        for (number, channel) in &mut channels {
            if let Some(old) = self.channels.get(number)
                && old.key == channel.key
                && old.twin == channel.twin
            {
                channel.binding = old.binding;
                channel.counter = old.counter;
                channel.next_challenge = old.next_challenge;
            }
        }
        for (number, bucket) in &mut rates {
            if let Some(old) = self.rates.remove(number) {
                *bucket = old;
            }
        }
        self.bound.clear();
        for (number, channel) in &channels {
            if let Some(binding) = channel.binding {
                self.bound.entry(binding.path).or_default().insert(*number);
            }
        }
        self.channels = channels;
        self.rates = rates;
        Ok(())
    }

    pub(crate) fn serves(&self, channel: ChannelId) -> bool {
        self.channels.contains_key(&channel)
    }

    /// A control frame; what it returns goes back to where the frame came from.
    pub(crate) fn handle_control(
        &mut self,
        from: Path,
        channel: ChannelId,
        frame: &[u8],
        now: Instant,
    ) -> Option<Sealed> {
        let hello = self.channels.get(&channel).and_then(|known| {
            Control::open(frame, &known.key).filter(|control| control.kind == ControlKind::Hello)
        });
        let Some(hello) = hello else {
            self.counters.refused += 1;
            return None;
        };
        let proven = self.cookie_is_genuine(&hello.cookie, channel, from, now);
        let cookie = self.cookie(channel, from, self.period(now));
        let known = self.channels.get_mut(&channel)?;
        let is_new = is_after(hello.counter, known.counter);
        let answer = if proven && is_new {
            known.counter = hello.counter;
            let before = known.binding.replace(Binding {
                path: from,
                until: now + BINDING,
            });
            rebind(&mut self.bound, channel, before, from);
            self.counters.bound += 1;
            Control {
                kind: ControlKind::Bound,
                answers: hello.counter,
                cookie: Cookie::default(),
                ..hello
            }
        } else {
            // A recorded HELLO gets here too, so this must not be a way to make the relay talk, nor to keep the node from its challenge.
            let next = &mut known.next_challenge[usize::from(is_new)];
            if now < *next {
                self.counters.refused += 1;
                return None;
            }
            *next = now + CHALLENGE_INTERVAL;
            self.counters.challenged += 1;
            Control {
                kind: ControlKind::Challenge,
                channel,
                counter: known.counter,
                answers: hello.counter,
                cookie,
            }
        };
        Some(answer.seal(&known.key))
    }

    /// A node that was heard at `left` has proven by its session to be at `path` now; its channels are where it is. Those of others
    /// stay: whoever can forge a source address may have been heard where somebody else is.
    pub(crate) fn follow(&mut self, node: &PublicKey, left: Path, path: Path) {
        let Some(here) = self.bound.get(&left) else {
            return;
        };
        let own = |channel: &ChannelId| {
            let known = self.channels.get(channel);
            known.is_some_and(|known| known.node == *node)
        };
        for channel in here.iter().copied().filter(own).collect::<Vec<_>>() {
            let known = self.channels.get_mut(&channel);
            if let Some(binding) = known.and_then(|known| known.binding.as_mut()) {
                let before = *binding;
                binding.path = path;
                rebind(&mut self.bound, channel, Some(before), path);
            }
        }
    }

    /// DATA frames of one channel, all `stride` bytes long but for a shorter last one: rewrites them in place for the other
    /// end and returns where that is, and how many bytes of them go there; the rest is over the pair's rate. `None` if none does.
    pub(crate) fn forward(
        &mut self,
        from: Path,
        batch: &mut [u8],
        stride: usize,
        now: Instant,
    ) -> Option<(Path, usize)> {
        let stride = stride.max(1);
        let frames = batch.len().div_ceil(stride) as u64;
        let number = match Frame::parse(batch) {
            Some(Frame::Data(number, _)) if all_on(number, batch, stride) => number,
            _ => {
                self.counters.refused += frames;
                return None;
            }
        };
        let bound_here = |channel: &&Channel| {
            let binding = channel.binding.filter(|binding| now < binding.until);
            binding.is_some_and(|binding| binding.path == from)
        };
        let Some(channel) = self.channels.get(&number).filter(bound_here) else {
            self.counters.refused += frames;
            return None;
        };
        let twin = self.channels.get(&channel.twin);
        let binding = twin.and_then(|twin| twin.binding.filter(|binding| now < binding.until));
        let Some(binding) = binding else {
            self.counters.unbound += frames;
            return None;
        };
        let bucket = self.rates.get_mut(&channel.first)?;
        let bytes = bucket.take(batch.len(), stride, now);
        let passed = bytes.div_ceil(stride) as u64;
        self.counters.limited += frames - passed;
        if passed == 0 {
            return None;
        }
        let header = data_header(channel.twin);
        for frame in batch[..bytes].chunks_mut(stride) {
            if let Some(start) = frame.first_chunk_mut() {
                *start = header;
            }
        }
        self.counters.forwarded += passed;
        self.counters.forwarded_bytes += bytes as u64;
        Some((binding.path, bytes))
    }

    pub(crate) fn counters(&self) -> RelayCounters {
        self.counters
    }

    fn cookie_is_genuine(
        &self,
        cookie: &Cookie,
        channel: ChannelId,
        from: Path,
        now: Instant,
    ) -> bool {
        let period = self.period(now);
        [Some(period), period.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|period| {
                self.cookie_mac(channel, from, period)
                    .verify_slice(cookie)
                    .is_ok()
            })
    }

    fn cookie(&self, channel: ChannelId, from: Path, period: u64) -> Cookie {
        self.cookie_mac(channel, from, period)
            .finalize()
            .into_bytes()
            .into()
    }

    fn cookie_mac(
        &self,
        channel: ChannelId,
        from: Path,
        period: u64,
    ) -> blake2::Blake2sMac<blake2::digest::consts::U16> {
        let port = from.remote().map_or(0, |remote| remote.port());
        let ip = match from.source() {
            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            std::net::IpAddr::V6(ip) => ip,
        };
        mac(
            self.secret.as_bytes(),
            &[
                &period.to_be_bytes(),
                &channel.0.to_be_bytes(),
                &port.to_be_bytes(),
                &ip.octets(),
            ],
        )
    }

    fn period(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / COOKIE_PERIOD_S
    }
}

fn rebind(
    bound: &mut HashMap<Path, BTreeSet<ChannelId>>,
    channel: ChannelId,
    before: Option<Binding>,
    path: Path,
) {
    if let Some(left) = before.map(|before| before.path)
        && let Some(others) = bound.get_mut(&left)
    {
        others.remove(&channel);
        if others.is_empty() {
            bound.remove(&left);
        }
    }
    bound.entry(path).or_default().insert(channel);
}

impl Bucket {
    /// How many bytes of a batch of frames pass, `stride` each: as many whole ones as there are bytes for. A sender whose batches were
    /// lost whole would lose its window, and wait for a timeout each time.
    fn take(&mut self, wanted: usize, stride: usize, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.at).as_micros() as u64;
        let earned = passed.saturating_mul(RATE_BYTES_PER_S / 1_000_000);
        if earned > 0 {
            self.bytes = self.bytes.saturating_add(earned).min(BURST_BYTES);
            self.at = now;
        }
        let held = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let passed = match wanted <= held {
            true => wanted,
            false => held - held % stride,
        };
        self.bytes -= passed as u64;
        passed
    }
}

const MAX_PAIRS: usize = 65_536;
/// A node repeats its HELLO every 20 to 50 s, so one or two of them may be lost.
const BINDING: Duration = Duration::from_secs(120);
const COOKIE_PERIOD_S: u64 = 120;
/// One challenge per channel in this time for new counters, whoever asks, and one for those that are used up.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(10);
/// 1 Gbit/s for a pair, both directions together.
const RATE_BYTES_PER_S: u64 = 125_000_000;
/// What a TCP window may send at once.
const BURST_BYTES: u64 = 4 * 1024 * 1024;
