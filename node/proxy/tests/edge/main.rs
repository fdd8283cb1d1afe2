//! Stories of the edge over real sockets, real TLS and real origins on loopback. Only the tunnel is left out: the
//! dialer goes straight to 127.0.0.1.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod access_log;
mod backends;
mod curl;
mod errors;
mod framing;
mod headers;
mod lifecycle;
mod limits;
mod origin;
mod redirect;
mod rig;
mod streaming;
mod tls;
mod websocket;
