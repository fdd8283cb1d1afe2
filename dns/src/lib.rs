//! Authoritative DNS on sockets: UDP and TCP listeners in front of the pure answers of `malha-zone`.
//! It never recurses, never decides what an answer says, and holds no zone of its own.
//!
//! How many of each exist: one [`DnsServer`] per process, one UDP loop per address, one TCP loop for all
//! addresses with one task per connection. All end when the server's token is cancelled.

#![forbid(unsafe_code)]

mod counters;
mod error;
mod limits;
mod rate;
mod server;
mod source;
mod tcp;
mod udp;

pub use counters::{DnsCounters, DnsEvent};
pub use error::DnsError;
pub use limits::{Clients, Limits, UdpRate};
pub use server::{DnsServer, MAX_ADDRESSES, bind_tcp, bind_udp};
