//! What a TCP connection through the tunnel looks like to its owner, whatever the engine. It never reconnects.

use tokio::io::{AsyncRead, AsyncWrite};

/// A TCP connection through the tunnel.
///
/// Shutting down the write half sends a FIN and leaves the read half open. Dropping the stream closes it in order if all
/// that arrived was read, otherwise it resets it, as the kernel does.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Ends the connection at once with a reset, so that the other side sees a failure and not an end of data.
    fn abort(&mut self);
}

pub type BoxStream = Box<dyn Stream>;
