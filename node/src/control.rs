//! The way to a controller: QUIC or TLS over TCP, both TLS 1.3 with one pinned authority, and frames on one stream. It never
//! decides when or whom to dial.

mod address;
mod carrier;
mod head;
mod link;
pub(crate) mod look;
mod lookup;
mod proxy;
mod quic;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod verifier;
mod wire;

use std::sync::Arc;

use malha_proto::{ALPN, Fingerprint};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::agent::{LinkError, LinkFault, Transport};
use crate::clock;
use crate::state::Validity;
use crate::text::{self, Lang};

pub(crate) use address::reach;
pub use carrier::dial_carrier;
pub use link::{MAX_LINK_QUEUE, PART_INTERVAL, run_link};
pub(crate) use lookup::{SLOW_LOOKUP, network_changed, resolve, slow_lookup};
pub(crate) use tls::ClientTls;
pub use wire::{Received, Wire, WireReader, WireWriter};

/// Whom to trust, and who we are.
pub struct Credentials {
    pub authority: Fingerprint,
    /// The pinned authority's certificate, once it is known: then the controller need not send it.
    pub authority_certificate: Option<CertificateDer<'static>>,
    /// None before enrolment.
    pub node: Option<NodeCredentials>,
}

/// The node's certificate and its key.
pub struct NodeCredentials {
    pub certificate: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
}

/// Opens one connection to `controller` (`host:port`) over one transport; all its addresses are tried.
pub async fn dial(
    controller: &str,
    transport: Transport,
    credentials: &Credentials,
) -> Result<Wire, LinkError> {
    let tls = ClientTls::new(credentials, ALPN)?;
    let result = match transport {
        Transport::Quic => {
            let config = quic::client_config(tls.config())?;
            reach(controller, |to| quic::connect(to, config.clone())).await
        }
        Transport::Tcp => {
            let connected = tcp::connect(controller, Arc::new(tls.config()), ALPN).await;
            connected.map(Wire::from)
        }
    };
    // What the verifier saw says more than the alert that came of it.
    result.map_err(|error| {
        tls.verdict()
            .unwrap_or_else(|| credentials.explained(error))
    })
}

impl Credentials {
    /// The other side only hangs up on a node whose certificate is outside its time; this says so, and by how much.
    fn explained(&self, error: LinkError) -> LinkError {
        let is_met = matches!(error.fault, LinkFault::Tls | LinkFault::Closed);
        let shown = self.node.as_ref().filter(|_| is_met);
        let validity = shown.and_then(|node| Validity::of(&node.certificate));
        let untimely = validity.and_then(|validity| untimely(validity, clock::unix_s()));
        untimely.map_or(error, |why| LinkError::new(LinkFault::Clock, why))
    }
}

/// What is wrong with a node's certificate at this time, seconds of the Unix epoch.
fn untimely(validity: Validity, now_s: i64) -> Option<String> {
    let early_s = validity.not_before_s.saturating_sub(now_s);
    let late_s = now_s.saturating_sub(validity.not_after_s);
    if early_s > 0 {
        return Some(format!(
            "this node's certificate begins {} from now by this machine's clock: either that clock is behind, or the controller's was ahead when it signed; if it is right, `malha node replace` gives another",
            span(early_s)
        ));
    }
    (late_s > 0).then(|| {
        format!(
            "this node's certificate ended {} ago by this machine's clock: either that clock is ahead, or no renewal came; if it is right, `malha node replace` gives another",
            span(late_s)
        )
    })
}

/// A positive time, in the one or two units in which a person would say it.
fn span(seconds: i64) -> String {
    text::age(
        Lang::En,
        u64::try_from(seconds)
            .unwrap_or_default()
            .saturating_mul(1_000),
    )
}

pub(crate) fn unreachable(error: impl std::fmt::Display) -> LinkError {
    LinkError::new(LinkFault::Unreachable, error)
}
