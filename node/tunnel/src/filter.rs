//! Who may open what towards this node: default deny, each peer's permissions, and answers to what this node opened.
//! It sits behind decryption, so every engine shares it, and never judges what leaves beyond remembering it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use crate::config::Protocol;
use crate::flow::{FlowKey, FlowTable};
use crate::ingress::Ingress;
use crate::packet::{Headers, Quoted, TcpFlags, Transport, Unjudged};
use crate::peer::PeerIndex;
use crate::status::FilterCounters;

pub(crate) struct Filter {
    own: BTreeSet<IpAddr>,
    flows: FlowTable,
    counters: FilterCounters,
}

/// What becomes of a packet that a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This permission of the peer covers it.
    Rule(usize),
    /// It answers something that this node opened.
    Answer,
    Refused(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No permission covers it.
    Default,
    /// Its destination is not this node.
    NotOurs,
    Unjudged(Unjudged),
}

impl Filter {
    pub(crate) fn new(own: BTreeSet<IpAddr>) -> Self {
        Self {
            own,
            flows: FlowTable::new(MAX_CONNECTIONS),
            counters: FilterCounters::default(),
        }
    }

    pub(crate) fn counters(&self) -> FilterCounters {
        FilterCounters {
            flows_evicted: self.flows.evicted(),
            ..self.counters
        }
    }

    /// Remembers a packet that this node sends to `peer`, so that its answers may come back.
    pub(crate) fn leave(
        &mut self,
        peer: PeerIndex,
        ingress: &Ingress,
        packet: &[u8],
        now: Instant,
    ) {
        let Ok(headers) = Headers::parse(packet) else {
            return;
        };
        let Some((key, flags)) = conversation(peer, &headers, Side::Source) else {
            return;
        };
        let opens = match (key.protocol, flags) {
            (Protocol::Tcp, Some(flags)) => flags.syn && !flags.ack && flags.are_sensible(),
            // Only requests leave as a conversation, and a permitted request is another one than ours.
            (Protocol::Icmp, _) => true,
            // An answer to a permitted request must not become a permission that outlives the rule.
            _ if ingress.covering(key.protocol, key.local.1).is_some() => {
                self.flows.answer(key, now);
                return;
            }
            _ => !self.flows.is_theirs(&key, now),
        };
        if opens {
            self.flows.open(key, now);
        } else {
            self.flows.leave(key, flags, now);
        }
    }

    /// Judges a packet that came from `peer`, whose source address is known to belong to it, and counts the verdict.
    pub(crate) fn enter(
        &mut self,
        peer: PeerIndex,
        ingress: &mut Ingress,
        packet: &[u8],
        now: Instant,
    ) -> Verdict {
        let verdict = self.judge(peer, ingress, packet, now);
        self.count(ingress, verdict);
        verdict
    }

    /// Judges and counts a TCP connection that a peer opens by another way than packets, as its first packet would be judged.
    pub(crate) fn enter_stream(&mut self, ingress: &mut Ingress, port: u16) -> Verdict {
        let rule = ingress.covering(Protocol::Tcp, port);
        let verdict = rule.map_or(Verdict::Refused(Refusal::Default), Verdict::Rule);
        self.count(ingress, verdict);
        verdict
    }

    /// Counts a verdict that was given, or that holds once more because a packet continues another.
    pub(crate) fn count(&mut self, ingress: &mut Ingress, verdict: Verdict) {
        ingress.count(verdict);
        match verdict {
            Verdict::Rule(_) => self.counters.admitted_by_rule += 1,
            Verdict::Answer => self.counters.admitted_as_answer += 1,
            Verdict::Refused(refusal) => self.counters.refused.count(refusal),
        }
    }

    pub(crate) fn forget_peer(&mut self, peer: PeerIndex) {
        self.flows.forget_peer(peer);
    }

    fn judge(
        &mut self,
        peer: PeerIndex,
        ingress: &Ingress,
        packet: &[u8],
        now: Instant,
    ) -> Verdict {
        let headers = match Headers::parse(packet) {
            Ok(headers) => headers,
            Err(reason) => return Verdict::Refused(Refusal::Unjudged(reason)),
        };
        if !self.own.contains(&headers.destination) {
            return Verdict::Refused(Refusal::NotOurs);
        }
        let answers = match headers.transport {
            // It comes back to where the packet it quotes came from.
            Transport::IcmpError { about } => about.is_some_and(|quoted| {
                quoted.source == headers.destination
                    && self.flows.knows(quoted_flow(peer, &quoted), now)
            }),
            Transport::EchoRequest { .. } => false,
            // A bare SYN opens a connection; it answers nothing.
            Transport::Tcp { flags, .. } if flags.syn && !flags.ack => false,
            Transport::Tcp { flags, .. } if !flags.are_sensible() => false,
            _ => conversation(peer, &headers, Side::Destination)
                .is_some_and(|(key, flags)| self.flows.admit(key, flags, now)),
        };
        if answers {
            return Verdict::Answer;
        }
        let rule = match headers.transport {
            Transport::Tcp { ports, .. } => ingress.covering(Protocol::Tcp, ports.destination),
            Transport::Udp(ports) => ingress.covering(Protocol::Udp, ports.destination),
            Transport::EchoRequest { id } => ingress.covering(Protocol::Icmp, id),
            Transport::EchoReply { .. } | Transport::IcmpError { .. } | Transport::Other => None,
        };
        let Some(rule) = rule else {
            return Verdict::Refused(Refusal::Default);
        };
        // It stays the peer's when the permission goes before this node answers.
        if matches!(headers.transport, Transport::Udp(_))
            && let Some((key, _)) = conversation(peer, &headers, Side::Destination)
        {
            self.flows.ask(key, now);
        }
        Verdict::Rule(rule)
    }
}

/// Which side of a packet is this node.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

fn conversation(
    peer: PeerIndex,
    headers: &Headers,
    us: Side,
) -> Option<(FlowKey, Option<TcpFlags>)> {
    let (protocol, source_port, destination_port, flags) = match headers.transport {
        Transport::Tcp { ports, flags } => {
            (Protocol::Tcp, ports.source, ports.destination, Some(flags))
        }
        Transport::Udp(ports) => (Protocol::Udp, ports.source, ports.destination, None),
        Transport::EchoRequest { id } | Transport::EchoReply { id } => {
            (Protocol::Icmp, id, id, None)
        }
        Transport::IcmpError { .. } | Transport::Other => return None,
    };
    if matches!(
        (headers.transport, us),
        (Transport::EchoReply { .. }, Side::Source)
    ) {
        return None;
    }
    let source = (headers.source, source_port);
    let destination = (headers.destination, destination_port);
    let (local, remote) = match us {
        Side::Source => (source, destination),
        Side::Destination => (destination, source),
    };
    let key = FlowKey {
        peer,
        protocol,
        local,
        remote,
    };
    Some((key, flags))
}

fn quoted_flow(peer: PeerIndex, quoted: &Quoted) -> FlowKey {
    FlowKey {
        peer,
        protocol: quoted.protocol,
        local: (quoted.source, quoted.ports.source),
        remote: (quoted.destination, quoted.ports.destination),
    }
}

/// TCP connections of this node that are remembered at a time, over all peers: more than one balancer may have, and more than a
/// node's agent has descriptors for. One that is forgotten stands still, since only its SYN would bring it back.
const MAX_CONNECTIONS: usize = 131_072;

#[cfg(test)]
pub(crate) mod tests;
