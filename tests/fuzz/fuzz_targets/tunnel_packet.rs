//! What a permitted peer sends through the tunnel.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_tunnel::fuzz::packet(data));
