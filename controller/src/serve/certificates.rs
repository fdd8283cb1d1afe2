//! The certificates of a controller's own, kept fresh while it runs. They are looked at often, since a clock that was wrong at
//! the start is set right at any moment, and until then the whole fleet may refuse what was issued by it.

use std::sync::Arc;
use std::time::Duration;

use malha_pki::{ControlCertificate, EdgeCertificates, PkiError};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) control: Arc<ControlCertificate>,
    pub(super) edge: Arc<EdgeCertificates>,
}

impl Certificates {
    /// Renews what is due, until `stop`.
    pub(super) async fn renew(self, stop: CancellationToken) {
        let mut pause = LOOK_INTERVAL;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = match self.renew_due(OffsetDateTime::now_utc()) {
                Ok(()) => LOOK_INTERVAL,
                Err(error) => {
                    tracing::error!(%error, "certificates were not renewed");
                    RETRY_INTERVAL
                }
            };
        }
    }

    /// One that fails does not keep the other from it.
    fn renew_due(&self, now: OffsetDateTime) -> Result<(), PkiError> {
        let control = self.control.renew_due(now);
        let edge = self.edge.renew_due(now)?;
        if control? || edge.renewed > 0 {
            tracing::info!("certificates were renewed");
        }
        Ok(())
    }
}

const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// After a failure, which is one line in the log each time.
const RETRY_INTERVAL: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

    use malha_pki::{Authority, AuthorityProfile};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_right_is_noticed_within_a_minute() {
        let now = OffsetDateTime::now_utc();
        let ahead = now + Duration::from_secs(365 * 24 * 60 * 60);
        let profile = AuthorityProfile {
            name: "Overlay".to_owned(),
            years: 10,
        };
        let authority = Arc::new(Authority::create(&profile, now).unwrap());
        let control = ControlCertificate::issue(authority.clone(), 800, ahead).unwrap();
        let certificates = Certificates {
            control: Arc::new(control),
            edge: Arc::new(EdgeCertificates::new(authority, 90)),
        };
        let host = "a.example".parse().unwrap();
        certificates.edge.set_hosts([host], ahead).unwrap();

        let renewing = certificates.clone().renew(CancellationToken::new());
        timeout(Duration::from_secs(61), renewing)
            .await
            .unwrap_err();

        assert!(!certificates.control.renew_due(now).unwrap());
        assert_eq!(certificates.edge.renew_due(now).unwrap().renewed, 0);
    }
}
