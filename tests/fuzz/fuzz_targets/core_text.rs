//! What an operator writes: policies, profiles, declarations.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_core::fuzz::text(data));
