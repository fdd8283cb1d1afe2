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

mod frame;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::prefixes::disjoint;
use crate::config::{Allow, PeerConfig, Protocol};
use crate::flow::{TCP_EDGE_IDLE, TCP_OPEN_IDLE, UDP_IDLE};
use crate::key::PublicKey;
use frame::FRAME;

/// What the table is now, and the text of each change to it.
pub(crate) struct Ruleset {
    table: String,
    interface: String,
    own: BTreeSet<IpAddr>,
    peers: BTreeMap<PublicKey, Peer>,
    owners: BTreeMap<IpNet, PublicKey>,
    next: PeerNumber,
}

type PeerNumber = u32;

struct Peer {
    number: PeerNumber,
    zone: u16,
    ingress: Vec<Allow>,
    /// The counters that exist, one for each distinct rule.
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

    /// The names of all counters of a peer.
    pub(crate) fn counters(&self, key: &PublicKey) -> BTreeSet<String> {
        let peer = self.peers.get(key);
        peer.map(|peer| peer.counters.clone()).unwrap_or_default()
    }

    /// The whole table in place of whatever is there under its name.
    pub(crate) fn whole(&self) -> String {
        let mut text = self.empty();
        text += &self.frame();
        for peer in self.peers.values() {
            self.write_chains(&mut text, peer, &BTreeSet::new());
        }
        for (prefix, owner) in &self.owners {
            self.write_host(&mut text, "add", *prefix, owner);
        }
        self.write_nets(&mut text);
        text
    }

    /// Adds a peer or changes it; what it has been and stays keeps its counts and its flows.
    pub(crate) fn set_peer(&mut self, config: &PeerConfig) -> Result<String, TooManyPeers> {
        let key = config.public_key;
        self.make_room(key)?;
        let mut text = String::new();
        let wanted: BTreeSet<IpNet> = config.allowed_ips.iter().map(IpNet::trunc).collect();
        let is_lost =
            |prefix: &IpNet, owner: &PublicKey| (*owner == key) != wanted.contains(prefix);
        let lost: Vec<_> = self
            .owners
            .iter()
            .filter(|(prefix, owner)| is_lost(prefix, owner))
            .map(|(prefix, owner)| (*prefix, *owner))
            .collect();
        for (prefix, owner) in &lost {
            self.owners.remove(prefix);
            self.write_host(&mut text, "delete", *prefix, owner);
        }
        let is_new = |prefix: &&IpNet| self.owners.get(*prefix) != Some(&key);
        let gained: Vec<IpNet> = wanted.iter().filter(is_new).copied().collect();
        self.owners
            .extend(gained.iter().map(|prefix| (*prefix, key)));
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.ingress.clone_from(&config.ingress);
            let wanted = counters(peer.number, &config.ingress);
            let before = std::mem::replace(&mut peer.counters, wanted);
            self.write_chains(&mut text, &self.peers[&key], &before);
        }
        for prefix in &gained {
            self.write_host(&mut text, "add", *prefix, &key);
        }
        let lost = lost.iter().map(|(prefix, _)| prefix);
        if !lost.chain(&gained).all(is_host) {
            self.write_nets(&mut text);
        }
        Ok(text)
    }

    /// Forgets a peer; empty if there was none.
    pub(crate) fn remove_peer(&mut self, key: &PublicKey) -> String {
        let mut text = String::new();
        let (lost, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.owners)
            .into_iter()
            .partition(|(_, owner)| owner == key);
        self.owners = kept;
        for prefix in lost.keys() {
            self.write_host(&mut text, "delete", *prefix, key);
        }
        if !lost.keys().all(is_host) {
            self.write_nets(&mut text);
        }
        let Some(peer) = self.peers.remove(key) else {
            return text;
        };
        let (table, number) = (&self.table, peer.number);
        for chain in ["i", "o"] {
            let gone = format_args!("delete chain inet {table} {chain}{number}");
            line(&mut text, gone);
        }
        for counter in &peer.counters {
            let gone = format_args!("delete counter inet {table} {counter}");
            line(&mut text, gone);
        }
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
        let zone_of = |number: PeerNumber| FIRST_ZONE + (number % ZONES) as u16;
        while self
            .peers
            .values()
            .any(|peer| peer.zone == zone_of(self.next))
        {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let peer = Peer {
            number,
            zone: zone_of(number),
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

    fn write_chains(&self, text: &mut String, peer: &Peer, before: &BTreeSet<String>) {
        let (table, number) = (&self.table, peer.number);
        for chain in ["i", "o"] {
            line(text, format_args!("add chain inet {table} {chain}{number}"));
            line(
                text,
                format_args!("flush chain inet {table} {chain}{number}"),
            );
        }
        for gone in before.difference(&peer.counters) {
            line(text, format_args!("delete counter inet {table} {gone}"));
        }
        for new in peer.counters.difference(before) {
            line(text, format_args!("add counter inet {table} {new}"));
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

    fn write_host(&self, text: &mut String, verb: &str, prefix: IpNet, owner: &PublicKey) {
        if is_host(&prefix) {
            let element = prefix.addr().to_string();
            self.write_elements(
                text,
                &format!("{verb} element"),
                "host",
                &element,
                prefix,
                owner,
            );
        }
    }

    /// All prefixes that are no single address: cut so that the longest decides, since nftables knows no overlap.
    fn write_nets(&self, text: &mut String) {
        let table = &self.table;
        for map in ["zone", "from", "to"] {
            for family in ["4", "6"] {
                let flush = format_args!("flush map inet {table} {map}_net{family}");
                line(text, flush);
            }
        }
        let nets = self.owners.iter().filter(|(prefix, _)| !is_host(prefix));
        let nets: Vec<_> = nets.map(|(prefix, owner)| (*prefix, *owner)).collect();
        for (prefix, owner) in disjoint(&nets) {
            let element = prefix.to_string();
            self.write_elements(text, "add element", "net", &element, prefix, &owner);
        }
    }

    fn write_elements(
        &self,
        text: &mut String,
        verb: &str,
        kind: &str,
        element: &str,
        prefix: IpNet,
        owner: &PublicKey,
    ) {
        let Some(peer) = self.peers.get(owner) else {
            return;
        };
        let (table, zone, number) = (&self.table, peer.zone, peer.number);
        let family = if prefix.addr().is_ipv4() { 4 } else { 6 };
        for (map, data) in [
            ("zone", zone.to_string()),
            ("from", format!("jump i{number}")),
            ("to", format!("jump o{number}")),
        ] {
            let map = format!("{map}_{kind}{family}");
            let element = format_args!("{verb} inet {table} {map} {{ {element} : {data} }}");
            line(text, element);
        }
    }
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
const MAX_PEERS: usize = 32_768;

#[cfg(test)]
mod tests;
