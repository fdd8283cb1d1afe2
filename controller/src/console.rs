//! The dashboard's console over this controller: reads from the committed state and from what is observed now, writes as
//! commands to the coordinator. It keeps no state of its own but a short-lived view of all nodes, and decides nothing but
//! which role may ask for what.

mod activity;
mod balancers;
mod census;
mod compliance;
mod convergence;
mod hops;
mod moment;
mod nodes;
mod notices;
mod organizations;
mod overview;
mod permission;
mod policy;
mod profiles;
mod refusal;
mod routes;
mod services;
mod sign_in;
mod sites;
#[cfg(test)]
mod tests;
mod text;
mod tokens;
mod write;
mod zones;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use malha_core::State;
use malha_proto::Fingerprint;
use malha_web::model::{
    ActivityRow, BalancerId, BalancerRow, ChangeNotice, ComplianceDetail, ComplianceRow,
    EvidenceFile, IssuedToken, Keep, Listing, NewOrganization, NewRecordSet, NewRoute, NewService,
    NewSite, NewToken, NodeDetail, NodeId, NodeQuery, NodeRow, OrganizationRow, Outcome, Overview,
    RecordSetKey, Refused, RouteId, RouteRow, ServerMode, ServiceId, ServiceRow, SiteRow, TokenId,
    TokenRow, Unreadable, ZoneDetail, ZoneRow,
};
use malha_web::{ComplianceConsole, Console, LoginAttempt, LoginRefused, SessionToken, Viewer};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::accounts::Sessions;
use crate::api::ApiContext;
use crate::checks::Checks;
use crate::coordinator::Handle;
use crate::live::Live;
use crate::pairs::Pairs;
use crate::session::Registry;
use census::Census;
use convergence::Owing;

/// What the dashboard shows and changes of this controller. One per controller; [`ControllerConsole::run`] keeps open pages
/// up to date.
pub struct ControllerConsole {
    handle: Handle,
    live: Arc<Live>,
    registry: Arc<Registry>,
    pairs: Arc<Pairs>,
    sessions: Arc<Sessions>,
    checks: Arc<Checks>,
    /// Goes into tokens.
    authority: Fingerprint,
    /// The port in the addresses of routes.
    public_https_port: u16,
    notices: broadcast::Sender<ChangeNotice>,
    /// The newest look at all nodes, which pages that are drawn together share. Locked while one is taken.
    census: Mutex<Option<Arc<Census>>>,
    /// Locked for a pass over the nodes that have not applied what concerns them; pages and the notices' task meet here.
    owing: Mutex<Owing>,
    /// Passwords that may be checked at once: each takes a core and its memory for a moment.
    password_checks: Semaphore,
}

impl ControllerConsole {
    /// A console over the controller's parts. `public_https_port` is the port at which the public reaches the edge.
    #[must_use]
    pub fn new(context: &ApiContext, sessions: Arc<Sessions>, public_https_port: u16) -> Self {
        let ApiContext {
            handle,
            live,
            registry,
            pairs,
            authority,
            checks,
            ..
        } = context.clone();
        let owing = Owing::everyone(&handle.state());
        Self {
            handle,
            live,
            registry,
            pairs,
            sessions,
            checks,
            authority,
            public_https_port,
            notices: broadcast::channel(NOTICE_CAPACITY).0,
            census: Mutex::new(None),
            owing: Mutex::new(owing),
            password_checks: Semaphore::new(sign_in::PASSWORD_CHECKS_AT_ONCE),
        }
    }

    /// Tells open pages of changes until `stop`, then closes them.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        notices::run(&self, stop).await;
    }

    fn state(&self) -> Arc<State> {
        self.handle.state()
    }
}

#[async_trait]
impl Console for ControllerConsole {
    async fn login(&self, attempt: LoginAttempt) -> Result<SessionToken, LoginRefused> {
        sign_in::login(self, attempt).await
    }

    async fn session(&self, token: &SessionToken) -> Option<Viewer> {
        sign_in::viewer(self, token)
    }

    async fn logout(&self, token: &SessionToken) {
        sign_in::logout(self, token).await;
    }

    fn changes(&self) -> broadcast::Receiver<ChangeNotice> {
        self.notices.subscribe()
    }

    async fn overview(&self, _: &Viewer) -> Result<Overview, Unreadable> {
        Ok(overview::overview(self))
    }

    async fn nodes(&self, _: &Viewer, query: &NodeQuery) -> Result<Listing<NodeRow>, Unreadable> {
        Ok(nodes::list(self, query))
    }

    async fn node(&self, _: &Viewer, id: &NodeId) -> Result<NodeDetail, Unreadable> {
        nodes::detail(self, id).ok_or(Unreadable::NotFound)
    }

    async fn organizations(&self, _: &Viewer) -> Result<Listing<OrganizationRow>, Unreadable> {
        Ok(sites::organizations(&self.state()))
    }

    async fn sites(&self, _: &Viewer) -> Result<Listing<SiteRow>, Unreadable> {
        Ok(sites::sites(self))
    }

    async fn tokens(&self, _: &Viewer) -> Result<Listing<TokenRow>, Unreadable> {
        Ok(tokens::list(&self.state()))
    }

    async fn services(&self, _: &Viewer) -> Result<Listing<ServiceRow>, Unreadable> {
        Ok(services::list(self))
    }

    async fn routes(&self, _: &Viewer) -> Result<Listing<RouteRow>, Unreadable> {
        Ok(routes::list(self))
    }

    async fn zones(&self, _: &Viewer) -> Result<Listing<ZoneRow>, Unreadable> {
        Ok(zones::list(&self.state()))
    }

    async fn zone(&self, _: &Viewer, name: &str) -> Result<ZoneDetail, Unreadable> {
        zones::detail(&self.state(), name).ok_or(Unreadable::NotFound)
    }

    async fn activity(&self, _: &Viewer) -> Result<Listing<ActivityRow>, Unreadable> {
        activity::list(self).await
    }

    async fn create_organization(
        &self,
        viewer: &Viewer,
        new: NewOrganization,
    ) -> Result<Outcome, Refused> {
        sites::create_organization(self, viewer, new).await
    }

    async fn create_site(&self, viewer: &Viewer, new: NewSite) -> Result<Outcome, Refused> {
        sites::create_site(self, viewer, new).await
    }

    async fn create_token(&self, viewer: &Viewer, new: NewToken) -> Result<IssuedToken, Refused> {
        tokens::create(self, viewer, new).await
    }

    async fn revoke_token(&self, viewer: &Viewer, id: &TokenId) -> Result<Outcome, Refused> {
        tokens::revoke(self, viewer, id).await
    }

    async fn replace_node(&self, viewer: &Viewer, id: &NodeId) -> Result<IssuedToken, Refused> {
        tokens::create_for_replacement(self, viewer, id).await
    }

    async fn remove_node(
        &self,
        viewer: &Viewer,
        id: &NodeId,
        seen: &[String],
    ) -> Result<Outcome, Refused> {
        nodes::remove(self, viewer, id, seen).await
    }

    async fn resolve_quarantine(
        &self,
        viewer: &Viewer,
        id: &NodeId,
        keep: Keep,
    ) -> Result<Outcome, Refused> {
        nodes::resolve_quarantine(self, viewer, id, keep).await
    }

    async fn add_service(&self, viewer: &Viewer, new: NewService) -> Result<Outcome, Refused> {
        services::add(self, viewer, new).await
    }

    async fn remove_service(&self, viewer: &Viewer, id: &ServiceId) -> Result<Outcome, Refused> {
        services::remove(self, viewer, id).await
    }

    async fn add_route(&self, viewer: &Viewer, new: NewRoute) -> Result<Outcome, Refused> {
        routes::add(self, viewer, new).await
    }

    async fn remove_route(&self, viewer: &Viewer, id: &RouteId) -> Result<Outcome, Refused> {
        routes::remove(self, viewer, id).await
    }

    async fn put_record_set(&self, viewer: &Viewer, new: NewRecordSet) -> Result<Outcome, Refused> {
        zones::put(self, viewer, new).await
    }

    async fn delete_record_set(
        &self,
        viewer: &Viewer,
        key: RecordSetKey,
    ) -> Result<Outcome, Refused> {
        zones::delete(self, viewer, key).await
    }

    async fn balancers(&self, _: &Viewer) -> Result<Listing<BalancerRow>, Unreadable> {
        Ok(balancers::list(self))
    }

    async fn set_server_mode(
        &self,
        viewer: &Viewer,
        balancer: &BalancerId,
        service: &ServiceId,
        mode: ServerMode,
    ) -> Result<Outcome, Refused> {
        balancers::set_mode(self, viewer, balancer, service, mode).await
    }
}

#[async_trait]
impl ComplianceConsole for ControllerConsole {
    async fn compliance(&self, _: &Viewer) -> Result<Listing<ComplianceRow>, Unreadable> {
        Ok(compliance::list(self))
    }

    async fn compliance_of(
        &self,
        _: &Viewer,
        organization: &str,
        run: Option<u64>,
    ) -> Result<ComplianceDetail, Unreadable> {
        compliance::detail(self, organization, run)
    }

    async fn evidence(
        &self,
        _: &Viewer,
        organization: &str,
        run: u64,
    ) -> Result<EvidenceFile, Unreadable> {
        compliance::evidence(self, organization, run)
    }

    async fn start_check(&self, viewer: &Viewer, organization: &str) -> Result<(), Refused> {
        compliance::start(self, viewer, organization).await
    }
}

/// Notices that a slow page may miss before it is told that it lagged, and draws itself anew.
const NOTICE_CAPACITY: usize = 64;
