//! Who may send through the relay, with right seals.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_tunnel::fuzz::bound(data));
