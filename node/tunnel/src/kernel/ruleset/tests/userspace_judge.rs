//! The filter as the device asks it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::packets::Step;
use crate::allowed_ips::AllowedIps;
use crate::config::PeerConfig;
use crate::filter::{Filter, Verdict};
use crate::ingress::Ingress;
use crate::packet::addresses;
use crate::peer::PeerIndex;

pub(super) struct UserspaceJudge {
    owners: AllowedIps,
    filter: Filter,
    ingress: Vec<Ingress>,
    now: Instant,
}

impl UserspaceJudge {
    pub(super) fn new(own: BTreeSet<IpAddr>, peers: &[PeerConfig]) -> Self {
        let mut owners = AllowedIps::default();
        for (number, peer) in (0..).zip(peers) {
            owners.assign(PeerIndex(number), &peer.allowed_ips);
        }
        let ingress = peers.iter().map(|peer| Ingress::new(&peer.ingress));
        Self {
            owners,
            filter: Filter::new(own),
            ingress: ingress.collect(),
            now: Instant::now(),
        }
    }

    /// The same peers with other permissions.
    pub(super) fn set_peers(&mut self, peers: &[PeerConfig]) {
        for (ingress, peer) in self.ingress.iter_mut().zip(peers) {
            ingress.change(&peer.ingress);
        }
    }

    pub(super) fn wait(&mut self, wait_s: u32) {
        self.now += Duration::from_secs(wait_s.into());
    }

    pub(super) fn admits(&mut self, step: &Step, packet: &[u8]) -> bool {
        let (source, destination) = addresses(packet).unwrap_or((step.remote, step.remote));
        let remote = if step.leaving { destination } else { source };
        let Some(peer) = self.owners.owner(remote) else {
            return step.leaving;
        };
        let ingress = &mut self.ingress[peer.0 as usize];
        match step.leaving {
            true => {
                self.filter.leave(peer, ingress, packet, self.now);
                true
            }
            false => {
                let verdict = self.filter.enter(peer, ingress, packet, self.now);
                matches!(verdict, Verdict::Rule(_) | Verdict::Answer)
            }
        }
    }
}
