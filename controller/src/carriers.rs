//! Carriers: streams from nodes whose networks let only TCP pass, given to the hub's tunnel. A node proves by its certificate
//! that it may have one; one that is removed or held apart loses it at once.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use malha_core::State;
use malha_proto::{CARRIER_PATH, CARRIER_PROTOCOL, Fingerprint, NodeId};
use malha_tunnel::{CarrierId, Tunnel, TunnelEvent};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::coordinator::Handle;
use crate::session::PeerCertificate;

/// Every carrier of this controller's hub; at most one per node.
pub struct Carriers {
    tunnel: Arc<dyn Tunnel>,
    handle: Handle,
    /// Held while a carrier is given to the tunnel or taken away, so that none slips in beside a removal.
    by_node: Mutex<BTreeMap<NodeId, (CarrierId, Fingerprint)>>,
}

impl Carriers {
    #[must_use]
    pub fn new(tunnel: Arc<dyn Tunnel>, handle: Handle) -> Self {
        Self {
            tunnel,
            handle,
            by_node: Mutex::default(),
        }
    }

    /// Forgets carriers that have ended, and ends those of nodes that may have none any more, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut events = self.tunnel.events();
        let mut committed = self.handle.committed();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(TunnelEvent::CarrierClosed { id }) => self.forget(id).await,
                    Ok(_) => {}
                    // An entry that stays is replaced when its node comes again.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                change = committed.recv() => match change {
                    Ok(change) => {
                        let concerned = change.affected.concerned();
                        self.cut(|node| concerned.contains(&node)).await;
                    }
                    Err(RecvError::Lagged(_)) => self.cut(|_| true).await,
                    Err(RecvError::Closed) => return,
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Serves one request for a carrier on a connection whose other side TLS says to be this.
    pub async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        certificate: Option<PeerCertificate>,
    ) {
        let answer = |request: Request<Incoming>| async move {
            let accepted = certificate.filter(|who| may_carry(&self.handle.state(), *who));
            Ok::<_, Infallible>(match (asks_for_carrier(&request), accepted) {
                (Some(refusal), _) => empty(refusal),
                (None, None) => empty(StatusCode::FORBIDDEN),
                (None, Some(_)) if !self.tunnel.engine().has_ways_beside_udp() => {
                    empty(StatusCode::NOT_IMPLEMENTED)
                }
                (None, Some(_)) => switching(),
            })
        };
        // The upgrade is the connection's own future, so the request's part of it is kept until the answer is out.
        let (upgrades, mut asked) = tokio::sync::mpsc::channel(1);
        let service = service_fn(|mut request: Request<Incoming>| {
            let upgrade = hyper::upgrade::on(&mut request);
            let upgrades = upgrades.clone();
            async move {
                let response = answer(request).await?;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    let _ = upgrades.try_send(upgrade);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_LIMIT)
            .max_buf_size(MAX_HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            return tracing::debug!(%error, "a connection for a carrier failed");
        }
        let (Ok(upgrade), Some(certificate)) = (asked.try_recv(), certificate) else {
            return;
        };
        match upgrade.await {
            Ok(stream) => self.attach(certificate, stream).await,
            Err(error) => tracing::debug!(%error, "a carrier was not opened"),
        }
    }

    async fn attach(&self, certificate: PeerCertificate, stream: hyper::upgrade::Upgraded) {
        let node = certificate.node;
        let mut by_node = self.by_node.lock().await;
        if !may_carry(&self.handle.state(), certificate) {
            return;
        }
        let stream = Box::new(TokioIo::new(stream));
        match self.tunnel.attach_carrier(stream, None).await {
            Ok(id) => {
                tracing::debug!(%node, "a node comes over TCP");
                if let Some((former, _)) = by_node.insert(node, (id, certificate.key)) {
                    self.tunnel.detach_carrier(former).await;
                }
            }
            Err(error) => tracing::warn!(%error, "the hub's tunnel takes no carrier"),
        }
    }

    async fn forget(&self, ended: CarrierId) {
        self.by_node.lock().await.retain(|_, (id, _)| *id != ended);
    }

    /// Ends the carriers of those of `these` nodes that take no part in the overlay now, or were opened by a box whose place another took.
    async fn cut(&self, these: impl Fn(NodeId) -> bool) {
        let mut by_node = self.by_node.lock().await;
        let state = self.handle.state();
        // One that was opened before a renewal goes on.
        let stays = |node, key: &Fingerprint| {
            let node = state.node(node);
            node.is_some_and(|node| node.is_active() && node.knows_key(key))
        };
        let gone = by_node.extract_if(.., |node, (_, key)| these(*node) && !stays(*node, key));
        let gone: Vec<CarrierId> = gone.map(|(_, (id, _))| id).collect();
        for id in gone {
            self.tunnel.detach_carrier(id).await;
        }
    }
}

/// The certificate is the newest of a node that takes part in the overlay.
fn may_carry(state: &State, certificate: PeerCertificate) -> bool {
    let node = state.node(certificate.node);
    node.is_some_and(|node| node.is_active() && node.tls_key == certificate.key)
}

/// None for a request for a carrier; else what it is answered.
fn asks_for_carrier(request: &Request<Incoming>) -> Option<StatusCode> {
    if request.uri().path() != CARRIER_PATH {
        return Some(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::GET {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let upgrade = request.headers().get(header::UPGRADE);
    let is_ours = upgrade.is_some_and(|to| to.as_bytes() == CARRIER_PROTOCOL.as_bytes());
    (!is_ours).then_some(StatusCode::UPGRADE_REQUIRED)
}

fn switching() -> Response<Empty<Bytes>> {
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(CARRIER_PROTOCOL));
    response
}

fn empty(status: StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}

const REQUEST_LIMIT: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests;
