//! Entries for fuzzing: each takes any bytes and must return. Replayed over a committed corpus as ordinary tests.

use crate::{
    EnrolToken, FrameDecoder, FrameError, MAX_FRAME_TO_CONTROLLER_BYTES, MAX_FRAME_TO_NODE_BYTES,
    PathLoss, StreamAnswer, StreamOpen, ToController, ToNode, encode_frame, token::text_of,
};

/// Bytes as a peer on the control port could send them, in both directions, and the same as the body of one frame: an
/// attacker counts right. A message that decodes must encode again to one that decodes the same. The short messages beside the
/// tunnel are tried too.
pub fn control_frame(bytes: &[u8]) {
    stream(bytes);
    let framed = u32::try_from(bytes.len()).map(|length| [&length.to_be_bytes(), bytes].concat());
    for stream in [Ok(bytes.to_vec()), framed].into_iter().flatten() {
        drain::<ToController>(&stream, MAX_FRAME_TO_CONTROLLER_BYTES);
        drain::<ToNode>(&stream, MAX_FRAME_TO_NODE_BYTES);
    }
}

/// The first bytes of a stream beside the tunnel, in both directions. What decodes must encode to the same bytes.
fn stream(bytes: &[u8]) {
    if let Some(bytes) = bytes.first_chunk()
        && let Some(open) = StreamOpen::decode(bytes)
    {
        assert_eq!(open.encode(), *bytes);
        assert_ne!(open.port, 0);
    }
    if let Some(bytes) = bytes.first_chunk() {
        assert_eq!(PathLoss::decode(bytes).encode(), *bytes);
    }
    if let Some(byte) = bytes.first()
        && let Some(answer) = StreamAnswer::decode(*byte)
    {
        assert_eq!(answer.encode(), *byte);
    }
}

/// A text as a person could paste it for a token, and the same bytes inside a token whose checksum is right. One that
/// parses must print and parse to the same.
pub fn token(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_same_token(text);
    }
    assert_same_token(&text_of(bytes.to_vec()));
}

fn assert_same_token(text: &str) {
    if let Ok(token) = text.parse::<EnrolToken>() {
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
