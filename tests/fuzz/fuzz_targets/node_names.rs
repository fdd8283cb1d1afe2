//! What a program on the machine sends to the agent's resolver.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| malha_node::names::fuzz::query(data));
