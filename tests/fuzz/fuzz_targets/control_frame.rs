//! What a peer sends on the control port.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_proto::fuzz::control_frame(data));
