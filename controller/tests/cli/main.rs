//! The `malha` program as its users run it: real processes against a real API on loopback, over a data folder that
//! `malha init` made.

#![allow(
    clippy::unwrap_used,
    reason = "a story ends where one of its steps fails"
)]

mod access;
mod backup;
mod bad_input;
mod local;
mod pages;
mod portuguese;
mod rig;
mod road;
mod warnings;
