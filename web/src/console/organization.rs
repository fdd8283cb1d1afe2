//! The part of the door that is about one organization.

use async_trait::async_trait;

use super::Viewer;
use crate::model::{OrganizationDetail, PolicyWritten, Refused, Unreadable};

/// What the dashboard shows and changes of an organization.
#[async_trait]
pub trait OrganizationConsole: Send + Sync + 'static {
    /// One organization by name.
    async fn organization(
        &self,
        viewer: &Viewer,
        name: &str,
    ) -> Result<OrganizationDetail, Unreadable>;
    /// Asks for a second approver, or proposes to ask for none.
    async fn set_second_approver(
        &self,
        viewer: &Viewer,
        name: &str,
        on: bool,
    ) -> Result<PolicyWritten, Refused>;
}
