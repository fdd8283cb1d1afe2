//! What a server answers to a check: OCSP, time stamps, certificates.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_check::fuzz::answer(data));
