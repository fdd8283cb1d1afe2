//! Control sessions: one per online node, over QUIC or TLS, both alike above the stream. They carry what the coordinator
//! committed and what nodes report; they decide nothing.

mod channel;
mod enrolment;
mod last_words;
mod limits;
mod listener;
mod node;
mod places;
mod probes;
mod registry;
mod shared_socket;
#[cfg(test)]
mod testbed;
mod turned_away;

pub use channel::{Channel, ChannelError, PeerCertificate, Remote, Transport};
pub use limits::SessionLimits;
pub use listener::{
    ControlListener, ListenError, bind_udp, endpoint_at, endpoint_on_tunnel, transport_config,
};
pub use probes::{ProbeError, ProbeRequest};
pub use registry::{Registry, Seat, SessionSummary};

use std::sync::Arc;

use malha_core::Topic;
use malha_pki::Authority;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::carriers::Carriers;
use crate::coordinator::Handle;
use crate::live::Live;
use crate::pairs::Pairs;
use crate::streams::Streams;

/// What every session shares.
pub struct SessionContext {
    pub handle: Handle,
    pub live: Arc<Live>,
    pub registry: Arc<Registry>,
    pub pairs: Arc<Pairs>,
    pub carriers: Arc<Carriers>,
    pub streams: Arc<Streams>,
    /// Signs node certificates.
    pub authority: Arc<Authority>,
    pub limits: SessionLimits,
    pub stop: CancellationToken,
}

/// Rings the sessions that a commit affects, and ends those of removed nodes, until the context stops.
pub async fn dispatch(context: Arc<SessionContext>) {
    let mut committed = context.handle.committed();
    loop {
        let change = tokio::select! {
            change = committed.recv() => change,
            () = context.stop.cancelled() => return,
        };
        match change {
            Ok(change) => {
                let concerned = change.affected.concerned();
                context.registry.ring(&concerned);
                let state = context.handle.state();
                context.pairs.follow(&state, &concerned);
                if !change.affected.removed.is_empty() {
                    context.pairs.forget(&change.affected.removed).await;
                }
                context.streams.review(&state, &concerned);
                if change.affected.topics.contains(&Topic::Services)
                    || !change.affected.removed.is_empty()
                {
                    context.live.forget_removed(&state);
                }
            }
            Err(RecvError::Lagged(_)) => {
                context.registry.ring_all();
                let state = context.handle.state();
                context.pairs.follow_all(&state);
                context.streams.review_all(&state);
            }
            Err(RecvError::Closed) => return,
        }
    }
}
