//! Relay frames as bytes. It checks seals and lengths, and decides nothing.

use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac};

use crate::key::RelayKey;
use crate::path::ChannelId;

/// What a frame claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A control frame whose seal has not been checked.
    Control(ChannelId),
    /// A sealed datagram of WireGuard.
    Data(ChannelId, &'a [u8]),
}

/// A control frame: all kinds have the same form, `[header 8][counter 8][answers 8][cookie 16][seal 16]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) kind: ControlKind,
    pub(crate) channel: ChannelId,
    /// In a HELLO [after](is_after) that of any before; in a CHALLENGE the last that the relay has accepted; in a BOUND that of the
    /// HELLO.
    pub(crate) counter: u64,
    /// The counter of the HELLO that a CHALLENGE or a BOUND answers; 0 in a HELLO, which so is no shorter than its answer.
    pub(crate) answers: u64,
    /// Zeros where there is none.
    pub(crate) cookie: Cookie,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlKind {
    Hello,
    Challenge,
    Bound,
}

/// Proof that its bearer receives at an address.
pub(crate) type Cookie = [u8; COOKIE_BYTES];
/// A control frame with its seal.
pub(crate) type Sealed = [u8; CONTROL_BYTES];

impl<'a> Frame<'a> {
    /// `None` for an unknown type, a wrong length, or bytes other than 0 where 0 belongs.
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, rest) = datagram.split_first_chunk::<DATA_HEADER_BYTES>()?;
        let [kind, 0, 0, 0, channel @ ..] = *header else {
            return None;
        };
        let channel = ChannelId(u32::from_be_bytes(channel));
        match kind {
            DATA => Some(Self::Data(channel, rest)),
            HELLO | CHALLENGE | BOUND if datagram.len() == CONTROL_BYTES => {
                Some(Self::Control(channel))
            }
            _ => None,
        }
    }
}

impl Control {
    /// `None` if the bytes are no control frame, or the seal was not made with this key.
    pub(crate) fn open(bytes: &[u8], key: &RelayKey) -> Option<Self> {
        let (signed, seal) = bytes.split_last_chunk::<SEAL_BYTES>()?;
        let [kind, 0, 0, 0, rest @ ..] = signed else {
            return None;
        };
        let kind = match *kind {
            HELLO => ControlKind::Hello,
            CHALLENGE => ControlKind::Challenge,
            BOUND => ControlKind::Bound,
            _ => return None,
        };
        let (channel, rest) = rest.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (answers, rest) = rest.split_first_chunk()?;
        let cookie = *<&Cookie>::try_from(rest).ok()?;
        mac(key.as_bytes(), &[signed]).verify_slice(seal).ok()?;
        Some(Self {
            kind,
            channel: ChannelId(u32::from_be_bytes(*channel)),
            counter: u64::from_be_bytes(*counter),
            answers: u64::from_be_bytes(*answers),
            cookie,
        })
    }

    pub(crate) fn seal(&self, key: &RelayKey) -> Sealed {
        let kind = match self.kind {
            ControlKind::Hello => HELLO,
            ControlKind::Challenge => CHALLENGE,
            ControlKind::Bound => BOUND,
        };
        let mut bytes = [0; CONTROL_BYTES];
        bytes[0] = kind;
        bytes[4..8].copy_from_slice(&self.channel.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.counter.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.answers.to_be_bytes());
        bytes[24..40].copy_from_slice(&self.cookie);
        let seal = mac(key.as_bytes(), &[&bytes[..40]]).finalize().into_bytes();
        bytes[40..].copy_from_slice(&seal);
        bytes
    }
}

/// Whether a HELLO's counter comes after another. They go round, half of them after each: if one were the last, whoever had said it
/// with a stolen key would have kept the channel.
pub(super) fn is_after(counter: u64, other: u64) -> bool {
    (1..=u64::MAX / 2).contains(&counter.wrapping_sub(other))
}

/// What stands before a datagram in a DATA frame.
pub(crate) fn data_header(channel: ChannelId) -> [u8; DATA_HEADER_BYTES] {
    let [a, b, c, d] = channel.0.to_be_bytes();
    [DATA, 0, 0, 0, a, b, c, d]
}

/// Whether all these frames, `stride` bytes each but the last, are DATA of one channel.
pub(crate) fn all_on(channel: ChannelId, batch: &[u8], stride: usize) -> bool {
    let header = data_header(channel);
    batch
        .chunks(stride.max(1))
        .all(|frame| frame.starts_with(&header))
}

/// Keyed BLAKE2s of 16 bytes, as in WireGuard's own seals.
pub(super) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Blake2sMac<U16> {
    let mut mac = <Blake2sMac<U16> as KeyInit>::new(key.into());
    for part in parts {
        mac.update(part);
    }
    mac
}

/// Length of a DATA frame's header.
pub(crate) const DATA_HEADER_BYTES: usize = 8;
pub(super) const CONTROL_BYTES: usize = 56;
const COOKIE_BYTES: usize = 16;
const SEAL_BYTES: usize = 16;
const HELLO: u8 = 0x10;
const CHALLENGE: u8 = 0x11;
const BOUND: u8 = 0x12;
const DATA: u8 = 0x13;
