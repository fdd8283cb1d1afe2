//! Requests and certificates of nodes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_pki::fuzz::certificate(data));
