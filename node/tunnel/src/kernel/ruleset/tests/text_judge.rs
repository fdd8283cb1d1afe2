//! The model of docs/SECURITY.md, and who a packet's sender is by the plainest reading.

use std::net::IpAddr;

use super::own;
use super::packets::Step;
use crate::config::{Allow, PeerConfig, Protocol};
use crate::filter::tests::model::{ICMP, Judgement, Model, Rule, TCP, UDP};

pub(super) struct TextJudge {
    model: Model,
    now_s: u64,
}

impl TextJudge {
    pub(super) fn new(peers: &[PeerConfig]) -> Self {
        let rules = peers.iter().map(rules).collect();
        let model = Model::new(own().into_iter().collect(), rules);
        Self { model, now_s: 0 }
    }

    /// The same peers with other permissions.
    pub(super) fn set_peers(&mut self, peers: &[PeerConfig]) {
        for (number, peer) in peers.iter().enumerate() {
            self.model.change(number, rules(peer));
        }
    }

    pub(super) fn wait(&mut self, wait_s: u32) {
        self.now_s += u64::from(wait_s);
    }

    pub(super) fn admits(&mut self, step: &Step, packet: &[u8]) -> bool {
        let Some(peer) = owner(step.remote) else {
            return step.leaving;
        };
        if step.leaving {
            self.model.leave(peer, packet, self.now_s);
            return true;
        }
        let judgement = self.model.enter(peer, packet, self.now_s);
        !matches!(judgement, Judgement::Refused(_))
    }
}

fn rules(peer: &PeerConfig) -> Vec<Rule> {
    let protocol = |allow: &Allow| match allow.protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Icmp => ICMP,
    };
    let rules = peer.ingress.iter();
    rules
        .map(|allow| (protocol(allow), allow.ports.clone()))
        .collect()
}

/// The longest prefix that holds the address.
fn owner(address: IpAddr) -> Option<usize> {
    let text = address.to_string();
    match text.as_str() {
        "100.64.0.2" | "fd00::2" | "100.64.9.9" | "fd00:9::9" => Some(0),
        "100.64.0.3" | "fd00::3" => Some(1),
        _ if text.starts_with("100.64.9.") || text.starts_with("fd00:9::") => Some(2),
        _ => None,
    }
}
