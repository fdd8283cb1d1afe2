//! The looks and verdicts of compliance checks against real parts, each on a machine of its own in network namespaces and at its
//! real port: OpenSSL's server, OCSP responder and time-stamp authority, NSD, HAProxy. Each finding is made true and false, as
//! [`table`] lists. Needs root and these programs; says so and passes otherwise.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod authority;
mod clock;
mod court;
mod evidence;
mod handshakes;
mod names;
mod net;
mod pages;
mod parts;
mod revocation;
mod rig;
mod silence;
mod stamps;
mod table;
