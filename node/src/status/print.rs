//! The status as a page for people, in their language.

use super::{PeerStatus, PolicyStatus, StatusDocument, StreamsStatus};
use crate::plane::MAX_CONNECTIONS;
use crate::text::{self, Lang};

impl StatusDocument {
    #[must_use]
    pub fn page(&self, lang: Lang) -> String {
        let mut lines = vec![];
        lines.push(match &self.name {
            Some(name) => text::status_node(lang, name, self.node),
            None => text::status_node_nameless(lang, self.node),
        });
        lines.push(match self.is_healthy() {
            true => text::status_healthy(lang),
            false => text::status_degraded(lang),
        });
        if self.quarantined {
            lines.push(text::status_quarantined(lang));
        }
        self.control_lines(lang, &mut lines);
        let why = self.tunnel.why.say(lang);
        lines.push(text::status_engine(lang, &self.tunnel.engine, why));
        if self.tunnel.shards > 1 {
            lines.push(text::status_shards(lang, self.tunnel.shards));
        }
        lines.extend(self.tunnel.interface.lines(lang));
        lines.extend(self.tunnel.dropped.line(lang));
        lines.extend(self.streams.map(|streams| streams.line(lang)));
        lines.push(text::status_guard(lang, self.guard.say(lang)));
        let left = self.guards_left.iter();
        lines.extend(left.map(|table| text::status_guard_left(lang, table)));
        lines.extend(self.names.lines(lang));
        self.netmap_lines(lang, &mut lines);
        if let Some(why) = &self.save_error {
            lines.push(text::status_save_error(lang, why));
        }
        self.service_lines(lang, &mut lines);
        if !self.balancers.is_empty() {
            lines.push(text::balancers::status_balancers(lang));
        }
        lines.extend(self.balancers.iter().flat_map(|it| it.lines(lang)));
        self.peer_lines(lang, &mut lines);
        lines.join("\n")
    }

    fn control_lines(&self, lang: Lang, lines: &mut Vec<String>) {
        let control = &self.control;
        let state = text::control(lang, control.state);
        let age = text::age(lang, control.for_ms);
        lines.push(match (&control.controller, &control.transport) {
            (Some(controller), Some(transport)) => {
                text::status_control_via(lang, state, age, controller, transport)
            }
            _ => text::status_control(lang, state, age),
        });
        if let Some(error) = &control.last_error {
            lines.push(text::status_last_error(lang, error));
        }
    }

    fn netmap_lines(&self, lang: Lang, lines: &mut Vec<String>) {
        let netmap = &self.netmap;
        lines.push(match (netmap.in_force, netmap.newest) {
            (Some(now), Some(newest)) if now != newest => {
                text::status_netmap_behind(lang, now, newest)
            }
            (Some(now), _) => text::status_netmap(lang, now),
            (None, _) => text::status_netmap_none(lang),
        });
        if netmap.last_known_good {
            lines.push(text::status_last_known_good(lang));
        }
        match netmap.policy {
            Some(PolicyStatus::Waiting { version, left_ms }) => {
                let left = text::age(lang, left_ms);
                lines.push(text::status_policy_waiting(lang, version, left));
            }
            Some(PolicyStatus::Returned {
                version,
                for_ms,
                holds,
            }) => {
                let age = text::age(lang, for_ms);
                lines.push(match holds {
                    true => text::status_policy_returned(lang, version, age),
                    false => text::status_policy_was_returned(lang, version, age),
                });
            }
            None => {}
        }
        if let Some(why) = &netmap.apply_error {
            lines.push(text::status_apply_error(lang, why));
        }
    }

    fn service_lines(&self, lang: Lang, lines: &mut Vec<String>) {
        if !self.services.is_empty() {
            lines.push(text::status_services(lang));
        }
        for service in &self.services {
            let state = text::service(lang, service.state);
            let age = text::age(lang, service.for_ms);
            let (name, port) = (&service.name, service.port);
            let target = service.target;
            lines.push(text::status_service(lang, name, port, target, state, age));
            if service.over_limit > 0 {
                let (count, limit) = (service.over_limit, MAX_CONNECTIONS);
                lines.push(text::status_service_over_limit(lang, count, limit));
            }
        }
    }

    fn peer_lines(&self, lang: Lang, lines: &mut Vec<String>) {
        if !self.peers.is_empty() {
            lines.push(text::status_peers(lang));
        }
        for peer in &self.peers {
            lines.push(peer_line(lang, peer));
            let key = match peer.key {
                Some(key) => text::key_age(lang, text::age(lang, key.age_ms)),
                None => text::key_none(lang),
            };
            lines.push(text::status_path(lang, text::path(lang, peer.path), key));
            lines.extend(peer.filter.lines(lang));
        }
    }
}

impl StreamsStatus {
    fn line(&self, lang: Lang) -> String {
        let by_quic = match self.last_ms {
            Some(last_ms) => {
                let last = text::age(lang, last_ms);
                text::status_streams_came(lang, self.by_quic, last)
            }
            None => text::status_streams_none(lang),
        };
        match self.quic_for_ms {
            Some(for_ms) => text::status_streams_quic(lang, text::age(lang, for_ms), by_quic),
            None => text::status_streams_tunnel(lang, by_quic),
        }
    }
}

fn peer_line(lang: Lang, peer: &PeerStatus) -> String {
    let handshake = match peer.handshake_age_ms {
        Some(age_ms) => text::handshake_age(lang, text::age(lang, age_ms)),
        None => text::handshake_none(lang),
    };
    let endpoint = match peer.endpoint {
        Some(endpoint) => endpoint.to_string(),
        None => text::endpoint_none(lang),
    };
    let (rx, tx) = (size(peer.rx_bytes), size(peer.tx_bytes));
    text::status_peer(lang, &peer.name, handshake, endpoint, rx, tx)
}

/// Bytes in the largest unit that leaves a whole part, with one decimal.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1_023), "1023 B");
        assert_eq!(size(1_536), "1.5 KiB");
        assert_eq!(size(10 * 1_024 * 1_024), "10.0 MiB");
        assert!(size(u64::MAX).ends_with("TiB"));
    }
}
