//! Certificate authorities of the overlay and the edge: what they issue, how TLS uses it, and how keys rest sealed.
//! It never writes a key in clear, never reads the clock itself (`now` is an argument) and never issues during a handshake.

#![forbid(unsafe_code)]

mod authority;
mod control_certificate;
mod control_tls;
mod edge_certificates;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod issue;
mod master_key;
mod node_certificate;
mod pair_epochs;
mod sealed;
mod served;
mod statement;
mod validity;
mod verify;
mod x509;

pub use authority::{Authority, AuthorityProfile, StoredAuthority};
pub use control_certificate::ControlCertificate;
pub use control_tls::server_config_control;
pub use edge_certificates::{EdgeCertificates, HostsChange, MAX_HOSTS, Renewal};
pub use error::PkiError;
pub use issue::IssuedCertificate;
pub use master_key::{MasterKey, PASSPHRASE_SALT_BYTES};
pub use node_certificate::{
    NodeCertificate, NodeIdentity, certificate_key, node_identity, request_key,
};
pub use pair_epochs::{MAX_EPOCHS_KEPT, PairEpochs};
pub use sealed::Sealed;
pub use statement::STATEMENT_BEGIN;
pub use validity::Validity;
pub use verify::{Fault, Verdict, VerifyReport, VerifyRequest, verify};
