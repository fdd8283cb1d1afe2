//! Hands connections that arrive through the tunnel to a local target. It never looks at what they carry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::listener::TunnelListener;
use crate::stream::BoxStream;

/// Copies every connection of `listener` to `target` and back until `stop` is cancelled, at most `max_connections` at a time:
/// further ones are reset as soon as they come, and added to `over_limit`. If one side refuses or fails, the other is reset, so that whoever is there can tell this from an end of data. Returns when all its connections have ended or been reset.
pub async fn forward(
    mut listener: TunnelListener,
    target: SocketAddr,
    max_connections: usize,
    over_limit: Arc<AtomicU64>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        // In this order: a place that is free again is seen before somebody is refused for it.
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((mut stream, _)) = accepted else { break };
                if connections.len() < max_connections {
                    connections.spawn(carry(stream, target, stop.clone()));
                } else {
                    over_limit.fetch_add(1, Ordering::Relaxed);
                    stream.abort();
                }
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn carry(mut stream: BoxStream, target: SocketAddr, stop: CancellationToken) {
    let connected = tokio::select! {
        () = stop.cancelled() => None,
        connected = timeout(CONNECT_LIMIT, TcpStream::connect(target)) => connected.ok(),
    };
    let Some(Ok(mut local)) = connected else {
        return stream.abort();
    };
    // A proxy adds delay enough; a lost hint costs only speed.
    let _ = local.set_nodelay(true);
    let copied = tokio::io::copy_bidirectional_with_sizes(
        &mut stream,
        &mut local,
        COPY_BUFFER_BYTES,
        COPY_BUFFER_BYTES,
    );
    let ended_well = tokio::select! {
        () = stop.cancelled() => false,
        copied = copied => copied.is_ok(),
    };
    if !ended_well {
        stream.abort();
        // With linger 0 the kernel closes by reset; should that fail, the worst is an orderly end.
        let _ = SockRef::from(&local).set_linger(Some(Duration::ZERO));
    }
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const COPY_BUFFER_BYTES: usize = 64 * 1024;
