//! The relay between two nodes that can't reach each other: sealed datagrams in by one channel, out by the other. It holds
//! no WireGuard key, opens nothing, and queues nothing.
//!
//! Every frame starts with `[type u8][0 u8 ×3][channel u32]`, big endian. A channel is one end of a pair; node and relay share
//! its key. A node says HELLO, is challenged to prove that it receives at its address, says HELLO again with the cookie, and
//! is BOUND: from then on DATA frames from there are passed on to where the other end of the pair is bound.

mod client;
mod frame;
mod server;

use crate::key::{PublicKey, RelayKey};
use crate::path::ChannelId;

pub(crate) use client::RelayClient;
pub(crate) use frame::{
    Control, ControlKind, Cookie, DATA_HEADER_BYTES, Frame, all_on, data_header,
};
pub(crate) use server::RelayServer;

/// A node's right to one end of a pair on a hub's relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayGrant {
    pub channel: ChannelId,
    pub key: RelayKey,
    /// The peer that is the relay.
    pub via: PublicKey,
}

/// Two channels between which a relay passes datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPair {
    pub a: ChannelGrant,
    pub b: ChannelGrant,
}

/// One end of a pair, as the relay knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelGrant {
    pub channel: ChannelId,
    pub key: RelayKey,
    /// The peer whose end it is: when that one is heard elsewhere, its channels go along.
    pub node: PublicKey,
}

#[cfg(test)]
mod tests;
