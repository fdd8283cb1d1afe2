//! What a resolver sends to the DNS server.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_zone::fuzz_answer(data));
