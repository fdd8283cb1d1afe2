//! The door the dashboard opens onto the rest of the house: who signs in, what there is to read,
//! what may be changed. This room implements none of it; every rule (roles, limits, validity) is
//! the implementer's.

mod compliance;
mod organization;
mod policy;
mod profile;

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use subtle::ConstantTimeEq;
use tokio::sync::broadcast;

use crate::model::{
    ActivityRow, BalancerId, BalancerRow, ChangeNotice, IssuedToken, Keep, Listing,
    NewOrganization, NewRecordSet, NewRoute, NewService, NewSite, NewToken, NodeDetail, NodeId,
    NodeQuery, NodeRow, OrganizationRow, Outcome, Overview, RecordSetKey, Refused, RouteId,
    RouteRow, Secret, ServerMode, ServiceId, ServiceRow, SiteRow, TokenId, TokenRow, Unreadable,
    ZoneDetail, ZoneRow,
};
use crate::untrusted::Untrusted;

pub use compliance::ComplianceConsole;
pub use organization::OrganizationConsole;
pub use policy::PolicyConsole;
pub use profile::ProfileConsole;

/// What the dashboard shows and changes, as one object. The controller implements it; tests do so
/// in memory.
///
/// Every read and write carries the [`Viewer`], because the implementer decides what this operator
/// may see and do. A write returns after its commit; it may wait a moment for nodes to apply it and
/// says how many have. A read answers from a snapshot and is cheap: open pages repeat it at most
/// twice a second each.
#[async_trait]
pub trait Console:
    PolicyConsole + ProfileConsole + ComplianceConsole + OrganizationConsole
{
    /// Checks credentials and opens a session. Limits attempts by user and by source address.
    async fn login(&self, attempt: LoginAttempt) -> Result<SessionToken, LoginRefused>;
    /// The operator behind a session, `None` when it is unknown or has ended.
    async fn session(&self, token: &SessionToken) -> Option<Viewer>;
    /// Ends a session.
    async fn logout(&self, token: &SessionToken);
    /// Tells of every change from now on; a receiver that lags behind is not an error. Closed when
    /// the process ends.
    fn changes(&self) -> broadcast::Receiver<ChangeNotice>;

    async fn overview(&self, viewer: &Viewer) -> Result<Overview, Unreadable>;
    async fn nodes(
        &self,
        viewer: &Viewer,
        query: &NodeQuery,
    ) -> Result<Listing<NodeRow>, Unreadable>;
    async fn node(&self, viewer: &Viewer, id: &NodeId) -> Result<NodeDetail, Unreadable>;
    async fn organizations(&self, viewer: &Viewer) -> Result<Listing<OrganizationRow>, Unreadable>;
    async fn sites(&self, viewer: &Viewer) -> Result<Listing<SiteRow>, Unreadable>;
    /// Newest first.
    async fn tokens(&self, viewer: &Viewer) -> Result<Listing<TokenRow>, Unreadable>;
    async fn services(&self, viewer: &Viewer) -> Result<Listing<ServiceRow>, Unreadable>;
    async fn routes(&self, viewer: &Viewer) -> Result<Listing<RouteRow>, Unreadable>;
    async fn zones(&self, viewer: &Viewer) -> Result<Listing<ZoneRow>, Unreadable>;
    async fn zone(&self, viewer: &Viewer, name: &str) -> Result<ZoneDetail, Unreadable>;
    /// Newest first.
    async fn activity(&self, viewer: &Viewer) -> Result<Listing<ActivityRow>, Unreadable>;

    async fn create_organization(
        &self,
        viewer: &Viewer,
        new: NewOrganization,
    ) -> Result<Outcome, Refused>;
    async fn create_site(&self, viewer: &Viewer, new: NewSite) -> Result<Outcome, Refused>;
    async fn create_token(&self, viewer: &Viewer, new: NewToken) -> Result<IssuedToken, Refused>;
    async fn revoke_token(&self, viewer: &Viewer, id: &TokenId) -> Result<Outcome, Refused>;
    /// A token with which another machine takes over the node's name, addresses and routes.
    async fn replace_node(&self, viewer: &Viewer, id: &NodeId) -> Result<IssuedToken, Refused>;
    /// Refused if more leads to the node than what was `seen`, by name.
    async fn remove_node(
        &self,
        viewer: &Viewer,
        id: &NodeId,
        seen: &[String],
    ) -> Result<Outcome, Refused>;
    async fn resolve_quarantine(
        &self,
        viewer: &Viewer,
        id: &NodeId,
        keep: Keep,
    ) -> Result<Outcome, Refused>;
    async fn add_service(&self, viewer: &Viewer, new: NewService) -> Result<Outcome, Refused>;
    async fn remove_service(&self, viewer: &Viewer, id: &ServiceId) -> Result<Outcome, Refused>;
    async fn add_route(&self, viewer: &Viewer, new: NewRoute) -> Result<Outcome, Refused>;
    async fn remove_route(&self, viewer: &Viewer, id: &RouteId) -> Result<Outcome, Refused>;
    /// Creates the record set or replaces it whole.
    async fn put_record_set(&self, viewer: &Viewer, new: NewRecordSet) -> Result<Outcome, Refused>;
    async fn delete_record_set(
        &self,
        viewer: &Viewer,
        key: RecordSetKey,
    ) -> Result<Outcome, Refused>;
    /// By the path of their nodes.
    async fn balancers(&self, viewer: &Viewer) -> Result<Listing<BalancerRow>, Unreadable>;
    /// Takes a server behind a balancer out, or brings it back.
    async fn set_server_mode(
        &self,
        viewer: &Viewer,
        balancer: &BalancerId,
        service: &ServiceId,
        mode: ServerMode,
    ) -> Result<Outcome, Refused>;
}

/// Credentials as typed, and where they came from.
#[derive(Clone, Debug)]
pub struct LoginAttempt {
    pub user: String,
    pub password: Secret,
    /// The six digits, when the operator gave any.
    pub totp: Option<Secret>,
    /// The peer's address, `0.0.0.0` when the server did not provide a `ConnectInfo<SocketAddr>`.
    pub source: IpAddr,
}

/// Credentials that were not accepted. It does not say which part was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRefused {
    /// How long every further attempt will be refused; 0 when the next one may follow at once.
    pub retry_after_s: u64,
}

/// An operator who is signed in.
#[derive(Clone, Debug)]
pub struct Viewer {
    pub user: Untrusted,
    pub role: Role,
    /// The session's secret against cross-site requests; every form carries it.
    pub csrf: CsrfSecret,
}

/// What an operator may do; the console decides, the pages only leave out forms that would be
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Owner,
    Operator,
    SiteTechnician,
    /// Reads everything, changes nothing.
    Auditor,
}

impl Role {
    /// Whether it makes tokens and puts machines in the places of others.
    pub(crate) fn may_enrol(self) -> bool {
        self != Role::Auditor
    }

    /// Whether it changes everything else.
    pub(crate) fn may_change(self) -> bool {
        matches!(self, Role::Owner | Role::Operator)
    }
}

/// The secret of a session, as it travels in the cookie: visible ASCII without `;`, `,`, `"` and
/// `\`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionToken(String);

impl SessionToken {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for SessionToken {
    fn from(token: T) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// A secret that only pages of the same session know. It is tied to one session and never empty.
#[derive(Clone)]
pub struct CsrfSecret(String);

impl CsrfSecret {
    /// The secret itself, for a hidden field.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is the secret, in time that does not tell how much of it was right.
    pub(crate) fn matches(&self, given: &str) -> bool {
        !self.0.is_empty() && bool::from(self.0.as_bytes().ct_eq(given.as_bytes()))
    }
}

impl<T: Into<String>> From<T> for CsrfSecret {
    fn from(secret: T) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for CsrfSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfSecret(..)")
    }
}
