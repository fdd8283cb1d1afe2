//! The few bytes with which an edge's connection to a service begins when it travels on QUIC beside the tunnel. What follows
//! them is the connection's own; nothing here decides who may open one.
//!
//! The node dials the controller's UDP port with [`ALPN_STREAM`] and its certificate. The hub then opens one bidirectional
//! stream per connection and sends [`StreamOpen`]; the node answers with one [`StreamAnswer`]. On unidirectional streams the
//! node tells the hub what the path lost ([`PathLoss`]).

use crate::NodeId;

/// The application protocol of a node's stream connection.
pub const ALPN_STREAM: &[u8] = b"malha-stream/1";

/// Streams of one node at a time.
pub const MAX_STREAMS: u32 = 1_000;

/// Stream connections of one node that a newer one replaced, and that stand until their streams have ended.
pub const MAX_FORMER_STREAM_CONNECTIONS: usize = 2;

/// With this code a side resets a stream that broke at its end, so that a failure is not taken for an end of data.
pub const STREAM_BROKEN: u32 = 1;

/// What the hub wants to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOpen {
    /// The node that asks: one of the peers that are hubs in the asked node's map.
    pub hub: NodeId,
    pub family: Family,
    /// The service's port on the node's overlay address.
    pub port: u16,
}

/// Which of a node's two overlay addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The node's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamAnswer {
    /// The stream is a connection to the service from here on.
    Open,
    /// No permission covers the port; in the tunnel the packets would be dropped.
    NotAllowed,
    /// In the tunnel a reset would come back.
    NothingListens,
    /// Too many connections, or no map is in force.
    Busy,
}

/// What a node's side of the QUIC path has sent and lost so far, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathLoss {
    pub sent: u64,
    pub lost: u64,
}

impl StreamOpen {
    pub const BYTES: usize = 12;

    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = VERSION;
        bytes[1] = match self.family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        bytes[2..4].copy_from_slice(&self.port.to_be_bytes());
        bytes[4..].copy_from_slice(&self.hub.0.to_be_bytes());
        bytes
    }

    /// None for another version, an unknown family or port 0.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let [VERSION, family, high, low, hub @ ..] = *bytes else {
            return None;
        };
        let family = match family {
            4 => Family::V4,
            6 => Family::V6,
            _ => return None,
        };
        let port = u16::from_be_bytes([high, low]);
        (port != 0).then_some(Self {
            hub: NodeId(u64::from_be_bytes(hub)),
            family,
            port,
        })
    }
}

impl StreamAnswer {
    #[must_use]
    pub fn encode(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::NotAllowed => 1,
            Self::NothingListens => 2,
            Self::Busy => 3,
        }
    }

    #[must_use]
    pub fn decode(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Open,
            1 => Self::NotAllowed,
            2 => Self::NothingListens,
            3 => Self::Busy,
            _ => return None,
        })
    }
}

impl PathLoss {
    pub const BYTES: usize = 16;

    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        u128::to_be_bytes(u128::from(self.sent) << 64 | u128::from(self.lost))
    }

    #[must_use]
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let both = u128::from_be_bytes(*bytes);
        // Each half is exactly 64 bits.
        Self {
            sent: (both >> 64) as u64,
            lost: both as u64,
        }
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_opened_survives_the_wire(hub: u64, v6: bool, port in 1_u16..) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let open = StreamOpen { hub: NodeId(hub), family, port };
            prop_assert_eq!(StreamOpen::decode(&open.encode()), Some(open));
        }

        #[test]
        fn any_bytes_that_decode_encode_to_themselves(bytes: [u8; StreamOpen::BYTES]) {
            if let Some(open) = StreamOpen::decode(&bytes) {
                prop_assert_eq!(open.encode(), bytes);
            }
        }

        #[test]
        fn losses_survive_the_wire(sent: u64, lost: u64) {
            let loss = PathLoss { sent, lost };
            prop_assert_eq!(PathLoss::decode(&loss.encode()), loss);
        }

        #[test]
        fn an_answer_is_one_of_four(byte: u8) {
            prop_assert_eq!(StreamAnswer::decode(byte).map(StreamAnswer::encode), (byte < 4).then_some(byte));
        }
    }

    #[test]
    fn another_version_a_strange_family_and_port_zero_are_refused() {
        let open = StreamOpen {
            hub: NodeId(7),
            family: Family::V4,
            port: 80,
        };
        for (at, value) in [(0, 2), (1, 5)] {
            let mut bytes = open.encode();
            bytes[at] = value;
            assert_eq!(StreamOpen::decode(&bytes), None);
        }
        assert_eq!(
            StreamOpen::decode(&StreamOpen { port: 0, ..open }.encode()),
            None
        );
    }
}
