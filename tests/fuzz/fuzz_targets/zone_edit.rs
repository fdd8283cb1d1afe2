//! What an operator or a route asks of a zone.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_zone::fuzz_edit(data));
