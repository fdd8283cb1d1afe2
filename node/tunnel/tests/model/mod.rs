//! The packet filter as docs/SECURITY.md says it, read out as plainly as possible: conversations, of which none is ever
//! thrown away. Engines are compared with it; it shares no code with any of them.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not inside test functions"
)]

pub(crate) mod packets;
pub(crate) mod reader;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use reader::{Kind, Seen, read};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// Of both families.
pub(crate) const ICMP: u8 = 1;

/// The protocol, and the ports unless it is ICMP.
pub(crate) type Rule = (u8, RangeInclusive<u16>);

/// Protocol, our side, their side. For an echo both ports are its identifier.
pub(crate) type Conversation = (u8, SocketAddr, SocketAddr);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The peer's first rule that covers it.
    Rule(usize),
    Answer,
    Refused(&'static str),
}

pub(crate) struct Model {
    own: Vec<IpAddr>,
    /// What each peer may open.
    rules: Vec<Vec<Rule>>,
    known: BTreeMap<(usize, Conversation), Known>,
}

/// A conversation that this node opened, or one over UDP that a peer was permitted to begin.
struct Known {
    protocol: u8,
    ours: bool,
    used_s: u64,
    heard: bool,
    fin_by_us: bool,
    fin_by_them: bool,
    reset: bool,
}

impl Model {
    pub(crate) fn new(own: Vec<IpAddr>, rules: Vec<Vec<Rule>>) -> Self {
        let known = BTreeMap::new();
        Self { own, rules, known }
    }

    /// A peer may open something else from now on.
    pub(crate) fn change(&mut self, peer: usize, rules: Vec<Rule>) {
        self.rules[peer] = rules;
    }

    /// This node sends a packet to a peer.
    pub(crate) fn leave(&mut self, peer: usize, packet: &[u8], now_s: u64) {
        let Ok(seen) = read(packet) else { return };
        let what = (seen.protocol, seen.source, seen.destination);
        match seen.kind {
            Kind::Tcp(flags) if flags.opens() && flags.are_sensible() => {
                match self.find(peer, what, now_s) {
                    Some(it) if !it.closed() => it.used_s = now_s,
                    _ => _ = self.begin(peer, what, true, now_s),
                }
            }
            Kind::Tcp(flags) => {
                if let Some(it) = self.find(peer, what, now_s) {
                    it.pass(true, flags, now_s);
                }
            }
            Kind::Udp | Kind::Request => {
                // An answer to what a rule permits opens nothing.
                let opens = seen.protocol == ICMP || self.rule(peer, &seen, seen.source).is_none();
                match self.find(peer, what, now_s) {
                    Some(it) => {
                        it.ours |= opens && !it.heard;
                        it.used_s = now_s;
                    }
                    None => _ = self.begin(peer, what, opens, now_s),
                }
            }
            Kind::Reply | Kind::Error(_) | Kind::Other => {}
        }
    }

    /// A packet came from a peer, to whom its source address belongs.
    pub(crate) fn enter(&mut self, peer: usize, packet: &[u8], now_s: u64) -> Judgement {
        let seen = match read(packet) {
            Ok(seen) => seen,
            Err(why) => return Judgement::Refused(why),
        };
        if !self.own.contains(&seen.destination.ip()) {
            return Judgement::Refused("not ours");
        }
        let what = (seen.protocol, seen.destination, seen.source);
        let answers = match seen.kind {
            Kind::Tcp(flags) if flags.opens() || !flags.are_sensible() => None,
            Kind::Tcp(flags) => Some((what, flags)),
            Kind::Udp | Kind::Reply => Some((what, NO_FLAGS)),
            Kind::Error(Some(about))
                if about.1.ip() == seen.destination.ip()
                    && self.find(peer, about, now_s).is_some_and(|it| it.ours) =>
            {
                return Judgement::Answer;
            }
            Kind::Request | Kind::Error(_) | Kind::Other => None,
        };
        if let Some((what, flags)) = answers
            && let Some(it) = self.find(peer, what, now_s)
            // Nobody finishes what was never answered.
            && (!flags.fin || it.heard || it.reset)
        {
            it.pass(false, flags, now_s);
            if it.ours {
                return Judgement::Answer;
            }
        }
        let rule = match seen.kind {
            Kind::Tcp(_) | Kind::Udp | Kind::Request => self.rule(peer, &seen, seen.destination),
            _ => None,
        };
        let Some(rule) = rule else {
            return Judgement::Refused("default");
        };
        if matches!(seen.kind, Kind::Udp) && self.find(peer, what, now_s).is_none() {
            self.begin(peer, what, false, now_s).heard = true;
        }
        Judgement::Rule(rule)
    }

    fn begin(&mut self, with: usize, what: Conversation, ours: bool, now_s: u64) -> &mut Known {
        let known = Known {
            protocol: what.0,
            ours,
            used_s: now_s,
            heard: false,
            fin_by_us: false,
            fin_by_them: false,
            reset: false,
        };
        let entry = self.known.entry((with, what)).insert_entry(known);
        entry.into_mut()
    }

    fn rule(&self, peer: usize, seen: &Seen, local: SocketAddr) -> Option<usize> {
        self.rules[peer].iter().position(|(protocol, ports)| {
            *protocol == seen.protocol && (*protocol == ICMP || ports.contains(&local.port()))
        })
    }

    fn find(&mut self, peer: usize, what: Conversation, now_s: u64) -> Option<&mut Known> {
        let known = self.known.get_mut(&(peer, what));
        known.filter(|it| now_s - it.used_s < it.idle_limit_s())
    }
}

impl Known {
    fn closed(&self) -> bool {
        self.reset || (self.fin_by_us && self.fin_by_them)
    }

    fn pass(&mut self, by_us: bool, flags: reader::Flags, now_s: u64) {
        self.used_s = now_s;
        self.reset |= flags.rst;
        self.fin_by_us |= flags.fin && by_us && self.heard;
        self.fin_by_them |= flags.fin && !by_us && self.heard;
        // Only a SYN of theirs takes a connection.
        self.heard |= !by_us && (flags.syn || self.protocol != TCP);
    }

    fn idle_limit_s(&self) -> u64 {
        match self.protocol {
            ICMP => 60,
            UDP => 120,
            _ if self.closed() => 240,
            _ if self.heard || self.fin_by_us || self.fin_by_them => 7_440,
            _ => 240,
        }
    }
}

const NO_FLAGS: reader::Flags = reader::Flags {
    fin: false,
    syn: false,
    rst: false,
    ack: false,
};
