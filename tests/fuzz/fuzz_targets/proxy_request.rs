//! What a client of the edge says of its request.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_proxy::fuzz::request(data));
