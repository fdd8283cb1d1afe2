//! The certificate of the control channel: replaced ahead of need while its listeners serve on. A handshake only reads it.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::served::Served;
use crate::{Authority, PkiError};

/// What the controller shows on every way to its control channel, whatever name the client asks for.
///
/// One exists per controller, behind every TLS configuration that
/// [`server_config_control`](crate::server_config_control) makes of it.
#[derive(Debug)]
pub struct ControlCertificate {
    authority: Arc<Authority>,
    days: u16,
    /// Held for as long as it takes to clone or store it: rustls resolves in a synchronous call from any thread.
    served: RwLock<Served>,
}

impl ControlCertificate {
    /// The first certificate. It and its successors come from `authority` and last `days`.
    ///
    /// # Errors
    /// As [`Authority::issue_controller`], and [`PkiError::Tls`] when rustls refuses the key.
    pub fn issue(
        authority: Arc<Authority>,
        days: u16,
        now: OffsetDateTime,
    ) -> Result<Self, PkiError> {
        let issued = authority.issue_controller(&[], now, days)?;
        Ok(Self {
            served: RwLock::new(Served::new(&issued)?),
            authority,
            days,
        })
    }

    /// Replaces the certificate when [it is due](crate::Validity::needs_successor). True when it was.
    ///
    /// # Errors
    /// As [`Self::issue`]; the old certificate goes on then.
    pub fn renew_due(&self, now: OffsetDateTime) -> Result<bool, PkiError> {
        let is_due = self.served().is_due(&self.authority, now);
        if is_due {
            let issued = self.authority.issue_controller(&[], now, self.days)?;
            let served = Served::new(&issued)?;
            *self.served.write().unwrap_or_else(PoisonError::into_inner) = served;
        }
        Ok(is_due)
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    fn served(&self) -> Served {
        self.served
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ResolvesServerCert for ControlCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.served().certified)
    }
}
