//! Frames: a 4-byte big-endian length, then one CBOR message. A longer length than the direction's cap ends the session
//! before a byte of it is stored.

use minicbor::{Decode, Encode};
use thiserror::Error;

/// The longest message a node may send: hello, reports, requests.
pub const MAX_FRAME_TO_CONTROLLER_BYTES: usize = 64 * 1024;

/// The longest message a controller may send: a full netmap of about 10,000 peers.
pub const MAX_FRAME_TO_NODE_BYTES: usize = 4 * 1024 * 1024;

/// Why bytes are not a frame. The session ends at each of them except [`FrameError::Unknown`].
#[derive(Debug, Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes; at most {1} are allowed here")]
    TooLong(usize, usize),
    #[error("an empty frame")]
    Empty,
    /// The other side is newer: its message is skipped.
    #[error("a message of a newer protocol, skipped")]
    Unknown,
    #[error("a damaged message: {0}")]
    Damaged(minicbor::decode::Error),
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
}

/// Writes one message as a frame. Err if it is longer than `cap_bytes`, with nothing to send.
pub fn encode_frame<T: Encode<()>>(message: &T, cap_bytes: usize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    match minicbor::encode(message, &mut frame) {
        Ok(()) => {}
        Err(infallible) => unreachable!("a Vec takes every write: {infallible}"),
    }
    let body_bytes = frame.len() - LENGTH_BYTES;
    if body_bytes > cap_bytes {
        return Err(FrameError::TooLong(body_bytes, cap_bytes));
    }
    let length =
        u32::try_from(body_bytes).map_err(|_| FrameError::TooLong(body_bytes, cap_bytes))?;
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Cuts a byte stream into messages. It holds at most one frame and what came with it.
pub struct FrameDecoder {
    cap_bytes: usize,
    buffer: Vec<u8>,
    start: usize,
}

impl FrameDecoder {
    /// A decoder for one direction of one session.
    #[must_use]
    pub fn new(cap_bytes: usize) -> Self {
        Self {
            cap_bytes,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Adds what the transport read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; None until more bytes come. After an error other than [`FrameError::Unknown`] the stream
    /// has no meaning any more.
    pub fn next_message<T>(&mut self) -> Result<Option<T>, FrameError>
    where
        T: for<'b> Decode<'b, ()>,
    {
        let Some(head) = self.buffer[self.start..].first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let body_bytes = u32::from_be_bytes(*head) as usize;
        if body_bytes > self.cap_bytes {
            return Err(FrameError::TooLong(body_bytes, self.cap_bytes));
        }
        if body_bytes == 0 {
            return Err(FrameError::Empty);
        }
        let from = self.start + LENGTH_BYTES;
        let Some(body) = self.buffer.get(from..from + body_bytes) else {
            return Ok(None);
        };
        let message = decode_message(body);
        self.start = from + body_bytes;
        message.map(Some)
    }
}

fn decode_message<T>(body: &[u8]) -> Result<T, FrameError>
where
    T: for<'b> Decode<'b, ()>,
{
    let mut decoder = minicbor::Decoder::new(body);
    let message = decoder
        .decode()
        .map_err(|error| match error.is_unknown_variant() {
            true => FrameError::Unknown,
            false => FrameError::Damaged(error),
        })?;
    match body.len() - decoder.position() {
        0 => Ok(message),
        rest => Err(FrameError::Trailing(rest)),
    }
}

const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Revision, ToController};
    use proptest::prelude::*;

    fn ack(revision: u64) -> ToController {
        ToController::Applied {
            revision: Revision(revision),
        }
    }

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let stream: Vec<u8> = (0..50)
            .flat_map(|n| encode_frame(&ack(n * 1_000), MAX_FRAME_TO_CONTROLLER_BYTES).unwrap())
            .collect();
        for piece in [1, 2, 3, 7, 64, stream.len()] {
            let mut decoder = FrameDecoder::new(MAX_FRAME_TO_CONTROLLER_BYTES);
            let mut seen = 0;
            for chunk in stream.chunks(piece) {
                decoder.push(chunk);
                while let Some(message) = decoder.next_message::<ToController>().unwrap() {
                    assert_eq!(message, ack(seen * 1_000));
                    seen += 1;
                }
            }
            assert_eq!(seen, 50);
        }
    }

    #[test]
    fn a_length_over_the_cap_is_refused_from_its_four_bytes() {
        let mut decoder = FrameDecoder::new(1_000);
        decoder.push(&1_001_u32.to_be_bytes());
        assert!(matches!(
            decoder.next_message::<ToController>(),
            Err(FrameError::TooLong(1_001, 1_000))
        ));
    }

    #[test]
    fn a_message_of_a_newer_protocol_is_skipped_and_the_next_one_read() {
        let mut decoder = FrameDecoder::new(1_000);
        decoder.push(&[0, 0, 0, 4, 0x82, 0x18, 0xc8, 0x80]);
        decoder.push(&encode_frame(&ack(1), 1_000).unwrap());
        assert!(matches!(
            decoder.next_message::<ToController>(),
            Err(FrameError::Unknown)
        ));
        assert_eq!(decoder.next_message().unwrap(), Some(ack(1)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            crate::fuzz::control_frame(&bytes);
        }
    }
}
