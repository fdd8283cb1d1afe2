//! The looks and verdicts against real parts on loopback: OpenSSL's server, OCSP responder and time-stamp authority, NSD, HAProxy.
//! Each finding is made true and false, as [`table`] lists. A part that is not installed is named, and its tests pass without it.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod authority;
mod evidence;
mod handshakes;
mod names;
mod pages;
mod parts;
mod revocation;
mod rig;
mod stamps;
mod table;
