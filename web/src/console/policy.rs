//! The part of the door that is about the policy.

use async_trait::async_trait;

use super::Viewer;
use crate::model::{
    Decision, NewPolicy, Outcome, PolicyDetail, PolicyReview, PolicyWritten, Refused, Unreadable,
};

/// What the dashboard shows and changes of the policy.
#[async_trait]
pub trait PolicyConsole: Send + Sync + 'static {
    async fn policy(&self, viewer: &Viewer) -> Result<PolicyDetail, Unreadable>;
    /// What a text would change; nothing is changed. A text that is no policy is refused with its place.
    async fn review_policy(&self, viewer: &Viewer, text: &str) -> Result<PolicyReview, Refused>;
    async fn apply_policy(&self, viewer: &Viewer, new: NewPolicy)
    -> Result<PolicyWritten, Refused>;
    async fn confirm_policy(&self, viewer: &Viewer, version: u64) -> Result<Outcome, Refused>;
    /// Puts the text of a former version in force again.
    async fn roll_back_policy(
        &self,
        viewer: &Viewer,
        version: u64,
    ) -> Result<PolicyWritten, Refused>;
    /// Approves or rejects a change that waits.
    async fn decide_proposal(
        &self,
        viewer: &Viewer,
        number: u64,
        decision: Decision,
    ) -> Result<Outcome, Refused>;
}
