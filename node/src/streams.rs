//! The connection beside the tunnel by which a hub opens streams to this node's services over QUIC. What a stream may reach is
//! the tunnel's decision; when to take this way instead of the tunnel is the hub's.
//!
//! Only a node with the `netstack` engine has one: its own TCP sends a hundred times slower over a path that loses packets
//! than QUIC with BBR does, which is what this connection speaks.

mod dial;
mod readers;
mod serve;
mod stream;
#[cfg(test)]
mod tests;

pub use readers::{RELIEF_INTERVAL, Reader, Readers, most_slow};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{Family, MAX_FORMER_STREAM_CONNECTIONS, NodeId, OverlayAddresses, Peer};
use malha_tunnel::{PublicKey, Tunnel};
use quinn::{Connection, Endpoint};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::agent::STABLE_SESSION_MS;
use crate::control::Credentials;

/// Where and as whom to dial; as long as it is None, there is no stream connection.
#[derive(Clone)]
pub struct Contact {
    /// The controller to which the control session is open, `host:port`.
    pub controller: Arc<str>,
    pub credentials: Arc<Credentials>,
}

/// What runs of the overlay on this node. None while nothing does.
#[derive(Clone)]
pub struct Overlay {
    pub tunnel: Arc<dyn Tunnel>,
    pub me: OverlayAddresses,
    pub hubs: Vec<HubPeer>,
}

/// One of the peers that are hubs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubPeer {
    pub id: NodeId,
    pub key: PublicKey,
    pub addresses: OverlayAddresses,
}

/// What the stream connection does, for the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamsView {
    /// The connection that stands.
    pub since: Option<Instant>,
    /// Connections to services that came by it since the start.
    pub opened: u64,
    pub last: Option<Instant>,
}

/// Keeps a stream connection as long as there is a contact, until the sender of `contact` is dropped. Another contact, as after a
/// renewal, gets a connection of its own; the one before serves on beside it, so that no stream is cut, and the hub closes it.
pub async fn run_streams(
    mut contact: watch::Receiver<Option<Contact>>,
    overlay: watch::Receiver<Option<Overlay>>,
    view: watch::Sender<StreamsView>,
) {
    let mut pause = FIRST_PAUSE;
    let mut lines = Lines::default();
    loop {
        let Some(wanted) = contact.borrow_and_update().clone() else {
            match contact.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let stood = tokio::select! {
            stood = keep(&wanted, &mut lines, &overlay, &view) => stood,
            changed = contact.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        pause = next_pause(pause, stood);
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            changed = contact.changed() => if changed.is_err() { return },
        }
    }
}

/// One connection from dial to end. Says how long it stood. Cancelled, it leaves a connection that stands among `lines`.
async fn keep(
    contact: &Contact,
    lines: &mut Lines,
    overlay: &watch::Receiver<Option<Overlay>>,
    view: &watch::Sender<StreamsView>,
) -> Duration {
    match dial::connect(&contact.controller, &contact.credentials).await {
        Ok((endpoint, connection)) => {
            let streams = TaskTracker::new();
            let line = (connection.clone(), streams.clone());
            let serving = stand(endpoint, line, overlay.clone(), view.clone());
            let newest = lines.add(Line {
                connection,
                streams,
                serving: AbortOnDropHandle::new(tokio::spawn(serving)),
            });
            newest.await.unwrap_or(Duration::ZERO)
        }
        Err(error) => {
            tracing::debug!(%error, "no stream connection");
            Duration::ZERO
        }
    }
}

async fn stand(
    _endpoint: Endpoint,
    (connection, streams): (Connection, TaskTracker),
    overlay: watch::Receiver<Option<Overlay>>,
    view: watch::Sender<StreamsView>,
) -> Duration {
    tracing::debug!("the stream connection stands");
    let since = Instant::now();
    view.send_modify(|view| view.since = Some(since));
    serve::serve(&connection, &streams, overlay, &view).await;
    view.send_if_modified(|view| view.since.take_if(|it| *it == since).is_some());
    since.elapsed()
}

/// The connections that stand.
#[derive(Default)]
struct Lines {
    newest: Option<Line>,
    /// Oldest first, [`MAX_FORMER`] at most.
    former: Vec<Line>,
}

struct Line {
    connection: Connection,
    /// Those that are open.
    streams: TaskTracker,
    serving: AbortOnDropHandle<Duration>,
}

impl Lines {
    /// Takes a newer one, and gives what ends with it.
    fn add(&mut self, newest: Line) -> &mut AbortOnDropHandle<Duration> {
        self.former.extend(self.newest.take());
        self.former.retain(|line| !line.serving.is_finished());
        if self.former.len() > MAX_FORMER {
            let idle = self.former.iter().position(|line| line.streams.is_empty());
            let given_up = self.former.remove(idle.unwrap_or(0));
            let why = b"too many after this one";
            given_up.connection.close(0_u32.into(), why);
        }
        &mut self.newest.insert(newest).serving
    }
}

/// A handshake alone forgets no failure: a hub that refuses this node does so behind it.
fn next_pause(pause: Duration, stood: Duration) -> Duration {
    match stood >= STABLE {
        true => FIRST_PAUSE,
        false => (pause * 2).min(LAST_PAUSE),
    }
}

/// Between half and the whole of a pause, so that nodes don't return together.
fn jittered(pause: Duration) -> Duration {
    let share = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}

impl HubPeer {
    pub(crate) fn of(peer: &Peer) -> Self {
        Self {
            id: peer.id,
            key: PublicKey::from_bytes(peer.key.0),
            addresses: peer.addresses,
        }
    }
}

impl Overlay {
    /// This node's address and the hub's, in the family of the first.
    fn ends(&self, hub: &HubPeer, family: Family, port: u16) -> (SocketAddr, SocketAddr) {
        match family {
            Family::V4 => ((self.me.v4, port).into(), (hub.addresses.v4, 0).into()),
            Family::V6 => ((self.me.v6, port).into(), (hub.addresses.v6, 0).into()),
        }
    }
}

/// One more than the hub keeps: it closes the one that a newer connection replaces, or another, only after that one stands here.
const MAX_FORMER: usize = MAX_FORMER_STREAM_CONNECTIONS + 1;
/// As for a session of the control channel.
const STABLE: Duration = Duration::from_millis(STABLE_SESSION_MS);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Where UDP is blocked, one try a minute costs nothing.
const LAST_PAUSE: Duration = Duration::from_secs(60);
