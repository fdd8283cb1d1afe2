//! Dialling through a tunnel that has just been started: nobody knows yet where the peers are, and they say so within moments. It
//! never waits for a peer of a tunnel that has been up for longer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use crate::stream::BoxStream;
use crate::tunnel::Tunnel;

/// Dials for so long, or until `settled_at` if that is later. Before `settled_at` it waits for a peer of which nobody knows where it is.
///
/// # Errors
/// As [`Tunnel::dial`].
pub async fn dial_settling(
    tunnel: &dyn Tunnel,
    address: SocketAddr,
    limit: Duration,
    settled_at: Option<Instant>,
) -> io::Result<BoxStream> {
    let now = Instant::now();
    let settling = settled_at.filter(|at| now < *at);
    let deadline = settling.map_or(now + limit, |at| at.max(now + limit));
    let mut events = tunnel.events();
    loop {
        match tunnel.dial(address, deadline).await {
            Err(error) if settling.is_some() && is_early(&error) => {
                // Whatever happens to a peer, it may be this one.
                let heard = timeout_at(deadline, events.recv()).await;
                if !matches!(heard, Ok(Ok(_) | Err(RecvError::Lagged(_)))) {
                    return Err(error);
                }
            }
            dialled => return dialled,
        }
    }
}

/// Nobody knows yet where the peer is.
fn is_early(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::HostUnreachable
}

/// How long after its start a tunnel may need to reach its peers again.
pub const SETTLING: Duration = Duration::from_secs(3);
