//! What a person pastes for a token.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_proto::fuzz::token(data));
