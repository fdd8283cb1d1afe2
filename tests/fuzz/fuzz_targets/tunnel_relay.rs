//! Frames between a node and a relay, at both of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_tunnel::fuzz::relay_frame(data));
