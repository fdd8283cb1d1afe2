//! Takes connections in at one door: whose source is not listed, or has too many, is reset at once. It knows no backend.

use std::sync::Arc;

use super::balancer::Floor;
use super::link::{Arrival, Listener};
use super::stream::serve;

/// Accepts until the listener ends or this is dropped.
pub(super) async fn accept_forever(floor: Arc<Floor>, mut listener: Box<dyn Listener>) {
    loop {
        match listener.accept().await {
            Ok(arrival) => admit(&floor, arrival),
            Err(error) => {
                tracing::warn!(%error, "a balancer's listener has ended");
                return;
            }
        }
    }
}

fn admit(floor: &Arc<Floor>, arrival: Arrival) {
    match floor.admit(arrival.source.ip()) {
        Some((terms, place)) => {
            let served = serve(Arc::clone(floor), terms, arrival, place);
            floor.connections.spawn(served);
        }
        None => arrival.link.abort(),
    }
}
