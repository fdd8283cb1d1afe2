//! The ways out of this machine that the agent asks for, each as a task: links to a controller, the carrier of the tunnel, and
//! looks at services, ports and names.

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

impl Shell {
    pub(super) fn connect(&mut self, link: LinkId, controller: Arc<str>, transport: Transport) {
        tracing::debug!(%controller, %transport, "dialing");
        let (outgoing, queue) = mpsc::channel(MAX_LINK_QUEUE);
        self.links.insert(link, outgoing);
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
        tracing::info!("UDP does not reach the hub; going over TCP");
        let credentials = self.credentials.clone();
        let (events, orders) = (self.events.clone(), self.orders.clone());
        self.tasks.spawn(async move {
            let failed = match dial_carrier(&controller, &credentials).await {
                Ok(stream) => {
                    let stream = Carried(stream);
                    let attach = PlaneOrder::AttachCarrier { carrier, stream };
                    let taken = orders.send(attach).await;
                    taken.map_err(|_| LinkError::new(LinkFault::Closed, "the tunnel is gone"))
                }
                Err(error) => Err(error),
            };
            if let Err(error) = failed {
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
        let Some(outgoing) = self.links.get(&link) else {
            return;
        };
        if outgoing.try_send(message).is_err() {
            self.links.remove(&link);
            let error = LinkError::new(LinkFault::Silent, "the connection takes nothing any more");
            self.next.push_back(Event::Lost { link, error });
        }
    }
}
