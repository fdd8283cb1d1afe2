//! Changes of a table that is in force: any number of peers in one script, which says only what is different in the end. It
//! never decides when a script is long enough.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{PeerNumber, Ruleset, TooManyPeers, counters, is_host, line};
use crate::config::PeerConfig;
use crate::key::PublicKey;

/// Peers that were set and forgotten since the last script was written.
#[derive(Default)]
pub(crate) struct Change {
    /// Whose chains the packets of these prefixes took before.
    before: BTreeMap<IpNet, Option<PeerNumber>>,
    chains: String,
    /// Chains that can go when no packet takes them any more.
    gone: String,
}

impl Change {
    /// What its script will have, networks aside: those are written all if one of them moves.
    pub(crate) fn bytes(&self) -> usize {
        self.chains.len() + self.gone.len() + self.before.len() * MOVE_BYTES
    }
}

impl Ruleset {
    /// Whether a peer would have less than it has: a rule fewer, or a prefix.
    pub(crate) fn cuts(&self, config: &PeerConfig) -> bool {
        let Some(peer) = self.peers.get(&config.public_key) else {
            return false;
        };
        let wanted = counters(peer.number, &config.ingress);
        !peer.counters.is_subset(&wanted) || !self.lost(config).is_empty()
    }

    /// Adds a peer or changes it; what it has been and stays keeps its counts and its flows.
    pub(crate) fn set_peer(
        &mut self,
        config: &PeerConfig,
        change: &mut Change,
    ) -> Result<(), TooManyPeers> {
        let key = config.public_key;
        self.make_room(key)?;
        for prefix in self.lost(config) {
            self.give(prefix, None, change);
        }
        let prefixes: BTreeSet<IpNet> = config.allowed_ips.iter().map(IpNet::trunc).collect();
        for prefix in &prefixes {
            self.give(*prefix, Some(key), change);
        }
        let Some(peer) = self.peers.get_mut(&key) else {
            return Ok(());
        };
        peer.prefixes = prefixes;
        if !peer.counters.is_empty() && peer.ingress == config.ingress {
            return Ok(());
        }
        peer.ingress.clone_from(&config.ingress);
        let wanted = counters(peer.number, &config.ingress);
        let before = std::mem::replace(&mut peer.counters, wanted.clone());
        for name in wanted.difference(&before) {
            if !self.idle.remove(name) {
                let new = format_args!("add counter inet {} {name}", self.table);
                line(&mut change.chains, new);
            }
        }
        self.idle.extend(before.difference(&wanted).cloned());
        self.write_chains(&mut change.chains, &self.peers[&key]);
        Ok(())
    }

    /// Forgets a peer, if there is one.
    pub(crate) fn remove_peer(&mut self, key: &PublicKey, change: &mut Change) {
        for prefix in self.lost(&PeerConfig::new(*key)) {
            self.give(prefix, None, change);
        }
        let Some(peer) = self.peers.remove(key) else {
            return;
        };
        for chain in ["i", "o"] {
            let gone = format_args!("delete chain inet {} {chain}{}", self.table, peer.number);
            line(&mut change.gone, gone);
        }
        self.idle.extend(peer.counters);
    }

    /// One transaction; empty if nothing is different.
    pub(crate) fn script(&self, change: &Change) -> String {
        let owner = |prefix| self.peers.get(self.owners.get(prefix)?);
        let moved = change.before.iter().filter_map(|(prefix, before)| {
            let now = owner(prefix).map(|peer| peer.number);
            (*before != now).then_some((prefix, *before, now))
        });
        let moved: Vec<_> = moved.collect();
        let nets_move = moved.iter().any(|(prefix, ..)| !is_host(prefix));
        let mut text = String::new();
        for (prefix, before, _) in &moved {
            if let Some(before) = before {
                self.write_host(&mut text, "delete", prefix, *before);
            }
        }
        if nets_move {
            self.flush_nets(&mut text);
        }
        text += &change.chains;
        text += &change.gone;
        for (prefix, _, now) in &moved {
            if let Some(now) = now {
                self.write_host(&mut text, "add", prefix, *now);
            }
        }
        if nets_move {
            self.write_nets(&mut text);
        }
        text
    }

    /// Counters that exist though no rule has them any more.
    pub(crate) fn idle(&self) -> &BTreeSet<String> {
        &self.idle
    }

    /// What the kernel has until they are swept.
    pub(crate) fn whole_with_idle(&self) -> String {
        let mut text = self.whole();
        for name in &self.idle {
            line(
                &mut text,
                format_args!("add counter inet {} {name}", self.table),
            );
        }
        text
    }

    /// The end of the idle counters.
    pub(crate) fn sweep(&self) -> String {
        let mut text = String::new();
        for name in &self.idle {
            let gone = format_args!("delete counter inet {} {name}", self.table);
            line(&mut text, gone);
        }
        text
    }

    /// The kernel has no idle counters any more.
    pub(crate) fn take_idle(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.idle)
    }

    /// What a peer has and would not have.
    fn lost(&self, config: &PeerConfig) -> Vec<IpNet> {
        let key = &config.public_key;
        let wanted: BTreeSet<IpNet> = config.allowed_ips.iter().map(IpNet::trunc).collect();
        let given = self.peers.get(key).map(|peer| &peer.prefixes);
        let lost = given
            .into_iter()
            .flatten()
            .filter(|it| !wanted.contains(it));
        let lost = lost.filter(|it| self.owners.get(it) == Some(key));
        lost.copied().collect()
    }

    fn give(&mut self, prefix: IpNet, to: Option<PublicKey>, change: &mut Change) {
        let before = match to {
            Some(key) => self.owners.insert(prefix, key),
            None => self.owners.remove(&prefix),
        };
        if before != to {
            let before = before.and_then(|key| self.peers.get(&key));
            let before = before.map(|peer| peer.number);
            change.before.entry(prefix).or_insert(before);
        }
    }

    fn flush_nets(&self, text: &mut String) {
        for map in ["zone", "from", "to"] {
            for family in ["4", "6"] {
                let flush = format_args!("flush map inet {} {map}_net{family}", self.table);
                line(text, flush);
            }
        }
    }
}

/// Six lines of a script, for an address that goes from one peer to another.
const MOVE_BYTES: usize = 512;
