//! The server on real loopback sockets: what `dig` and `kdig` see, and how it stands bad clients.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod dig;
mod served;
mod sockets;
