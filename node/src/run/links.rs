//! The ways out of this machine that the agent asks for, each as a task: links to a controller, the carrier of the tunnel, and
//! looks at services, ports and names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{ProbeOrder, ProbeResult, ServiceId, ServiceKind, ToController};
use tokio::sync::mpsc;

use super::Shell;
use crate::agent::{Event, LinkError, LinkFault, LinkId, Transport};
use crate::control::{Credentials, MAX_LINK_QUEUE, NodeCredentials, dial_carrier, run_link};
use crate::plane::{Carried, PlaneOrder};
use crate::port_probe::{ProbeChoice, probe_ports};
use crate::probe::probe;
use crate::state::{Identity, Keys};

/// What links show of this node, and whom they believe.
pub(super) fn credentials(identity: &Identity, keys: &Keys) -> Credentials {
    let certificate = keys.certificate.clone();
    Credentials {
        authority: identity.authority,
        authority_certificate: Some(identity.authority_certificate.clone().into()),
        node: certificate.map(|certificate| NodeCredentials {
            certificate,
            key: keys.tls_key(),
        }),
    }
}

/// Gives the plane a carrier once it is there. The plane ends with the last sender of its orders, so none is held meanwhile.
async fn attach(
    carrier: u64,
    dial: impl Future<Output = Result<Carried, LinkError>>,
    orders: mpsc::WeakSender<PlaneOrder>,
) -> Result<(), LinkError> {
    let stream = dial.await?;
    let gone = || LinkError::new(LinkFault::Closed, "the tunnel is gone");
    let attach = PlaneOrder::AttachCarrier { carrier, stream };
    let orders = orders.upgrade().ok_or_else(gone)?;
    orders.send(attach).await.map_err(|_| gone())
}

/// Where what goes to the controller waits, by link.
#[derive(Default)]
pub(super) struct Links(BTreeMap<LinkId, mpsc::Sender<ToController>>);

impl Links {
    /// What [`Links::send`] gives the link. Those that have ended are forgotten.
    fn open(&mut self, link: LinkId) -> mpsc::Receiver<ToController> {
        let (outgoing, queue) = mpsc::channel(MAX_LINK_QUEUE);
        self.0.retain(|_, outgoing| !outgoing.is_closed());
        self.0.insert(link, outgoing);
        queue
    }

    /// Ends a link once its queue is empty.
    pub(super) fn close(&mut self, link: LinkId) {
        self.0.remove(&link);
    }

    /// False if the link takes nothing any more; then it is closed. One that was closed before takes everything and says nothing.
    fn send(&mut self, link: LinkId, message: ToController) -> bool {
        let outgoing = self.0.get(&link);
        let taken = outgoing.is_none_or(|outgoing| outgoing.try_send(message).is_ok());
        if !taken {
            self.close(link);
        }
        taken
    }
}

/// Tries since the last one that succeeded, and which of them are worth a line in the log: the first, and then ever fewer.
#[derive(Default)]
pub(super) struct Tries(u32);

impl Tries {
    fn begin(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    pub(super) fn succeed(&mut self) {
        self.0 = 0;
    }

    pub(super) fn is_news(&self) -> bool {
        self.0 == 0 || self.0.is_power_of_two()
    }
}

impl Shell {
    pub(super) fn connect(&mut self, link: LinkId, controller: Arc<str>, transport: Transport) {
        tracing::debug!(%controller, %transport, "dialing");
        let queue = self.links.open(link);
        let credentials = self.credentials.clone();
        let events = self.events.clone();
        self.tasks.spawn(run_link(
            link,
            controller,
            transport,
            credentials,
            queue,
            events,
        ));
    }

    pub(super) fn open_carrier(&mut self, carrier: u64, controller: Arc<str>) {
        self.carrier_tries.begin();
        if self.carrier_tries.is_news() {
            tracing::info!("UDP does not reach the hub; going over TCP");
        }
        let credentials = self.credentials.clone();
        let (events, orders) = (self.events.clone(), self.orders.downgrade());
        self.tasks.spawn(async move {
            let dial = async { dial_carrier(&controller, &credentials).await.map(Carried) };
            if let Err(error) = attach(carrier, dial, orders).await {
                let _ = events.send(Event::CarrierEnded { carrier, error }).await;
            }
        });
    }

    pub(super) fn probe(&mut self, service: ServiceId, target: SocketAddr, kind: ServiceKind) {
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let state = probe(target, kind).await;
            // The receiver is gone only at the end.
            let _ = events.send(Event::Probed { service, state }).await;
        });
    }

    pub(super) fn probe_ports(&mut self, mut order: ProbeOrder) {
        tracing::info!(
            ports = order.targets.len(),
            names = order.names.len(),
            "the controller has ports and names looked at"
        );
        let (events, choice) = (self.events.clone(), self.probes);
        let overlay = self.overlay.borrow().clone();
        let names = match choice {
            ProbeChoice::Off => Vec::new(),
            ProbeChoice::Public | ProbeChoice::Any => std::mem::take(&mut order.names),
        };
        let limit = Duration::from_millis(order.timeout_ms.into());
        let names = self.names.look_up(names, limit);
        self.tasks.spawn(async move {
            let looks = async { tokio::join!(probe_ports(order, choice, overlay.as_ref()), names) };
            let result = tokio::select! {
                (result, names) = looks => ProbeResult { names, ..result },
                // The end does not wait for silent ports.
                () = events.closed() => return,
            };
            let _ = events.send(Event::PortsProbed { result }).await;
        });
    }

    pub(super) fn send(&mut self, link: LinkId, message: ToController) {
        if !self.links.send(link, message) {
            let error = LinkError::new(LinkFault::Silent, "the connection takes nothing any more");
            self.next.push_back(Event::Lost { link, error });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_have_ended_are_not_kept() {
        let mut links = Links::default();
        let stands = links.open(LinkId(0));
        for number in 1..100 {
            drop(links.open(LinkId(number)));
        }
        assert_eq!(links.0.len(), 2);
        drop(stands);
        assert!(!links.send(LinkId(0), ToController::LeaseSaved));
        assert!(links.send(LinkId(0), ToController::LeaseSaved));
    }

    #[test]
    fn tries_without_end_are_told_of_ever_more_rarely() {
        let mut tries = Tries::default();
        let told = (0..10_000).filter(|_| {
            tries.begin();
            tries.is_news()
        });
        assert_eq!(told.count(), 14);
        tries.succeed();
        assert!(tries.is_news(), "the end of one that stood");
        tries.begin();
        assert!(tries.is_news());
    }

    #[tokio::test]
    async fn a_carrier_that_is_dialled_keeps_no_plane_from_ending() {
        let (orders, mut inbox) = mpsc::channel(1);
        let weak = orders.downgrade();
        let dialling = tokio::spawn(attach(1, std::future::pending(), weak));
        tokio::task::yield_now().await;
        drop(orders);
        assert!(inbox.recv().await.is_none());
        dialling.abort();
    }
}
