//! Segments of several flows, joined and cut again.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_tunnel::fuzz::joined(data));
