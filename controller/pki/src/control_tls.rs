//! The TLS side of the control channel: TLS 1.3 only, a client certificate asked for but not required, because enrolment
//! comes without one. Who may do what is decided after the handshake, never here.

use std::sync::Arc;

use malha_proto::ALPN;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::{ControlCertificate, PkiError};

/// The server configuration for QUIC and for TLS on TCP, which shows what `certificate` holds at each handshake. A client
/// certificate that is shown must be of its authority; one that is not, or is over, ends the handshake. The key exchange prefers X25519MLKEM768. There is no resumption: each
/// session proves its certificate anew. rustls compares a client certificate's window with the system clock, or with
/// another `time_provider` that the caller sets.
///
/// # Errors
/// [`PkiError::Tls`] or [`PkiError::TlsVerifier`] when rustls refuses the authority.
pub fn server_config_control(
    certificate: Arc<ControlCertificate>,
) -> Result<ServerConfig, PkiError> {
    let provider: Arc<CryptoProvider> = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.authority().certificate_der().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
