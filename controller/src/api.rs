//! The HTTP API under `/api/v1`: a shell that turns requests into commands and the state into documents. It decides
//! nothing, keeps nothing, and takes no cookie: every request shows an API key.

mod agencies;
mod api_keys;
mod audit;
mod backup;
mod balancers;
mod body;
mod caller;
mod checks;
mod declarations;
mod document;
mod grants;
mod guard;
mod language;
mod listing;
mod nodes;
mod operators;
mod organizations;
mod policy;
mod problem;
mod profiles;
mod psk;
mod records;
mod reference;
mod resource;
mod routes;
mod serve;
mod services;
mod sites;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod tokens;
mod trace;
mod write;
mod zones;

pub use agencies::{Agency, AgencyMachine, AgencyName, AgencyPolicy, AgencyProfile, NewAgency};
pub use api_keys::{ApiKey, ApiKeyScope, CreatedApiKey, NewApiKey};
pub use audit::{AuditLine, AuditPage};
pub use balancers::{
    Balancer, BalancerAlgorithm, BalancerBackend, BalancerChange, BalancerCondition,
    BalancerHealth, BalancerLive, BalancerMode, BalancerModeChange, BalancerOpening,
    BalancerProxyProtocol, BalancerSettings, BalancerTraffic, NewBalancer,
};
pub use checks::{
    CheckEvidence, CheckOutcome, CheckReport, CheckRun, CheckState, CheckVerdict, Checks, NewCheck,
    OverlayAuthority,
};
pub use declarations::{Declaration, NewDeclaration};
pub use document::{markdown, openapi_json};
pub use grants::{Grant, GrantProtocol, NewGrant};
pub use listing::Page;
pub use nodes::{
    BrokenHop, Carrier, Claimant, Endpoints, HopHealth, Hops, Keep, Machine, Node, NodeName,
    NodePolicy, NodePolicyState, NodeProfile, NodeStanding, NodeTags, PskAge, Quarantine,
    QuarantineChoice, Replacement, ServiceHealth, Session, Tunnel, TunnelPath, UpDown,
};
pub use operators::{NewOperator, NewPassword, Operator, OperatorRole, Password};
pub use organizations::{NewOrganization, Organization, SecondApprover};
pub use policy::{
    NewPolicy, Policy, PolicyApproval, PolicyCheck, PolicyChoice, PolicyDifference,
    PolicyExplanation, PolicyLater, PolicyLaterChange, PolicyMistake, PolicyOpening, PolicyOrigin,
    PolicyPending, PolicyProposal, PolicyProposalKind, PolicyQuestion, PolicyReturn, PolicyRow,
    PolicyRule, PolicyRuleReason, PolicySide, PolicyTest, PolicyTestOutcome, PolicyText,
    PolicyUnresolved, PolicyVersion,
};
pub use problem::ProblemDocument;
pub(crate) use problem::is_direction_mark;
pub use profiles::{Profile, ProfileDifference, ProfilePort, ProfileText};
pub use psk::{PskRotation, RotatePsk};
pub use records::{PutRecordSet, RecordSet};
pub use reference::Reference;
pub use routes::{NewRoute, Route};
pub use serve::serve;
pub use services::{NewService, Service, ServiceExposure, ServiceProtocol};
pub use sites::{NewSite, Site, SiteRelease};
pub use status::{BrokenNode, HubInterface, HubStatus, NodeCounts, Settings, Status, StoreStatus};
pub use tokens::{CreatedToken, NewToken, Token, TokenState};
pub use trace::{Trace, TraceEnd, TraceReason, TraceRule, TraceService, TraceSource};
pub use write::{Applied, Removed, Written};
pub use zones::{NewZone, Zone};

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use malha_core::State;
use malha_proto::{ApiKeyId, Fingerprint};
use malha_store::Store;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::coordinator::Handle;
use crate::hub::HubPorts;
use crate::live::Live;
use crate::pairs::Pairs;
use crate::rate::RateLimit;
use crate::session::Registry;

/// What the API serves from.
#[derive(Clone)]
pub struct ApiContext {
    pub handle: Handle,
    pub live: Arc<Live>,
    pub registry: Arc<Registry>,
    pub pairs: Arc<Pairs>,
    pub store: Arc<dyn Store>,
    pub audit_dir: PathBuf,
    /// The overlay authority; goes into tokens.
    pub authority: Fingerprint,
    /// As it was started; what became of its interface since is in `live`.
    pub hub: HubStatus,
    pub checks: Arc<crate::checks::Checks>,
    pub started_ms: u64,
    /// What balancers on the hub can't have.
    pub hub_ports: Arc<HubPorts>,
}

/// The context and the limits, shared by all requests.
struct Api {
    context: ApiContext,
    keys: RateLimit<ApiKeyId>,
    sources: RateLimit<IpAddr>,
    /// Requests that may be served at once.
    places: Arc<Semaphore>,
    /// Backups that may be taken at once.
    backups: Arc<Semaphore>,
}

impl Api {
    fn state(&self) -> Arc<State> {
        self.context.handle.state()
    }
}

/// Everything under `/api`. Paths outside it are left to whoever this is merged with.
pub fn router(context: ApiContext) -> Router {
    limited(context, KEY_BURST, SOURCE_BURST)
}

fn limited(context: ApiContext, key_burst: u64, source_burst: u64) -> Router {
    let api = Arc::new(Api {
        context,
        keys: RateLimit::new(key_burst, KEY_INTERVAL_MS),
        sources: RateLimit::new(source_burst, SOURCE_INTERVAL_MS),
        places: Arc::new(Semaphore::new(MAX_REQUESTS)),
        backups: Arc::new(Semaphore::new(backup::MAX_BACKUPS)),
    });
    let (operations, document) = document::described(operations()).split_for_parts();
    let document: Arc<str> = document::json(&document).into();
    let inner = operations
        .route(
            "/openapi.json",
            axum::routing::get(async move || document::response(&document)),
        )
        .fallback(guard::not_found)
        .method_not_allowed_fallback(guard::method_not_allowed);
    Router::new().nest(PREFIX, guard::guarded(inner, &api).with_state(api))
}

/// Every operation with its description, paths relative to [`PREFIX`].
fn operations() -> OpenApiRouter<Arc<Api>> {
    let v1 = OpenApiRouter::new()
        .routes(routes!(status::status))
        .routes(routes!(status::settings))
        .routes(routes!(trace::trace))
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(organizations::show, organizations::remove))
        .routes(routes!(sites::list, sites::create))
        .routes(routes!(sites::show, sites::remove))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::show, tokens::revoke))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::show, nodes::remove))
        .routes(routes!(nodes::rename))
        .routes(routes!(nodes::set_endpoints))
        .routes(routes!(nodes::replace))
        .routes(routes!(nodes::resolve_quarantine))
        .routes(routes!(services::list, services::create))
        .routes(routes!(services::show, services::remove))
        .routes(routes!(routes::list, routes::create))
        .routes(routes!(routes::show, routes::remove))
        .routes(routes!(grants::list, grants::create))
        .routes(routes!(grants::show, grants::remove))
        .routes(routes!(policy::show, policy::apply))
        .routes(routes!(policy::check))
        .routes(routes!(policy::diff))
        .routes(routes!(policy::explain))
        .routes(routes!(policy::confirm))
        .routes(routes!(policy::roll_back))
        .routes(routes!(policy::versions))
        .routes(routes!(policy::version))
        .routes(routes!(nodes::set_tags))
        .routes(routes!(zones::list, zones::create))
        .routes(routes!(zones::show, zones::remove))
        .routes(routes!(records::list))
        .routes(routes!(records::show, records::put, records::remove))
        .routes(routes!(operators::list, operators::create))
        .routes(routes!(operators::show, operators::remove))
        .routes(routes!(operators::set_password))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::show, api_keys::remove))
        .routes(routes!(audit::tail))
        .routes(routes!(backup::download))
        .routes(routes!(psk::rotate))
        .routes(routes!(balancers::list, balancers::create))
        .routes(routes!(balancers::show, balancers::set, balancers::remove))
        .routes(routes!(balancers::set_mode))
        .routes(routes!(policy::proposals))
        .routes(routes!(policy::proposal, policy::reject))
        .routes(routes!(policy::approve))
        .routes(routes!(organizations::set_second_approver))
        .routes(routes!(
            declarations::show,
            declarations::put,
            declarations::remove
        ))
        .routes(routes!(profiles::list, profiles::set))
        .routes(routes!(profiles::show, profiles::reset))
        .routes(routes!(profiles::difference))
        .routes(routes!(sites::set_release))
        .routes(routes!(agencies::create))
        .routes(routes!(checks::list, checks::start))
        .routes(routes!(checks::show))
        .routes(routes!(checks::html))
        .routes(routes!(checks::evidence))
        .routes(routes!(checks::authority));
    OpenApiRouter::new().nest(VERSION_PREFIX, v1)
}

const PREFIX: &str = "/api";
const VERSION_PREFIX: &str = "/v1";
/// The longest body; the largest record set is far smaller.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Requests served at once; one that waits for nodes holds its place.
const MAX_REQUESTS: usize = 512;
/// Two hundred requests at once for one key, then fifty each second.
const KEY_BURST: u64 = 200;
const KEY_INTERVAL_MS: u64 = 20;
/// Twice that for one source, before its key is looked at.
const SOURCE_BURST: u64 = 400;
const SOURCE_INTERVAL_MS: u64 = 10;
