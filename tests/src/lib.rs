//! The tests that need more than one room: a fleet in virtual time, and whole installations in network namespaces.

#![forbid(unsafe_code)]

pub mod bench;
pub mod demo;
pub mod fleet;
pub mod fuzz;
pub mod lab;
