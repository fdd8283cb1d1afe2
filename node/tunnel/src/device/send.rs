//! From this node to the underlay: whose packet it is, its segments, and their seals.

use std::time::Instant;

use super::Device;
use crate::offload::cut::{Cutter, PADDING_BYTES, padded};
use crate::offload::vnet::{Refused, Work, complete};
use crate::packet::addresses;
use crate::peer::Peer;
use crate::wire::Wire;

impl Device {
    /// This node sends an IP packet.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        outgoing.clear();
        outgoing.extend_from_slice(packet);
        outgoing.resize(packet.len() + PADDING_BYTES, 0);
        self.handle_super_packet(&mut outgoing, packet.len(), Work::None, now);
        self.outgoing = outgoing;
    }

    /// This node sends the packet, or super-packet, of `bytes` at the start of `buffer`, which has 16 bytes or more behind it.
    /// The buffer holds nothing of use afterwards.
    pub fn handle_super_packet(
        &mut self,
        buffer: &mut [u8],
        bytes: usize,
        work: Work,
        now: Instant,
    ) {
        if buffer.len() < bytes + PADDING_BYTES {
            self.counters.malformed_packets += 1;
            return;
        }
        let packet = &buffer[..bytes];
        let owner =
            addresses(packet).and_then(|(_, destination)| self.allowed_ips.owner(destination));
        let Some(index) = owner else {
            self.counters.no_peer += 1;
            return;
        };
        self.refresh_time(index, now);
        let Some(peer) = self.peers.get_mut(&index) else {
            // It has gone to a peer of another shard meanwhile.
            self.counters.no_peer += 1;
            return;
        };
        self.filter.leave(index, &peer.ingress, packet, now);
        let sent = send(peer, buffer, bytes, work, now, &mut self.wire);
        let (news, pace) = (peer.has_news(), peer.wants_tick(now));
        if sent.is_err() {
            self.counters.malformed_packets += 1;
        }
        self.keep_up(index, news, pace, now);
    }
}

/// Does the work that was left to us, and seals what comes of it.
fn send(
    peer: &mut Peer,
    buffer: &mut [u8],
    bytes: usize,
    work: Work,
    now: Instant,
    wire: &mut Wire,
) -> Result<(), Refused> {
    if let Work::Cut { payload_bytes } = work {
        let mut cutter = Cutter::new(buffer, bytes, payload_bytes)?;
        if !peer.may_send(cutter.segment_bytes()) {
            return Ok(());
        }
        let Some(path) = peer.sends(now, wire) else {
            return Ok(());
        };
        while let Some(segment) = cutter.next() {
            let padded_bytes = wire.padded_bytes(segment.len());
            padded(cutter.buffer(), segment, padded_bytes, |it| {
                peer.seal_by(path, it, now, wire)
            });
        }
        return Ok(());
    }
    if let Work::Checksum { start, offset } = work {
        complete(&mut buffer[..bytes], start, offset)?;
    }
    if peer.may_send(bytes)
        && let Some(path) = peer.sends(now, wire)
    {
        let padded_bytes = wire.padded_bytes(bytes);
        padded(buffer, 0..bytes, padded_bytes, |it| {
            peer.seal_by(path, it, now, wire)
        });
    }
    Ok(())
}
