//! Stories of the layer-4 balancer over real sockets on loopback, with real backends and a real health port.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod admission;
mod carrying;
mod choosing;
mod failover;
mod haproxy;
mod journal;
mod rig;
mod settling;
mod sources;
