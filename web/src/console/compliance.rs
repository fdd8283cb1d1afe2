//! The part of the door that is about compliance: what checks found, and the wish for another one.

use async_trait::async_trait;

use super::Viewer;
use crate::model::{ComplianceDetail, ComplianceRow, EvidenceFile, Listing, Refused, Unreadable};

/// The part of a [`Console`] that shows and starts checks.
#[async_trait]
pub trait ComplianceConsole {
    /// Organizations that have declared something, or were checked.
    async fn compliance(&self, viewer: &Viewer) -> Result<Listing<ComplianceRow>, Unreadable>;
    /// One organization by name: a run, the newest unless `run` names another.
    async fn compliance_of(
        &self,
        viewer: &Viewer,
        organization: &str,
        run: Option<u64>,
    ) -> Result<ComplianceDetail, Unreadable>;
    /// The evidence file of a run.
    async fn evidence(
        &self,
        viewer: &Viewer,
        organization: &str,
        run: u64,
    ) -> Result<EvidenceFile, Unreadable>;
    /// Has an organization checked, at once or after those that wait.
    async fn start_check(&self, viewer: &Viewer, organization: &str) -> Result<(), Refused>;
}
