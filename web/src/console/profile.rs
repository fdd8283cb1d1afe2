//! The part of the door that is about profiles.

use async_trait::async_trait;

use super::Viewer;
use crate::model::{ProfileDetail, Unreadable};

/// What the dashboard shows of profiles.
#[async_trait]
pub trait ProfileConsole: Send + Sync + 'static {
    /// All of them, in the order in which forms offer them.
    async fn profiles(&self, viewer: &Viewer) -> Result<Vec<ProfileDetail>, Unreadable>;
}
