//! The question "do you hear me by this path?" and its answer, sealed like any packet. Only the two peers can make or read
//! them; whoever doesn't know them sees an IPv6 packet without content and drops it.

/// What two peers say about a path, each on that very path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// To be answered at once.
    Ask(Token),
    Answer(Token),
}

/// Means something only to the peer that asked.
pub(crate) type Token = u64;

impl Probe {
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let (header, content) = packet.split_first_chunk::<HEADER_BYTES>()?;
        if header != &HEADER {
            return None;
        }
        let (kind, token) = content.split_first_chunk::<8>()?;
        let token = Token::from_be_bytes(*token.first_chunk()?);
        match kind {
            ASK => Some(Self::Ask(token)),
            ANSWER => Some(Self::Answer(token)),
            _ => None,
        }
    }

    pub(crate) fn packet(self) -> [u8; PACKET_BYTES] {
        let (kind, token) = match self {
            Self::Ask(token) => (ASK, token),
            Self::Answer(token) => (ANSWER, token),
        };
        let mut packet = [0; PACKET_BYTES];
        packet[..HEADER_BYTES].copy_from_slice(&HEADER);
        packet[HEADER_BYTES..HEADER_BYTES + 8].copy_from_slice(kind);
        packet[HEADER_BYTES + 8..].copy_from_slice(&token.to_be_bytes());
        packet
    }
}

const HEADER_BYTES: usize = 40;
const CONTENT_BYTES: u8 = 16;
const PACKET_BYTES: usize = HEADER_BYTES + CONTENT_BYTES as usize;
const ASK: &[u8; 8] = b"malha?1\0";
const ANSWER: &[u8; 8] = b"malha!1\0";
/// IPv6, no next header (59, RFC 8200 §4.7), from a link-local address to itself: no route leads there, and no peer owns it.
const HEADER: [u8; HEADER_BYTES] = {
    let mut header = [0; HEADER_BYTES];
    header[0] = 0x60;
    header[5] = CONTENT_BYTES;
    header[6] = 59;
    header[7] = 1;
    let address = [
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'm', b'a', b'l', b'h', b'a',
    ];
    let mut at = 0;
    while at < 16 {
        header[8 + at] = address[at];
        header[24 + at] = address[at];
        at += 1;
    }
    header
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_survive_the_wire_and_nothing_else_is_one() {
        for probe in [Probe::Ask(7), Probe::Answer(u64::MAX)] {
            let packet = probe.packet();
            assert_eq!(Probe::of(&packet), Some(probe));
            for end in 0..packet.len() {
                assert_eq!(Probe::of(&packet[..end]), None);
            }
            for position in 0..HEADER_BYTES + 8 {
                let mut other = packet;
                other[position] ^= 1;
                assert_eq!(Probe::of(&other), None, "byte {position}");
            }
        }
    }
}
