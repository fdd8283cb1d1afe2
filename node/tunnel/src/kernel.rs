//! The engine that leaves WireGuard to the kernel.

mod prefixes;
mod ruleset;
