//! Entry point for fuzzing certificates and requests that come from outside, replayed over the committed corpus by an ordinary
//! test. It panics when an invariant breaks and never otherwise.

use malha_proto::Fingerprint;
use time::OffsetDateTime;

use crate::{VerifyRequest, certificate_key, node_identity, request_key, verify};

/// Any bytes as a node's request, as its certificate, and as one that a person asks to have verified. Whoever has a node's identity
/// has a key, too.
pub fn certificate(data: &[u8]) {
    let key = request_key(data);
    assert!(!matches!(key, Ok(Fingerprint(hash)) if hash == [0; 32]));
    let key = certificate_key(data);
    if node_identity(data).is_ok() {
        assert!(key.is_ok(), "an identity without a key");
    }
    let request = VerifyRequest {
        certificate: data,
        authority: data,
        other_authority: Some(data),
        key: None,
        name: Some("servidor.example"),
    };
    if let Ok(report) = verify(&request, NOW) {
        assert!(key.is_ok(), "verified without a key");
        let words = report.verdicts().map(|(_, verdict)| format!("{verdict:?}"));
        assert!(words.iter().all(|words| !words.is_empty()));
    }
}

/// When the corpus was made.
const NOW: OffsetDateTime = time::macros::datetime!(2026-11-23 12:00 UTC);
