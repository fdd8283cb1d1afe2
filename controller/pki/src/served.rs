//! A server certificate in service, and when it needs a successor. Who replaces it, and where, is somebody else's business.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::{Authority, IssuedCertificate, PkiError, Validity};

#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) validity: Validity,
}

impl Served {
    pub(crate) fn new(issued: &IssuedCertificate) -> Result<Self, PkiError> {
        Ok(Self {
            certified: issued.certified_key()?,
            validity: issued.validity(),
        })
    }

    /// Whether `authority` should issue its successor at `now`. Before the authority's own time none would be any better.
    pub(crate) fn is_due(&self, authority: &Authority, now: OffsetDateTime) -> bool {
        now >= authority.validity().not_before() && self.validity.needs_successor(now)
    }
}
