//! Dialling through a tunnel that has just been started: nobody knows yet where the peers are, and they say so within moments. It
//! never waits for a peer of a tunnel that has been up for longer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::status::TunnelEvent;
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
    match settled_at.filter(|at| now < *at) {
        None => tunnel.dial(address, now + limit).await,
        Some(settled_at) => {
            let deadline = settled_at.max(now + limit);
            let dial = || tunnel.dial(address, deadline);
            dial_again(dial, || tunnel.events(), deadline).await
        }
    }
}

/// Dials again when something has happened to a peer, as long as nobody knows where this one is.
async fn dial_again<T, D: Future<Output = io::Result<T>>>(
    dial: impl Fn() -> D,
    events: impl Fn() -> Receiver<TunnelEvent>,
    deadline: Instant,
) -> io::Result<T> {
    loop {
        let news = News::new(events(), deadline);
        match dial().await {
            Err(error) if is_early(&error) && Instant::now() < deadline => {
                if !news.comes().await {
                    return Err(error);
                }
            }
            dialled => return dialled,
        }
    }
}

/// What happens to the peers of a tunnel that is settling. To be made before a dial, for only what happens from then on is a
/// reason to dial once more.
pub struct News {
    events: Receiver<TunnelEvent>,
    next_dial: Instant,
    deadline: Instant,
}

impl News {
    /// None: the tunnel has settled.
    pub fn of(tunnel: &dyn Tunnel, settled_at: Instant) -> Option<Self> {
        (Instant::now() < settled_at).then(|| Self::new(tunnel.events(), settled_at))
    }

    fn new(events: Receiver<TunnelEvent>, deadline: Instant) -> Self {
        Self {
            events,
            next_dial: (Instant::now() + DIAL_INTERVAL).min(deadline),
            deadline,
        }
    }

    /// Waits until a dial that failed with `HostUnreachable` may succeed. False: it will not, the tunnel has settled or ended.
    pub async fn comes(mut self) -> bool {
        // Whatever happens to a peer, it may be this one.
        let heard = timeout_at(self.deadline, self.events.recv()).await;
        let is_news = matches!(heard, Ok(Ok(_) | Err(RecvError::Lagged(_))));
        if is_news {
            sleep_until(self.next_dial).await;
        }
        is_news
    }
}

/// Nobody knows yet where the peer is.
fn is_early(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::HostUnreachable
}

/// How long after its start a tunnel may need to reach its peers again.
pub const SETTLING: Duration = Duration::from_secs(3);
/// The least time between two dials: many peers come back at once, and each is a reason for everybody who waits.
const DIAL_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::broadcast;

    use super::*;
    use crate::key::PrivateKey;

    fn event() -> TunnelEvent {
        let peer = PrivateKey::from_bytes([1; 32]).public_key();
        TunnelEvent::HandshakeCompleted { peer }
    }

    #[tokio::test(start_paused = true)]
    async fn peers_that_come_back_in_a_crowd_cost_few_dials() {
        let (crowd, _) = broadcast::channel(8);
        let dials = Cell::new(0);
        let dial = async || {
            dials.set(dials.get() + 1);
            // Another has come back meanwhile.
            let _ = crowd.send(event());
            match dials.get() {
                ..10_000 => Err::<(), _>(io::ErrorKind::HostUnreachable.into()),
                _ => Ok(()),
            }
        };
        let deadline = Instant::now() + SETTLING;
        let dialled = dial_again(dial, || crowd.subscribe(), deadline).await;
        let kind = dialled.unwrap_err().kind();
        assert_eq!((kind, dials.get()), (io::ErrorKind::HostUnreachable, 61));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_dialled_too_early_is_dialled_again_when_something_is_heard() {
        let (peers, _) = broadcast::channel(8);
        let dials = Cell::new(0);
        let dial = async || match dials.replace(dials.get() + 1) {
            0 => Err(io::ErrorKind::HostUnreachable.into()),
            dialled => Ok(dialled),
        };
        let deadline = Instant::now() + SETTLING;
        let dialling = dial_again(dial, || peers.subscribe(), deadline);
        let speaking = async {
            tokio::task::yield_now().await;
            peers.send(event()).unwrap();
        };
        let (dialled, ()) = tokio::join!(dialling, speaking);
        assert_eq!(dialled.unwrap(), 1);
        assert!(Instant::now() < deadline);
    }
}
