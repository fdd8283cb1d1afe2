//! What the tunnel dropped, whoever's it was: what no peer can be blamed for stands only here. It only says it; the tunnel counts.

use malha_tunnel::TunnelStats;
use serde::{Deserialize, Serialize};

use super::filter::reasons;
use crate::text::{Lang, drops};

/// Datagrams, packets and conversations that went no further, since the tunnel started; 0 is also what an older agent did not
/// count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TunnelDropStatus {
    /// No message of ours, or of nobody who is known: scans, and what is left of former sessions.
    pub stranger: u64,
    /// Handshakes above the rate of their source.
    pub flooded: u64,
    /// Packets of this machine to an overlay address that nobody has.
    pub no_peer: u64,
    /// Packets of this machine whose lengths or offsets contradict each other.
    pub contradictory: u64,
    pub full_queue: u64,
    /// The machine's network took no datagram, or there was no path to the relay.
    pub unsent: u64,
    /// The machine's network gave an error where a datagram was to be read.
    pub receive_error: u64,
    /// Connection attempts to or from the netstack that found a backlog or the limit of connections full.
    pub no_room: u64,
    /// TCP segments with a wrong checksum.
    pub damaged: u64,
    /// Conversations that the filter forgot before their time because its table was full.
    pub forgotten: u64,
    /// Refused by the filter, of all peers together: no permission covers it.
    pub no_rule: u64,
    /// The destination is not this machine.
    pub not_ours: u64,
    pub malformed: u64,
    pub fragment: u64,
    /// IPv4 options or an IPv6 extension header.
    pub extension: u64,
    /// Sent by a peer with a source address that is not its own.
    pub spoofed: u64,
    /// Forged, repeated or too old.
    pub unopened: u64,
    /// For a peer of whom no address is known.
    pub no_endpoint: u64,
    pub too_large: u64,
}

impl TunnelDropStatus {
    pub(super) fn new(stats: &TunnelStats) -> Self {
        let (device, underlay) = (&stats.device, &stats.underlay);
        let refused = &stats.filter.refused;
        let queues = [
            device.transmits_dropped,
            device.packets_dropped,
            device.events_dropped,
            underlay.carrier_dropped,
            underlay.handover_dropped,
            stats.stack.packets_dropped,
        ];
        Self {
            stranger: device.malformed
                + device.quic
                + device.unknown_session
                + device.unknown_peer
                + stats.relay.refused,
            flooded: device.flooded,
            no_peer: device.no_peer,
            contradictory: device.malformed_packets,
            full_queue: queues.into_iter().sum(),
            unsent: underlay.send_errors + stats.relay.unbound,
            receive_error: underlay.receive_errors,
            no_room: stats.stack.refused_full,
            damaged: stats.stack.damaged,
            forgotten: stats.filter.flows_evicted,
            no_rule: refused.no_rule,
            not_ours: refused.not_ours,
            malformed: refused.malformed,
            fragment: refused.fragment,
            extension: refused.extension,
            spoofed: device.spoofed,
            unopened: device.unopened,
            no_endpoint: device.no_endpoint,
            too_large: device.too_large,
        }
    }

    /// One line, or none where nothing was dropped.
    pub(super) fn line(&self, lang: Lang) -> Option<String> {
        let (total, reasons) = reasons(
            &[
                (self.stranger, drops::stranger),
                (self.flooded, drops::flooded),
                (self.no_peer, drops::no_peer),
                (self.contradictory, drops::contradictory),
                (self.full_queue, drops::full_queue),
                (self.unsent, drops::unsent),
                (self.receive_error, drops::receive_error),
                (self.no_room, drops::no_room),
                (self.damaged, drops::damaged),
                (self.forgotten, drops::forgotten),
                (self.no_rule, drops::no_rule),
                (self.not_ours, drops::not_ours),
                (self.malformed, drops::malformed),
                (self.fragment, drops::fragment),
                (self.extension, drops::extension),
                (self.spoofed, drops::spoofed),
                (self.unopened, drops::unopened),
                (self.no_endpoint, drops::no_endpoint),
                (self.too_large, drops::too_large),
            ],
            lang,
        );
        (total > 0).then(|| drops::of_tunnel(lang, total, reasons))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_peer_is_to_blame_for_is_said_too() {
        let mut stats = TunnelStats::default();
        assert_eq!(TunnelDropStatus::new(&stats).line(Lang::En), None);
        stats.device.unknown_peer = 5;
        stats.device.packets_dropped = 2;
        stats.underlay.carrier_dropped = 1;
        stats.filter.refused.fragment = 4;
        let status = TunnelDropStatus::new(&stats);
        assert_eq!(
            status.line(Lang::En).unwrap(),
            "Dropped      12 (of strangers: 5, queue full: 3, fragments: 4)"
        );
        assert_eq!(
            status.line(Lang::Pt).unwrap(),
            "Descartes    12 (de desconhecidos: 5, fila cheia: 3, fragmentos: 4)"
        );
    }

    #[test]
    fn what_the_network_and_tcp_lost_is_said_too() {
        let mut stats = TunnelStats::default();
        stats.underlay.receive_errors = 1;
        stats.stack.refused_full = 2;
        stats.stack.damaged = 3;
        stats.filter.flows_evicted = 4;
        let status = TunnelDropStatus::new(&stats);
        assert_eq!(
            status.line(Lang::En).unwrap(),
            "Dropped      10 (receive errors: 1, no room for a connection: 2, wrong checksum: 3, conversations forgotten: 4)"
        );
        assert_eq!(
            status.line(Lang::Pt).unwrap(),
            "Descartes    10 (erros ao receber: 1, sem vaga para a conexão: 2, soma de verificação errada: 3, conversas esquecidas: 4)"
        );
    }
}
