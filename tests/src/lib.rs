//! The tests that need more than one room: a fleet in virtual time, and whole installations in network namespaces.

#![forbid(unsafe_code)]

pub mod fleet;
pub mod lab;
