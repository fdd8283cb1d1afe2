//! One organization: its sites, whether it asks for a second approver, and the ports that it declares.

use time::OffsetDateTime;

use super::{Listing, PortDifferenceRow, SiteRow};
use crate::untrusted::Untrusted;

/// An organization on its own page.
#[derive(Clone, Debug)]
pub struct OrganizationDetail {
    /// One DNS label.
    pub name: String,
    pub display_name: Untrusted,
    pub sites: Listing<SiteRow>,
    pub approver: SecondApprover,
    pub declared: Option<DeclaredPorts>,
}

/// Whether changes of the policy that concern it take two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecondApprover {
    pub on: bool,
    /// The proposal to ask for none any longer.
    pub ending: Option<u64>,
    /// Operators and owners: it takes two.
    pub people: usize,
}

/// The list of ports in its declaration.
#[derive(Clone, Debug)]
pub struct DeclaredPorts {
    pub at: OffsetDateTime,
    pub by: Untrusted,
    /// Whether there is any port in the list.
    pub lists_ports: bool,
    /// The release of X-Road of its production site; empty for the newest.
    pub release: String,
    pub differences: Vec<PortDifferenceRow>,
}
