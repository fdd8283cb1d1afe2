//! The ingress filter as nftables text: what `filter.rs` judges in the process, the kernel judges by this table. It only
//! writes the text; it never runs it.
//!
//! | chain | hook | does |
//! |---|---|---|
//! | `gate` | before defragmentation | refuses what can't be judged or is not ours, puts the peer's traffic in a conntrack zone |
//! | `judge` | after conntrack, before DNAT | answers, then the peer's chain `iN`, then nothing |
//! | `through` | before conntrack | the same zone for what others send through this machine to a peer |
//! | `depart` | output, before conntrack | the same zone for what this machine sends |
//! | `leave` | after SNAT | the peer's chain `oN` labels what this node opens |
//!
//! An answer needs the label: conntrack also adopts the middle of a connection, which would make our own repetition a
//! permission. A zone belongs to one peer, so its flows die with it, also when its address goes to another.

mod change;
mod frame;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::prefixes::disjoint;
use crate::config::{Allow, Protocol};
use crate::flow::{TCP_EDGE_IDLE, TCP_OPEN_IDLE, UDP_IDLE};
use crate::key::PublicKey;
pub(crate) use change::Change;
use frame::FRAME;

/// What the table is now, and the text of each change to it.
pub(crate) struct Ruleset {
    table: String,
    interface: String,
    own: BTreeSet<IpAddr>,
    peers: BTreeMap<PublicKey, Peer>,
    owners: BTreeMap<IpNet, PublicKey>,
    next: PeerNumber,
    /// Counters that exist though no rule has them any more.
    idle: BTreeSet<String>,
}

type PeerNumber = u32;

struct Peer {
    number: PeerNumber,
    /// As it was last set; another may have been given some since.
    prefixes: BTreeSet<IpNet>,
    ingress: Vec<Allow>,
    /// One for each distinct rule; none before the peer's rules are written.
    counters: BTreeSet<String>,
}

/// No conntrack zone is left for another peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyPeers;

impl Ruleset {
    pub(crate) fn new(interface: &str, own: BTreeSet<IpAddr>) -> Self {
        Self {
            table: table(interface),
            interface: interface.into(),
            own,
            peers: BTreeMap::new(),
            owners: BTreeMap::new(),
            next: 1,
            idle: BTreeSet::new(),
        }
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// The peer with the longest prefix that holds the address.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<PublicKey> {
        let longest = IpNet::from(address).prefix_len();
        let prefixes = (0..=longest).rev();
        let mut prefixes = prefixes.filter_map(|length| IpNet::new(address, length).ok());
        prefixes.find_map(|prefix| self.owners.get(&prefix.trunc()).copied())
    }

    /// Whether nobody else was given this very prefix since the peer was.
    pub(crate) fn owns(&self, key: &PublicKey, prefix: &IpNet) -> bool {
        self.owners.get(&prefix.trunc()) == Some(key)
    }

    /// The names of a peer's counters: of what no rule permits, and of one rule.
    pub(crate) fn refusals(&self, key: &PublicKey) -> Option<String> {
        let peer = self.peers.get(key)?;
        Some(refusals(peer.number))
    }

    pub(crate) fn admitted(&self, key: &PublicKey, allow: &Allow) -> Option<String> {
        let peer = self.peers.get(key)?;
        Some(counter(peer.number, allow))
    }

    /// The whole table in place of whatever is there under its name.
    pub(crate) fn whole(&self) -> String {
        let mut text = self.empty();
        text += &self.frame();
        for peer in self.peers.values() {
            for counter in &peer.counters {
                line(
                    &mut text,
                    format_args!("add counter inet {} {counter}", self.table),
                );
            }
            self.write_chains(&mut text, peer);
        }
        for (prefix, owner) in &self.owners {
            if let Some(peer) = self.peers.get(owner) {
                self.write_host(&mut text, "add", prefix, peer.number);
            }
        }
        self.write_nets(&mut text);
        text
    }

    /// Gives a new peer a number and a zone that no flow remembers.
    fn make_room(&mut self, key: PublicKey) -> Result<(), TooManyPeers> {
        if self.peers.contains_key(&key) {
            return Ok(());
        }
        if self.peers.len() >= MAX_PEERS {
            return Err(TooManyPeers);
        }
        while (self.peers.values()).any(|peer| zone(peer.number) == zone(self.next)) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let peer = Peer {
            number,
            prefixes: BTreeSet::new(),
            ingress: Vec::new(),
            counters: BTreeSet::new(),
        };
        self.peers.insert(key, peer);
        Ok(())
    }

    /// A new table with the peers' chains: nft sends the elements of an interval map together with the map, if one script has
    /// both, and so before chains that come after it.
    fn empty(&self) -> String {
        let table = &self.table;
        let mut text = String::new();
        line(&mut text, format_args!("add table inet {table}"));
        line(&mut text, format_args!("delete table inet {table}"));
        line(&mut text, format_args!("add table inet {table}"));
        for peer in self.peers.values() {
            for chain in ["i", "o"] {
                let number = peer.number;
                line(
                    &mut text,
                    format_args!("add chain inet {table} {chain}{number}"),
                );
            }
        }
        text
    }

    fn frame(&self) -> String {
        // A family without an own address takes nothing: the unspecified address is never on a wire.
        let own = |ipv4: bool, nobody: &str| {
            let own = self.own.iter().filter(|ip| ip.is_ipv4() == ipv4);
            let own: Vec<_> = own.map(IpAddr::to_string).collect();
            match own.is_empty() {
                true => nobody.to_owned(),
                false => own.join(", "),
            }
        };
        FRAME
            .replace("UDP_IDLE", &UDP_IDLE.as_secs().to_string())
            .replace("TCP_OPEN", &TCP_OPEN_IDLE.as_secs().to_string())
            .replace("TCP_EDGE", &TCP_EDGE_IDLE.as_secs().to_string())
            .replace("TABLE", &self.table)
            .replace("INTERFACE", &self.interface)
            .replace("OWN4", &own(true, "0.0.0.0"))
            .replace("OWN6", &own(false, "::"))
            .replace("LABEL", OPENED_LABEL)
    }

    /// The peer's rules in place of those that it had; their counters are there.
    fn write_chains(&self, text: &mut String, peer: &Peer) {
        let (table, number) = (&self.table, peer.number);
        for chain in ["i", "o"] {
            line(text, format_args!("add chain inet {table} {chain}{number}"));
            line(
                text,
                format_args!("flush chain inet {table} {chain}{number}"),
            );
        }
        let mut rule = |chain: &str, rule: &str| {
            line(
                text,
                format_args!("add rule inet {table} {chain}{number} {rule}"),
            );
        };
        for allow in &peer.ingress {
            let counter = counter(number, allow);
            for matched in matches(allow, "dport") {
                rule("i", &format!("{matched} counter name \"{counter}\" accept"));
            }
            // An answer to a permitted request must not become a permission that outlives the rule.
            if allow.protocol == Protocol::Udp {
                for matched in matches(allow, "sport") {
                    rule("o", &format!("{matched} accept"));
                }
            }
        }
        rule("i", &format!("counter name \"{}\" drop", refusals(number)));
        for opened in OPENED {
            rule("o", &format!("{opened} ct label set {OPENED_LABEL}"));
        }
    }

    fn write_host(&self, text: &mut String, verb: &str, prefix: &IpNet, number: PeerNumber) {
        if is_host(prefix) {
            let element = prefix.addr().to_string();
            self.write_elements(text, verb, "host", &element, *prefix, number);
        }
    }

    /// All prefixes that are no single address: cut so that the longest decides, since nftables knows no overlap.
    fn write_nets(&self, text: &mut String) {
        let nets = self.owners.iter().filter(|(prefix, _)| !is_host(prefix));
        let number = |owner| self.peers.get(owner).map(|peer| peer.number);
        let nets = nets.filter_map(|(prefix, owner)| Some((*prefix, number(owner)?)));
        let nets: Vec<_> = nets.collect();
        for (prefix, number) in disjoint(&nets) {
            let element = prefix.to_string();
            self.write_elements(text, "add", "net", &element, prefix, number);
        }
    }

    fn write_elements(
        &self,
        text: &mut String,
        verb: &str,
        kind: &str,
        element: &str,
        prefix: IpNet,
        number: PeerNumber,
    ) {
        let table = &self.table;
        let family = if prefix.addr().is_ipv4() { 4 } else { 6 };
        for (map, data) in [
            ("zone", zone(number).to_string()),
            ("from", format!("jump i{number}")),
            ("to", format!("jump o{number}")),
        ] {
            let map = format!("{map}_{kind}{family}");
            let element =
                format_args!("{verb} element inet {table} {map} {{ {element} : {data} }}");
            line(text, element);
        }
    }
}

fn zone(number: PeerNumber) -> u16 {
    FIRST_ZONE + (number % ZONES) as u16
}

/// The name of an interface's table.
pub(crate) fn table(interface: &str) -> String {
    format!("malha_{interface}")
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "{line}");
}

fn is_host(prefix: &IpNet) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len()
}

fn matches(allow: &Allow, port: &str) -> Vec<String> {
    let protocol = match allow.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => {
            return vec![
                "icmp type echo-request".into(),
                "icmpv6 type echo-request".into(),
            ];
        }
    };
    let (first, last) = (*allow.ports.start(), *allow.ports.end());
    match (first, last) {
        // nftables refuses a range that is everything.
        (0, u16::MAX) => vec![format!("meta l4proto {protocol}")],
        _ if first > last => Vec::new(),
        _ if first == last => vec![format!("{protocol} {port} {first}")],
        _ => vec![format!("{protocol} {port} {first}-{last}")],
    }
}

/// The counter of one rule; named by what it permits, so that it outlives changes of its neighbours.
fn counter(number: PeerNumber, allow: &Allow) -> String {
    let (first, last) = (allow.ports.start(), allow.ports.end());
    match allow.protocol {
        Protocol::Tcp => format!("r{number}_tcp_{first}_{last}"),
        Protocol::Udp => format!("r{number}_udp_{first}_{last}"),
        Protocol::Icmp => format!("r{number}_icmp"),
    }
}

fn counters(number: PeerNumber, ingress: &[Allow]) -> BTreeSet<String> {
    let rules = ingress.iter().map(|allow| counter(number, allow));
    rules.chain([refusals(number)]).collect()
}

fn refusals(number: PeerNumber) -> String {
    format!("d{number}")
}

/// What makes this node the opener of a flow; of TCP only a SYN comes this far.
const OPENED: [&str; 4] = [
    "meta l4proto tcp",
    "meta l4proto udp",
    "icmp type echo-request",
    "icmpv6 type echo-request",
];

/// The conntrack label (0 to 127) of a flow that this node opened.
const OPENED_LABEL: &str = "77";
/// Zones below are left to the machine's other users of conntrack.
const FIRST_ZONE: u16 = 0x4000;
const ZONES: u32 = 0xC000;
/// Fewer than zones, so that a zone rests before it is used again.
pub(crate) const MAX_PEERS: usize = 32_768;

#[cfg(test)]
mod tests;
