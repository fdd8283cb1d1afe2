//! The policy: its text, its versions, and what a new text would change.

use time::OffsetDateTime;

use super::Listing;
use crate::untrusted::Untrusted;

/// The policy in force.
#[derive(Clone, Debug)]
pub struct PolicyDetail {
    /// 0 before the first one.
    pub version: u64,
    /// Exactly as it was written.
    pub text: String,
    pub pending: Option<PendingPolicy>,
    /// When a schedule or an expiry changes a grant next.
    pub changes_at: Option<OffsetDateTime>,
    /// Newest first.
    pub versions: Listing<PolicyVersionRow>,
}

/// The policy in force goes again unless it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingPolicy {
    /// The version that comes back.
    pub former: u64,
    pub deadline: OffsetDateTime,
}

/// A text that is or was in force.
#[derive(Clone, Debug)]
pub struct PolicyVersionRow {
    pub version: u64,
    pub author: Untrusted,
    pub applied_at: OffsetDateTime,
    /// The version whose text came back.
    pub returned_to: Option<u64>,
    /// Pairs of nodes of which one could open more on the other than before.
    pub gaining: u64,
    pub losing: u64,
}

/// What a text would change, and whether it may.
#[derive(Clone, Debug)]
pub struct PolicyReview {
    /// What a save must give.
    pub hash: String,
    pub gaining: u64,
    pub losing: u64,
    pub rows: Listing<PolicyChange>,
    /// Why it may not be saved, in the policy's own words.
    pub refusal: Option<Untrusted>,
    /// Names in it that nothing has now, with their place.
    pub unresolved: Vec<Untrusted>,
}

/// Two groups of nodes between which the same changes.
#[derive(Clone, Debug)]
pub struct PolicyChange {
    pub from: PolicySide,
    pub to: PolicySide,
    pub pairs: u64,
    /// Like `tcp 5500-5577`.
    pub gained: Vec<String>,
    pub lost: Vec<String>,
}

/// Some nodes by `organization/site/node`, and how many there are.
#[derive(Clone, Debug)]
pub struct PolicySide {
    pub names: Vec<Untrusted>,
    pub count: usize,
}

/// A text to put in force.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    pub text: String,
    /// The hash of the review that was seen.
    pub hash: String,
    /// The former policy comes back unless it is confirmed within this.
    pub confirm_within_s: Option<u64>,
}
