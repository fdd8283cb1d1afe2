//! What is known of one peer: how it was set, what the kernel said of it, and where it is sent to. It asks and sets nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::wireguard::PeerSeen;
use crate::config::PeerConfig;
use crate::status::TunnelEvent;

pub(super) struct Known {
    pub(super) config: PeerConfig,
    pub(super) seen: PeerSeen,
    pub(super) heard: Option<Instant>,
    /// Since when it was sent something that wants an answer, and nothing came back.
    asked: Option<Instant>,
    told: Option<Instant>,
    /// Since when it is sent to another endpoint than before.
    pub(super) tried: Option<Instant>,
}

impl Known {
    pub(super) fn new(config: PeerConfig) -> Self {
        Self {
            config,
            seen: PeerSeen::default(),
            heard: None,
            asked: None,
            told: None,
            tried: None,
        }
    }

    /// Takes what the kernel says of it now.
    pub(super) fn take(&mut self, seen: PeerSeen, now: Instant, events: &mut Vec<TunnelEvent>) {
        let before = std::mem::replace(&mut self.seen, seen);
        let peer = self.config.public_key;
        if seen.handshake.is_some() && seen.handshake != before.handshake {
            events.push(TunnelEvent::HandshakeCompleted { peer });
        }
        let is_heard = seen.rx_bytes != before.rx_bytes;
        if let Some(endpoint) = seen
            .endpoint
            .filter(|_| is_heard && seen.endpoint != before.endpoint)
        {
            events.push(TunnelEvent::EndpointChanged { peer, endpoint });
        }
        let wants_answer = seen.tx_bytes.saturating_sub(before.tx_bytes) > KEEPALIVES_BYTES;
        if is_heard {
            self.heard = Some(now);
            (self.asked, self.told, self.tried) = (None, None, None);
        } else if wants_answer && self.asked.is_none() {
            self.asked = Some(now);
        }
        let silent_for = |since: Option<Instant>| since.map(|at| now.saturating_duration_since(at));
        if silent_for(self.told.or(self.asked)).is_some_and(|time| time >= UNANSWERED) {
            self.told = Some(now);
            events.push(TunnelEvent::HandshakeUnanswered { peer });
        }
    }

    /// Where to send to instead, if nothing comes back from where it is sent to.
    pub(super) fn next_endpoint(&mut self, now: Instant) -> Option<SocketAddr> {
        let asked = self.asked?;
        let since = self.tried.map_or(asked, |tried| tried.max(asked));
        if now.saturating_duration_since(since) < ENDPOINT_PATIENCE {
            return None;
        }
        let ways = ways(&self.config);
        let current = ways.iter().position(|way| self.is_at(*way));
        let next = current.map_or(0, |at| (at + 1) % ways.len());
        let next = ways.get(next).filter(|next| !self.is_at(**next));
        self.tried = next.map(|_| now).or(self.tried);
        next.copied()
    }

    /// Whether to send elsewhere once it is configured like this. A place that answers is not left because others are known now,
    /// but because who declared it did withdraw it.
    pub(super) fn leaves(&self, config: &PeerConfig) -> bool {
        let wanted = ways(config);
        let mut withdrawn = self.config.endpoints.iter().copied();
        let is_withdrawn = withdrawn.any(|it| self.is_at(it) && !wanted.contains(&it));
        ways(&self.config) != wanted && (is_withdrawn || !self.answers())
    }

    /// What is still known of it when it is made anew.
    pub(super) fn anew(&self) -> Self {
        let mut anew = Self::new(self.config.clone());
        if self.answers() && ways(&self.config).iter().any(|way| self.is_at(*way)) {
            (anew.heard, anew.seen.endpoint) = (self.heard, self.seen.endpoint);
        }
        anew
    }

    fn answers(&self) -> bool {
        self.heard.is_some() && self.asked.is_none()
    }

    /// The kernel knows no more of an address than this.
    fn is_at(&self, place: SocketAddr) -> bool {
        let endpoint = self.seen.endpoint;
        endpoint.is_some_and(|it| (it.ip(), it.port()) == (place.ip(), place.port()))
    }
}

/// Where a peer may be: what was declared, then what was observed.
pub(super) fn ways(config: &PeerConfig) -> Vec<SocketAddr> {
    let ways = config.endpoints.iter().chain(&config.candidates);
    ways.copied().collect()
}

/// Nobody answers a keepalive, which has 32 bytes, and two of them may fall together. What is in the tunnel's own TCP is
/// longer, and so is a handshake, which comes after any data that was not answered.
const KEEPALIVES_BYTES: u64 = 64;
/// Without an answer for so long, the next endpoint is tried. A live peer says something at least every 10 s (WireGuard's
/// KEEPALIVE_TIMEOUT) when it is sent something.
const ENDPOINT_PATIENCE: Duration = Duration::from_secs(12);
/// WireGuard's REKEY_ATTEMPT_TIME.
const UNANSWERED: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    const FIRST: &str = "192.0.2.1:51820";
    const SECOND: &str = "192.0.2.2:51820";

    fn config(endpoints: &[&str], candidates: &[&str]) -> PeerConfig {
        let addresses = |list: &[&str]| list.iter().map(|it| it.parse().unwrap()).collect();
        let mut config = PeerConfig::new(PrivateKey::from_bytes([2; 32]).public_key());
        config.endpoints = addresses(endpoints);
        config.candidates = addresses(candidates);
        config
    }

    /// A peer that has just been heard at its first place.
    fn heard(config: PeerConfig, now: Instant) -> Known {
        let mut known = Known::new(config);
        let endpoint = ways(&known.config)[0];
        known.seen.endpoint = Some(endpoint);
        known.take(moved(&known, 148, 92), now, &mut vec![]);
        known
    }

    /// What the kernel says after so many bytes more.
    fn moved(known: &Known, tx_bytes: u64, rx_bytes: u64) -> PeerSeen {
        let mut seen = known.seen;
        seen.tx_bytes += tx_bytes;
        seen.rx_bytes += rx_bytes;
        seen
    }

    #[test]
    fn a_keepalive_that_nobody_answers_is_no_reason_to_go_elsewhere() {
        let start = Instant::now();
        let mut known = heard(config(&[FIRST, SECOND], &[]), start);
        for minutes in 1..10 {
            let now = start + minutes * Duration::from_secs(60);
            known.take(moved(&known, 32, 0), now, &mut vec![]);
            assert_eq!(known.next_endpoint(now), None, "{minutes}");
        }
    }

    #[test]
    fn a_handshake_that_nobody_answers_is_one_and_each_place_has_its_time() {
        let start = Instant::now();
        let mut known = heard(config(&[FIRST], &[SECOND]), start);
        known.take(moved(&known, 148, 0), start, &mut vec![]);
        assert_eq!(known.next_endpoint(start), None);
        let later = start + ENDPOINT_PATIENCE;
        let second = known.next_endpoint(later);
        assert_eq!(second, Some(SECOND.parse().unwrap()));
        known.seen.endpoint = second;
        assert_eq!(known.next_endpoint(later), None);
        let first = known.next_endpoint(later + ENDPOINT_PATIENCE);
        assert_eq!(first, Some(FIRST.parse().unwrap()));
    }

    #[test]
    fn a_place_that_answers_is_not_left_because_another_is_found() {
        let now = Instant::now();
        let known = heard(config(&[], &[FIRST]), now);
        for candidates in [&[SECOND, FIRST][..], &[SECOND]] {
            assert!(!known.leaves(&config(&[], candidates)));
        }
        assert!(!known.leaves(&config(&[SECOND], &[])));
    }

    #[test]
    fn a_place_that_does_not_answer_or_was_withdrawn_is_left() {
        let now = Instant::now();
        let declared = heard(config(&[FIRST], &[]), now);
        assert!(declared.leaves(&config(&[SECOND], &[])));
        let mut silent = heard(config(&[], &[FIRST]), now);
        silent.take(moved(&silent, 148, 0), now, &mut vec![]);
        assert!(silent.leaves(&config(&[], &[SECOND])));
        assert!(!silent.leaves(&config(&[], &[FIRST])));
    }

    /// It had gone on to a place that nobody listed.
    #[test]
    fn a_peer_that_is_silent_where_it_roamed_is_looked_for_where_it_was_declared() {
        let start = Instant::now();
        let mut known = heard(config(&[FIRST], &[]), start);
        known.seen.endpoint = Some(SECOND.parse().unwrap());
        known.take(moved(&known, 148, 0), start, &mut vec![]);
        let next = known.next_endpoint(start + ENDPOINT_PATIENCE);
        assert_eq!(next, Some(FIRST.parse().unwrap()));
    }
}
