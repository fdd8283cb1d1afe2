//! Entries for fuzzing: each takes any bytes and must return. Replayed over a committed corpus as ordinary tests.

use crate::{
    EnrolToken, FrameDecoder, FrameError, MAX_FRAME_TO_CONTROLLER_BYTES, MAX_FRAME_TO_NODE_BYTES,
    ToController, ToNode, encode_frame,
};

/// Bytes as a peer on the control port could send them, in both directions. A message that decodes must encode again to
/// one that decodes the same.
pub fn control_frame(bytes: &[u8]) {
    drain::<ToController>(bytes, MAX_FRAME_TO_CONTROLLER_BYTES);
    drain::<ToNode>(bytes, MAX_FRAME_TO_NODE_BYTES);
}

/// A text as a person could paste it for a token. One that parses must print and parse to the same.
pub fn token(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(token) = text.parse::<EnrolToken>()
    {
        assert_eq!(token.expose().parse().ok(), Some(token));
    }
}

fn drain<T>(bytes: &[u8], cap_bytes: usize)
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()> + PartialEq + std::fmt::Debug,
{
    let mut decoder = FrameDecoder::new(cap_bytes);
    decoder.push(bytes);
    loop {
        match decoder.next_message::<T>() {
            Ok(Some(message)) => assert_same(&message, cap_bytes),
            Err(FrameError::Unknown) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn assert_same<T>(message: &T, cap_bytes: usize)
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()> + PartialEq + std::fmt::Debug,
{
    let Ok(frame) = encode_frame(message, cap_bytes) else {
        return;
    };
    let mut decoder = FrameDecoder::new(cap_bytes);
    decoder.push(&frame);
    assert_eq!(
        decoder.next_message::<T>().ok().flatten().as_ref(),
        Some(message)
    );
}
