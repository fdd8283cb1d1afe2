//! The policy: its text, its versions, and what a new text would change.

use time::OffsetDateTime;

use super::{Listing, Outcome};
use crate::language::Bilingual;
use crate::untrusted::Untrusted;

/// The policy in force.
#[derive(Clone, Debug)]
pub struct PolicyDetail {
    /// 0 before the first one.
    pub version: u64,
    /// Exactly as it was written.
    pub text: String,
    pub pending: Option<PendingPolicy>,
    /// Changes that wait for another operator, oldest first.
    pub proposals: Vec<PolicyProposal>,
    /// When a schedule or an expiry changes a grant next.
    pub changes_at: Option<OffsetDateTime>,
    /// Newest first.
    pub versions: Listing<PolicyVersionRow>,
}

/// The policy in force goes again unless it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingPolicy {
    /// The version that comes back.
    pub former: u64,
    pub deadline: OffsetDateTime,
    /// Why one operator put it in force alone: only another one confirms it.
    pub emergency: Option<Untrusted>,
}

/// A change that waits for another operator.
#[derive(Clone, Debug)]
pub struct PolicyProposal {
    pub number: u64,
    pub change: ProposedChange,
    pub author: Untrusted,
    pub proposed_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    /// Those that ask for the second approver.
    pub organizations: Vec<Untrusted>,
    /// What an approval must give.
    pub hash: String,
    /// What it would change now.
    pub gaining: u64,
    pub losing: u64,
    pub rows: Listing<PolicyChange>,
    pub later: Listing<PolicyLater>,
    /// That is not what its author saw: nobody can approve it.
    pub outdated: bool,
    /// Whether this viewer is one who may.
    pub may_approve: bool,
}

/// What is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposedChange {
    /// A text, exactly as it was written.
    Text(String),
    /// A former version's text comes back.
    Return(u64),
    /// The organizations ask for no second approver any longer.
    OneApprover,
}

/// What another operator says to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// With the hash of what was seen.
    Approve {
        hash: String,
    },
    Reject,
}

/// A change of the policy that was taken.
#[derive(Clone, Debug, Default)]
pub struct PolicyWritten {
    pub outcome: Outcome,
    /// It is not in force yet: another operator must approve it.
    pub proposed: bool,
}

/// A text that is or was in force.
#[derive(Clone, Debug)]
pub struct PolicyVersionRow {
    pub version: u64,
    pub author: Untrusted,
    pub approver: Option<Untrusted>,
    /// Why it came in force without an approval.
    pub emergency: Option<Untrusted>,
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
    /// Why it may not be saved.
    pub refusal: Option<Bilingual>,
    /// Organizations that it concerns and that ask for a second approver: it is proposed to another operator.
    pub second_approver: Vec<Untrusted>,
    /// Names in it that nothing has now, with their place.
    pub unresolved: Vec<Untrusted>,
    pub later: Listing<PolicyLater>,
}

/// A grant of a change that opens nothing now, so that the changes don't show it.
#[derive(Clone, Debug)]
pub struct PolicyLater {
    pub name: Untrusted,
    /// In the new text; in the former one if the grant went.
    pub line: usize,
    pub change: PolicyLaterChange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyLaterChange {
    /// When its hours begin; never if it is over before.
    Opens(Option<OffsetDateTime>),
    /// It would have opened again.
    Gone,
    /// Its time was over.
    Expired(OffsetDateTime),
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
    /// Why its author acts without a second approver.
    pub emergency: Option<String>,
}
