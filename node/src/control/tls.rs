//! TLS for one attempt: version 1.3 only, one application protocol, no resumption, so that each connection proves everything
//! anew.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;

use super::look::Authority;
use super::verifier::{PinnedAuthority, Timing};
use super::{Credentials, LinkError, LinkFault};

pub(crate) struct ClientTls {
    config: ClientConfig,
    verdict: Arc<OnceLock<LinkError>>,
}

impl ClientTls {
    /// For connections with this application protocol.
    pub(crate) fn new(credentials: &Credentials, protocol: &[u8]) -> Result<Self, LinkError> {
        Self::with_timing(credentials, protocol, Timing::Refused)
    }

    /// The same, but a controller's certificate outside its time leaves a verdict and a connection: for looks at a way, which give
    /// nothing away.
    pub(super) fn for_a_look(authority: &Authority, protocol: &[u8]) -> Result<Self, LinkError> {
        let stranger = Credentials {
            authority: authority.fingerprint,
            authority_certificate: authority.certificate.clone(),
            node: None,
        };
        Self::with_timing(&stranger, protocol, Timing::Noted)
    }

    fn with_timing(
        credentials: &Credentials,
        protocol: &[u8],
        timing: Timing,
    ) -> Result<Self, LinkError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verdict = Arc::new(OnceLock::new());
        let verifier = PinnedAuthority::new(
            credentials.authority,
            credentials.authority_certificate.clone(),
            provider.clone(),
            verdict.clone(),
            timing,
        );
        let failed = |error: rustls::Error| LinkError::new(LinkFault::Tls, error);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &credentials.node {
            None => builder.with_no_client_auth(),
            Some(node) => {
                let chain = vec![node.certificate.clone()];
                let key = node.key.clone_key();
                builder.with_client_auth_cert(chain, key).map_err(failed)?
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config, verdict })
    }

    pub(crate) fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Why the controller's certificate was refused; None when it was not.
    pub(crate) fn verdict(&self) -> Option<LinkError> {
        self.verdict.get().cloned()
    }
}
