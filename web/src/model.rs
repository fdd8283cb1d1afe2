//! The view models: what the console tells the dashboard and what the dashboard asks of it. They
//! hold no rule and no markup.

mod activity;
mod balancing;
mod change;
mod compliance;
mod enrolment;
mod health;
mod naming;
mod node;
mod organization;
mod policy;
mod profile;
mod publishing;

pub use activity::{Action, ActivityRow, BrokenNode, Overview};
pub use balancing::{
    BalancerId, BalancerLive, BalancerRow, BalancerTrouble, ServerCondition, ServerMode, ServerRow,
};
pub use change::{
    ChangeNotice, Convergence, Outcome, RefusalKind, Refused, Topic, Topics, Unreadable,
};
pub use compliance::{
    CheckRun, CheckStanding, ComplianceDetail, ComplianceRow, EvidenceFile, EvidenceRow,
    FindingLevel, FindingRow, PassedRow, UntestedRow,
};
pub use enrolment::{
    IssuedToken, NewOrganization, NewSite, NewToken, OrganizationRow, Profile, Secret, SiteRow,
    TokenId, TokenRow, TokenState,
};
pub use health::{
    BreakKind, BrokenHop, ControlHop, HopState, Hops, ProbeState, ServiceHop, TunnelHop,
};
pub use naming::{NewRecordSet, RecordSetKey, RecordSetRow, RecordSource, ZoneDetail, ZoneRow};
pub use node::{
    Claimant, Keep, Leading, LeadingKind, NodeDetail, NodeId, NodePolicy, NodeQuery, NodeRow,
    NodeState, PathKind, Quarantine,
};
pub use organization::{DeclaredPorts, OrganizationDetail, SecondApprover};
pub use policy::{
    Decision, NewPolicy, PendingPolicy, PolicyChange, PolicyDetail, PolicyLater, PolicyLaterChange,
    PolicyProposal, PolicyReview, PolicySide, PolicyVersionRow, PolicyWritten, ProposedChange,
};
pub use profile::{
    Party, PortDifferenceKind, PortDifferenceRow, PortExposure, PortProbe, ProfileDetail,
    ProfilePortRow,
};
pub use publishing::{
    Exposure, NewRoute, NewService, Protocol, RouteId, RouteRow, RouteState, ServiceId, ServiceRow,
};

/// A bounded answer to "show me all": at most [`ROWS_MAX`] rows, and how many there are in truth.
#[derive(Clone, Debug, Default)]
pub struct Listing<T> {
    /// The rows to show, in the order to show them.
    pub rows: Vec<T>,
    /// How many exist, shown or not.
    pub total: usize,
}

impl<T> From<Vec<T>> for Listing<T> {
    /// A complete listing.
    fn from(rows: Vec<T>) -> Self {
        let total = rows.len();
        Self { rows, total }
    }
}

/// The most rows a [`Listing`] may carry; a longer one is cut by the dashboard.
pub const ROWS_MAX: usize = 500;

/// An identifier that the console chose and the dashboard only hands back.
macro_rules! opaque_id {
    ($(#[$meaning:meta])* $name:ident) => {
        $(#[$meaning])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The identifier as the console wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<String>> From<T> for $name {
            fn from(id: T) -> Self {
                Self(id.into())
            }
        }
    };
}
use opaque_id;
