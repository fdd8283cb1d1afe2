//! Takes connections in at one door: whose source is not listed, or has too many, is reset at once. It knows no backend.

use std::sync::Arc;

use super::balancer::Floor;
use super::link::{Arrival, Listener};
use super::stream::{Terms, serve};

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
    let spec = floor.spec();
    let (allowed, terms) = (spec.allows(arrival.source.ip()), Terms::from(&*spec));
    drop(spec);
    if !allowed {
        floor.counters.strange_connections.add(1);
        return arrival.link.abort();
    }
    match floor.admission.admit(arrival.source.ip()) {
        Some(place) => {
            floor.counters.accepted_connections.add(1);
            let served = serve(Arc::clone(floor), terms, arrival, place);
            floor.connections.spawn(served);
        }
        None => arrival.link.abort(),
    }
}
