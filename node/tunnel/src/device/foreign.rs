//! What a shard knows of the peers that live in others: which addresses are theirs, and which relay channels lead to them. It
//! holds no session and no key of theirs but the public one.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::config::PeerConfig;
use crate::key::PublicKey;
use crate::path::ChannelId;
use crate::peer::PeerIndex;

/// The peers of all other shards; empty where there is no other.
#[derive(Default)]
pub(super) struct Foreigners {
    peers: HashMap<PeerIndex, Foreigner>,
    by_key: HashMap<PublicKey, PeerIndex>,
    channels: HashMap<ChannelId, Channel>,
}

struct Foreigner {
    key: PublicKey,
    allowed_ips: Vec<IpNet>,
    channel: Option<ChannelId>,
}

/// A relay channel to a peer of another shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channel {
    pub(super) via: PublicKey,
    pub(super) peer: PublicKey,
}

impl Foreigners {
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn index(&self, key: &PublicKey) -> Option<PeerIndex> {
        self.by_key.get(key).copied()
    }

    pub(super) fn key(&self, index: PeerIndex) -> Option<PublicKey> {
        self.peers.get(&index).map(|peer| peer.key)
    }

    pub(super) fn channel(&self, channel: ChannelId) -> Option<Channel> {
        self.channels.get(&channel).copied()
    }

    /// Whether any of them is reached through this hub.
    pub(super) fn need(&self, hub: &PublicKey) -> bool {
        self.channels.values().any(|channel| channel.via == *hub)
    }

    /// Notes a new peer, or what has changed of one. Gives the addresses that were its own until now.
    pub(super) fn set(&mut self, index: PeerIndex, config: &PeerConfig) -> Vec<IpNet> {
        let before = self.remove(&config.public_key);
        let channel = config.relay.as_ref().map(|grant| grant.channel);
        if let Some(grant) = &config.relay {
            let channel = Channel {
                via: grant.via,
                peer: config.public_key,
            };
            self.channels.insert(grant.channel, channel);
        }
        self.by_key.insert(config.public_key, index);
        let peer = Foreigner {
            key: config.public_key,
            allowed_ips: config.allowed_ips.clone(),
            channel,
        };
        self.peers.insert(index, peer);
        before
            .map(|(_, allowed_ips)| allowed_ips)
            .unwrap_or_default()
    }

    /// Forgets a peer. Gives the addresses that were its own.
    pub(super) fn remove(&mut self, key: &PublicKey) -> Option<(PeerIndex, Vec<IpNet>)> {
        let index = self.by_key.remove(key)?;
        let peer = self.peers.remove(&index)?;
        if let Some(channel) = peer.channel
            && self
                .channels
                .get(&channel)
                .is_some_and(|it| it.peer == *key)
        {
            self.channels.remove(&channel);
        }
        Some((index, peer.allowed_ips))
    }
}
