//! The door through which the edge opens connections into the overlay. Says nothing about how the tunnel works.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A byte stream of any kind.
pub type BoxStream = Box<dyn ByteStream>;

/// Opens TCP connections through the tunnel.
///
/// The error kind decides whose fault a failed request was: `ConnectionRefused`, `ConnectionReset` and
/// `ConnectionAborted` blame the origin, everything else (`TimedOut`, `HostUnreachable`, …) blames the tunnel.
#[async_trait]
pub trait Dialer: Send + Sync + 'static {
    /// `address` is an overlay address; `timeout` bounds the whole attempt.
    async fn dial(&self, address: SocketAddr, timeout: Duration) -> io::Result<BoxStream>;

    /// Changes when new connections to the address take another way than before; those kept from before are not used for
    /// further requests then.
    fn way(&self, address: SocketAddr) -> u64 {
        let _ = address;
        0
    }
}
