//! The certificates of a controller's own, kept fresh while it runs. They are looked at often, since a clock that was wrong at
//! the start is set right at any moment, and until then the whole fleet may refuse what was issued by it.

use std::sync::Arc;
use std::time::Duration;

use malha_pki::{ControlCertificate, EdgeCertificates, PkiError};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) control: Arc<ControlCertificate>,
    pub(super) edge: Arc<EdgeCertificates>,
}

impl Certificates {
    /// Renews what is due by this clock, until `stop`.
    pub(super) async fn renew(self, clock: impl Fn() -> OffsetDateTime, stop: CancellationToken) {
        let mut told: Option<Instant> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            match self.renew_due(clock()) {
                Ok(()) => told = None,
                Err(error) if told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) => {
                    tracing::error!(%error, "certificates were not renewed; it is tried again each minute");
                    told = Some(Instant::now());
                }
                Err(_) => {}
            }
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
/// Between two lines in the log while it fails.
const TELL_INTERVAL: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

    use std::sync::atomic::{AtomicU32, Ordering};

    use malha_pki::{Authority, AuthorityProfile};
    use tokio::time::timeout;

    use super::*;

    /// A controller's certificates, made while its clock was ahead by a year.
    fn made_ahead(now: OffsetDateTime) -> Certificates {
        let ahead = now + 365 * DAY;
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
        certificates
    }

    async fn assert_renewed_within(limit: Duration, clock: impl Fn() -> OffsetDateTime) {
        let now = OffsetDateTime::now_utc();
        let certificates = made_ahead(now);
        let renewing = certificates.clone().renew(clock, CancellationToken::new());
        timeout(limit, renewing).await.unwrap_err();
        assert!(!certificates.control.renew_due(now).unwrap());
        assert_eq!(certificates.edge.renew_due(now).unwrap().renewed, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_right_is_noticed_within_a_minute() {
        assert_renewed_within(
            LOOK_INTERVAL + Duration::from_secs(1),
            OffsetDateTime::now_utc,
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn so_it_is_after_one_beyond_the_authoritys_end() {
        let looks = AtomicU32::new(0);
        let clock = || match looks.fetch_add(1, Ordering::Relaxed) {
            0 => OffsetDateTime::now_utc() + 11 * 365 * DAY,
            _ => OffsetDateTime::now_utc(),
        };
        assert_renewed_within(2 * LOOK_INTERVAL + Duration::from_secs(1), clock).await;
    }

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
}
