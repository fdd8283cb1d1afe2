//! How a peer joins a device, is changed, and leaves it. A peer of another shard is only taken note of.

use std::time::Instant;

use super::ticks::GRID;
use super::{Device, MAX_PEERS};
use crate::config::PeerConfig;
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::noise::{Noise, SessionIndex};
use crate::peer::{Peer, PeerIndex};

impl Device {
    /// Adds a peer, or changes one. Established sessions of all peers stay; a change of the preshared key or keepalive
    /// starts a new handshake, and the old session carries the traffic until that has succeeded.
    pub fn set_peer(&mut self, config: PeerConfig, now: Instant) -> Result<(), TunnelError> {
        self.joiner.close_all();
        config.check()?;
        if config.public_key == self.doorkeeper.public_key() {
            return Err(TunnelError::OwnKey);
        }
        let known = self.by_key.get(&config.public_key).copied();
        let known = known.or_else(|| self.foreign.index(&config.public_key));
        let count = self.peers.len() + self.foreign.len() + 1;
        if known.is_none() && count > MAX_PEERS {
            return Err(TunnelError::TooMany {
                what: "peers",
                count,
                limit: MAX_PEERS,
            });
        }
        if self.place.of_peer(&config.public_key) != self.place.number() {
            self.set_foreigner(&config);
            return Ok(());
        }
        match known {
            Some(index) => self.change_peer(index, config, now),
            None => self.add_peer(config, now),
        }
    }

    /// Forgets a peer at once: its sessions, its addresses and its flows. False if there was none.
    pub fn remove_peer(&mut self, key: &PublicKey) -> bool {
        self.joiner.close_all();
        let Some(index) = self.by_key.remove(key) else {
            return self.remove_foreigner(key);
        };
        if let Some(peer) = self.peers.remove(&index) {
            self.counters.add_peer(&peer.drops);
            for session in peer.indexes() {
                self.by_session.remove(&session);
            }
            self.allowed_ips.release(index, &peer.config.allowed_ips);
            if let Some(grant) = &peer.config.relay {
                self.client.revoke(grant.channel, key);
            }
        }
        self.filter.forget_peer(index);
        true
    }

    fn add_peer(&mut self, config: PeerConfig, now: Instant) -> Result<(), TunnelError> {
        let index = self.fresh_index();
        let session = self.fresh_session()?;
        let noise = self.doorkeeper.machine(
            config.public_key,
            config.preshared_key.as_ref(),
            config.keepalive_s,
            session,
        );
        self.by_session.insert(session, index);
        self.by_key.insert(config.public_key, index);
        self.allowed_ips.assign(index, &config.allowed_ips);
        if let Some(grant) = &config.relay {
            self.client.grant(config.public_key, grant, now);
        }
        let mut peer = Box::new(Peer::new(config, noise, now));
        peer.initiate(now, &mut self.wire);
        peer.next_tick = self.ticks.plan(index, now + GRID);
        self.peers.insert(index, peer);
        self.greet(now);
        Ok(())
    }

    fn change_peer(
        &mut self,
        index: PeerIndex,
        config: PeerConfig,
        now: Instant,
    ) -> Result<(), TunnelError> {
        let session = self.fresh_session()?;
        let Some(peer) = self.peers.get_mut(&index) else {
            return Ok(());
        };
        let old = peer.reconfigure(config, now, &mut self.wire);
        if old.allowed_ips != peer.config.allowed_ips {
            self.allowed_ips.release(index, &old.allowed_ips);
        }
        // Even those that it had: another may have been given them since.
        self.allowed_ips.assign(index, &peer.config.allowed_ips);
        let new_secret = old.preshared_key != peer.config.preshared_key;
        if new_secret || old.keepalive_s != peer.config.keepalive_s {
            self.call_anew(index, session, now);
        } else if old.endpoints != peer.config.endpoints && !peer.config.endpoints.is_empty() {
            peer.initiate(now, &mut self.wire);
        }
        if let Some(peer) = self.peers.get_mut(&index) {
            peer.next_tick = self.ticks.plan(index, now + GRID);
        }
        self.change_grant(index, &old, now);
        self.tell_news(index, now);
        Ok(())
    }

    /// Gives a peer a new machine, and calls by it.
    pub(super) fn call_anew(&mut self, index: PeerIndex, session: SessionIndex, now: Instant) {
        self.renew(index, session, Peer::replace_noise, now);
        if let Some(peer) = self.peers.get_mut(&index) {
            peer.initiate(now, &mut self.wire);
        }
    }

    /// Gives a peer a new machine, for one of two reasons. The old one carries the traffic until that has a session.
    pub(super) fn renew(
        &mut self,
        index: PeerIndex,
        session: SessionIndex,
        take: fn(&mut Peer, Noise, Instant) -> Option<SessionIndex>,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&index) else {
            return;
        };
        let noise = self.doorkeeper.machine(
            peer.config.public_key,
            peer.config.preshared_key.as_ref(),
            peer.config.keepalive_s,
            session,
        );
        self.by_session.insert(session, index);
        if let Some(gone) = take(peer, noise, now) {
            self.by_session.remove(&gone);
        }
    }

    fn fresh_index(&mut self) -> PeerIndex {
        let index = PeerIndex(self.next_peer);
        self.next_peer += 1;
        index
    }

    /// A random session index that no machine of this device has.
    pub(super) fn fresh_session(&self) -> Result<SessionIndex, TunnelError> {
        // At most 2 in 2^24 indexes are taken per peer, so the first try nearly always succeeds.
        loop {
            let session = SessionIndex::random(self.place)?;
            if !self.by_session.contains_key(&session) {
                return Ok(session);
            }
        }
    }

    /// Takes note of a peer of another shard: its addresses are not ours, and nobody else's.
    pub(super) fn set_foreigner(&mut self, config: &PeerConfig) {
        let known = self.foreign.index(&config.public_key);
        let index = known.unwrap_or_else(|| self.fresh_index());
        let before = self.foreign.set(index, config);
        if before != config.allowed_ips {
            self.allowed_ips.release(index, &before);
        }
        self.allowed_ips.assign(index, &config.allowed_ips);
    }

    pub(super) fn remove_foreigner(&mut self, key: &PublicKey) -> bool {
        let gone = self.foreign.remove(key);
        if let Some((index, allowed_ips)) = &gone {
            self.allowed_ips.release(*index, allowed_ips);
        }
        gone.is_some()
    }
}
