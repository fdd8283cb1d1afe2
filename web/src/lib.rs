//! Malha's dashboard: pages rendered on the server, kept live by server-sent events, with no
//! front-end build. It decides nothing and stores nothing: what it shows and changes goes through
//! one [`Console`], which the controller implements.
#![forbid(unsafe_code)]

mod address;
mod asset;
mod console;
mod cookie;
mod form;
mod guard;
mod language;
mod live;
pub mod model;
mod page;
mod session;
mod text;
mod untrusted;
mod view;
mod visit;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};
use tokio::sync::Semaphore;

pub use crate::console::{
    ComplianceConsole, Console, CsrfSecret, LoginAttempt, LoginRefused, OrganizationConsole,
    PolicyConsole, ProfileConsole, Role, SessionToken, Viewer,
};
pub use crate::language::{Bilingual, Language, preferred};
pub use crate::untrusted::Untrusted;

use crate::visit::Desk;

/// How the dashboard is served.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// Whether it is reached over HTTPS. Then the session cookie is `__Host-malha` with `Secure`;
    /// without, for plain HTTP on loopback only, it is `malha`.
    pub secure_cookies: bool,
    /// The most live streams at a time, over all sessions; one page holds one.
    pub live_streams_max: usize,
}

impl Default for WebConfig {
    /// HTTPS, and streams for a few hundred open pages.
    fn default() -> Self {
        Self {
            secure_cookies: true,
            live_streams_max: 512,
        }
    }
}

/// The dashboard as a router for the root of a host. It brings its own fallback (a 404 page) and
/// security headers; other routers may be nested beside it, under paths that [`RESERVED_PATHS`]
/// does not name.
///
/// The server must provide `ConnectInfo<SocketAddr>` as a request extension, which the login passes
/// on as the source address. A state-changing request must come from this origin: `Sec-Fetch-Site:
/// same-origin`, or where a client does not send that, an `Origin` that equals the host; with
/// neither it is refused.
pub fn router(console: Arc<dyn Console>, config: WebConfig) -> Router {
    let streams = Arc::new(Semaphore::new(
        config.live_streams_max.min(Semaphore::MAX_PERMITS),
    ));
    let desk = Arc::new(Desk {
        console,
        config,
        streams,
    });
    Router::new()
        .merge(reading_routes())
        .merge(writing_routes())
        .route("/login", get(session::login_page).post(session::login))
        .route("/logout", post(session::logout))
        .route("/language", post(session::choose_language))
        .route("/live", get(live::stream))
        .route("/assets/{file}", get(asset::serve))
        .method_not_allowed_fallback(page::error::method_not_allowed)
        .fallback(page::error::not_found)
        .layer(DefaultBodyLimit::max(form::BODY_BYTES_MAX))
        .layer(middleware::from_fn(guard::security_headers))
        .with_state(desk)
}

/// First path segments that belong to the dashboard.
pub const RESERVED_PATHS: [&str; 16] = [
    "activity",
    "assets",
    "balancers",
    "compliance",
    "dns",
    "language",
    "live",
    "login",
    "logout",
    "nodes",
    "organizations",
    "policy",
    "profiles",
    "services",
    "sites",
    "tokens",
];

fn reading_routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/", get(page::overview::show))
        .route("/nodes", get(page::nodes::show))
        .route("/nodes/{id}", get(page::node::show))
        .route("/sites", get(page::sites::show))
        .route("/organizations/{name}", get(page::organization::show))
        .route("/tokens", get(page::tokens::show))
        .route("/services", get(page::services::show))
        .route("/dns", get(page::zones::show))
        .route("/dns/{zone}", get(page::zone::show))
        .route("/activity", get(page::activity::show))
        .route("/policy", get(page::policy::show))
        .route("/balancers", get(page::balancers::show))
        .route("/profiles", get(page::profiles::show))
        .route("/compliance", get(page::compliance::show))
        .route(
            "/compliance/{organization}",
            get(page::compliance::show_one),
        )
        .route(
            "/compliance/{organization}/{run}/evidence",
            get(page::compliance::evidence),
        )
}

fn writing_routes() -> Router<Arc<Desk>> {
    Router::new()
        .route(
            "/sites/organization",
            post(page::sites::create_organization),
        )
        .route("/sites/site", post(page::sites::create_site))
        .route(
            "/organizations/{name}/second-approver/{wanted}",
            post(page::organization::set_second_approver),
        )
        .route("/tokens", post(page::tokens::create))
        .route("/tokens/{id}/revoke", post(page::tokens::revoke))
        .route("/nodes/{id}/replace", post(page::node::replace))
        .route("/nodes/{id}/remove", post(page::node::remove))
        .route(
            "/nodes/{id}/quarantine",
            post(page::node::resolve_quarantine),
        )
        .route("/services/service", post(page::services::add_service))
        .route(
            "/services/service/{id}/remove",
            post(page::services::remove_service),
        )
        .route("/services/route", post(page::services::add_route))
        .route(
            "/services/route/{id}/remove",
            post(page::services::remove_route),
        )
        .route("/policy/review", page::policy::review_route())
        .route("/policy/apply", page::policy::apply_route())
        .route(
            "/policy/proposals/{number}/approve",
            post(page::policy::approve),
        )
        .route(
            "/policy/proposals/{number}/reject",
            post(page::policy::reject),
        )
        .route("/policy/{version}/confirm", post(page::policy::confirm))
        .route("/policy/{version}/rollback", post(page::policy::roll_back))
        .route(
            "/compliance/{organization}/check",
            post(page::compliance::start),
        )
        .route("/dns/{zone}/record", post(page::zone::put))
        .route("/dns/{zone}/delete", post(page::zone::delete))
        .route(
            "/balancers/{id}/{service}/{mode}",
            post(page::balancers::set_mode),
        )
}
