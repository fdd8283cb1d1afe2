//! Frames of a TUN device with hostile headers, cut, sealed, opened and joined again.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_tunnel::fuzz::tun_frame(data));
