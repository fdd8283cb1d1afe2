//! What comes from the underlay at a device with a live session.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_tunnel::fuzz::datagram(data));
