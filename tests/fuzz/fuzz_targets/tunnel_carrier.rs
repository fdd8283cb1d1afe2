//! What comes over a carrier's byte stream.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_tunnel::fuzz::carried(data));
