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
    result.map_err(|error| tls.verdict().unwrap_or(error))
}

pub(crate) fn unreachable(error: impl std::fmt::Display) -> LinkError {
    LinkError::new(LinkFault::Unreachable, error)
}
