//! What the packet filter did for one peer: what each permission admitted, and why packets went no further. It only says it;
//! the tunnel counts.

use malha_proto::{Allow, Protocol};
use malha_tunnel::PeerDrops;
use serde::{Deserialize, Serialize};

use crate::plane::PeerView;
use crate::text::{self, Lang, drops};

/// The filter's counts of one peer, since the tunnel started or the peer was added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterStatus {
    /// What the peer may open on this machine, in the filter's order: the first that covers a packet admits it.
    pub allowed: Vec<AllowedStatus>,
    /// Packets that answered something this machine opened.
    pub answers: u64,
    pub dropped: DropStatus,
}

/// One permission of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedStatus {
    pub protocol: Protocol,
    /// Both 0 for ICMP.
    pub from_port: u16,
    pub to_port: u16,
    /// Packets that it admitted.
    pub packets: u64,
}

/// Packets of a peer, or for it, that went no further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DropStatus {
    /// No permission covers it.
    pub no_rule: u64,
    /// Its destination is not this machine.
    pub not_ours: u64,
    pub malformed: u64,
    pub fragment: u64,
    /// IPv4 options or an IPv6 extension header.
    pub extension: u64,
    /// The source address is not the peer's.
    pub spoofed: u64,
    /// Forged, repeated, or for a session that is gone.
    pub unopened: u64,
    /// For the peer, whose address is not known.
    pub no_endpoint: u64,
    pub too_large: u64,
}

impl FilterStatus {
    pub(super) fn new(view: &PeerView) -> Self {
        let allowed = |(allow, packets): &(Allow, u64)| AllowedStatus {
            protocol: allow.protocol,
            from_port: allow.from_port,
            to_port: allow.to_port,
            packets: *packets,
        };
        Self {
            allowed: view.allowed.iter().map(allowed).collect(),
            answers: view.answers,
            dropped: DropStatus::new(&view.drops),
        }
    }

    /// One line for what passed and one for what did not; neither where there is nothing to say.
    pub(super) fn lines(&self, lang: Lang) -> Vec<String> {
        let mut passed: Vec<String> = self
            .allowed
            .iter()
            .take(MAX_ALLOWED_SHOWN)
            .map(|allowed| format!("{}: {}", allowed.what(), allowed.packets))
            .collect();
        if self.allowed.len() > MAX_ALLOWED_SHOWN {
            let more = self.allowed.len() - MAX_ALLOWED_SHOWN;
            passed.push(text::status_more(lang, more));
        }
        if self.answers > 0 {
            passed.push(text::status_answers(lang, self.answers));
        }
        let mut lines = vec![];
        if !passed.is_empty() {
            lines.push(text::status_allowed(lang, passed.join(", ")));
        }
        let (dropped, reasons) = reasons(&self.dropped.counts(), lang);
        if dropped > 0 {
            lines.push(drops::of_peer(lang, dropped, reasons));
        }
        lines
    }
}

impl AllowedStatus {
    fn what(&self) -> String {
        match (self.protocol, self.from_port, self.to_port) {
            (Protocol::Icmp, _, _) => "icmp".into(),
            (protocol, from, to) => {
                let name = match protocol {
                    Protocol::Udp => "udp",
                    _ => "tcp",
                };
                match from == to {
                    true => format!("{name} {from}"),
                    false => format!("{name} {from}-{to}"),
                }
            }
        }
    }
}

impl DropStatus {
    fn new(drops: &PeerDrops) -> Self {
        Self {
            no_rule: drops.filtered.no_rule,
            not_ours: drops.filtered.not_ours,
            malformed: drops.filtered.malformed,
            fragment: drops.filtered.fragment,
            extension: drops.filtered.extension,
            spoofed: drops.spoofed,
            unopened: drops.unopened,
            no_endpoint: drops.no_endpoint,
            too_large: drops.too_large,
        }
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts().iter().map(|(count, _)| count).sum()
    }

    fn counts(&self) -> [(u64, Reason); 9] {
        [
            (self.no_rule, drops::no_rule),
            (self.not_ours, drops::not_ours),
            (self.malformed, drops::malformed),
            (self.fragment, drops::fragment),
            (self.extension, drops::extension),
            (self.spoofed, drops::spoofed),
            (self.unopened, drops::unopened),
            (self.no_endpoint, drops::no_endpoint),
            (self.too_large, drops::too_large),
        ]
    }
}

/// How many packets were dropped, and a list of the reasons that there were.
pub(super) fn reasons(counts: &[(u64, Reason)], lang: Lang) -> (u64, String) {
    let happened = counts.iter().filter(|(count, _)| *count > 0);
    let named: Vec<String> = happened
        .map(|(count, reason)| format!("{}: {count}", reason(lang)))
        .collect();
    let total = counts.iter().map(|(count, _)| count).sum();
    (total, named.join(", "))
}

/// A reason's name in a language.
pub(super) type Reason = fn(Lang) -> String;

/// The page for people names this many permissions of a peer; the document has all.
const MAX_ALLOWED_SHOWN: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(protocol: Protocol, ports: (u16, u16), packets: u64) -> AllowedStatus {
        AllowedStatus {
            protocol,
            from_port: ports.0,
            to_port: ports.1,
            packets,
        }
    }

    #[test]
    fn a_peer_says_what_it_may_open_and_why_packets_were_dropped() {
        let status = FilterStatus {
            allowed: vec![
                allowed(Protocol::Tcp, (80, 80), 12),
                allowed(Protocol::Udp, (5_000, 5_010), 0),
                allowed(Protocol::Icmp, (0, 0), 3),
            ],
            answers: 7,
            dropped: DropStatus {
                no_rule: 2,
                spoofed: 1,
                ..DropStatus::default()
            },
        };
        assert_eq!(
            status.lines(Lang::En),
            [
                "    may open (packets): tcp 80: 12, udp 5000-5010: 0, icmp: 3, answers: 7",
                "    packets dropped: 3 (no permission: 2, source address of another: 1)",
            ]
        );
        assert_eq!(
            status.lines(Lang::Pt)[1],
            "    pacotes descartados: 3 (sem permissão: 2, endereço de origem de outra: 1)"
        );
    }

    #[test]
    fn a_peer_that_may_nothing_and_lost_nothing_says_nothing() {
        assert!(FilterStatus::default().lines(Lang::En).is_empty());
    }

    #[test]
    fn many_permissions_stay_one_short_line() {
        let status = FilterStatus {
            allowed: (1..=200)
                .map(|port| allowed(Protocol::Tcp, (port, port), 1))
                .collect(),
            ..FilterStatus::default()
        };
        let lines = status.lines(Lang::En);
        assert!(lines[0].ends_with("tcp 6: 1, 194 more"), "{lines:?}");
    }
}
