//! Packets that leave and enter one after another, at the filter.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_tunnel::fuzz::filter(data));
