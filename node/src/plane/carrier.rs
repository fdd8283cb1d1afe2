//! The carrier of the data plane: the stream over which the hub is reached where UDP does not pass. One at a time; when to
//! have one is the agent's decision.

use std::fmt;
use std::future::pending;

use malha_tunnel::{CarrierId, CarrierStream, PublicKey, TunnelEvent};
use tokio::sync::broadcast::error::RecvError;

use super::{Plane, PlaneEvent, Running};

/// A carrier's stream on its way to the tunnel.
pub struct Carried(pub CarrierStream);

/// A carrier that the tunnel has.
pub(super) struct Carrier {
    number: u64,
    id: CarrierId,
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carried(..)")
    }
}

/// The next event of the tunnel, never one while there is none; `None` if some were missed, since there were too many at once.
pub(super) async fn next_event(running: &mut Option<Running>) -> Option<TunnelEvent> {
    let Some(running) = running else {
        return pending().await;
    };
    match running.events.recv().await {
        Ok(event) => Some(event),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => pending().await,
    }
}

impl Plane {
    pub(super) async fn attach(&mut self, number: u64, stream: Carried) -> PlaneEvent {
        let ended = |why: String| PlaneEvent::CarrierEnded {
            carrier: number,
            why,
        };
        let hub = self.hub_key();
        let Some((running, hub)) = self.running.as_ref().zip(hub) else {
            return ended("there is no tunnel to a hub".into());
        };
        if let Some(former) = self.carrier.take() {
            running.tunnel.detach_carrier(former.id).await;
        }
        match running.tunnel.attach_carrier(stream.0, Some(hub)).await {
            Ok(id) => {
                self.carrier = Some(Carrier { number, id });
                PlaneEvent::CarrierUp { carrier: number }
            }
            Err(error) => ended(error.to_string()),
        }
    }

    pub(super) async fn detach(&mut self, number: u64) {
        let carrier = self.carrier.take_if(|carrier| carrier.number == number);
        if let Some((carrier, running)) = carrier.zip(self.running.as_ref()) {
            running.tunnel.detach_carrier(carrier.id).await;
        }
    }

    /// What of the tunnel's events is the shell's business. Of those that were missed, silence is told again, and a look at the
    /// peers shows the rest; but that a carrier has ended is told once, so none is believed any longer.
    pub(super) async fn hear(&mut self, event: Option<TunnelEvent>) -> Option<PlaneEvent> {
        let Some(event) = event else {
            let carrier = self.carrier.take()?;
            if let Some(running) = &self.running {
                running.tunnel.detach_carrier(carrier.id).await;
            }
            return Some(carrier.ended("whether it still lives was missed"));
        };
        match event {
            TunnelEvent::PathSilent { peer } => {
                (self.hub_key() == Some(peer)).then_some(PlaneEvent::HubSilent)
            }
            TunnelEvent::CarrierClosed { id } => {
                let carrier = self.carrier.take_if(|carrier| carrier.id == id)?;
                Some(carrier.ended("its stream has ended"))
            }
            _ => None,
        }
    }

    /// The carrier that went down with its tunnel.
    pub(super) fn lost_carrier(&mut self) -> Option<PlaneEvent> {
        let lost = self.lost_carrier.take()?;
        Some(lost.ended("the tunnel was restarted"))
    }

    fn hub_key(&self) -> Option<PublicKey> {
        let mut peers = self.running.as_ref()?.peers.values();
        let hub = peers.find(|set| set.peer.hub)?;
        Some(PublicKey::from_bytes(hub.peer.key.0))
    }
}

impl Carrier {
    fn ended(self, why: &str) -> PlaneEvent {
        PlaneEvent::CarrierEnded {
            carrier: self.number,
            why: why.into(),
        }
    }
}
