//! Agencies over HTTP: an organization with the sites, tokens, grants and names that its security servers need, in one
//! request. All of it is made, or nothing; a dry run makes nothing and says what would be.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use malha_core::declaration::Stage;
use malha_core::policy::Author;
use malha_core::profile::Release;
use malha_core::{
    AddedAgency, Answer, Command, Context, NewAgency as Wanted, PlannedMachine, State, Token,
};
use malha_proto::{Label, NodeId, OrganizationId, Profile, TokenId};
use malha_zone::ZoneName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::body::{Body, Query};
use crate::api::caller::{Caller, Write};
use crate::api::nodes::NodeProfile;
use crate::api::problem::{Kind, Problem};
use crate::api::tokens::day_s;
use crate::api::write::{REPLAY, strange_answer};
use crate::clock::now_ms;
use crate::paths;
use crate::refusals::{self, Refusal};

/// An agency to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAgency {
    /// `HOST.NAME` as its DNS names begin, like `xvia.sedec`; `xvia` is the host if only the name is given.
    #[schema(example = "xvia.sedec", max_length = 65)]
    pub name: String,
    pub profile: AgencyProfile,
    #[serde(default)]
    #[schema(max_length = 200)]
    pub display_name: String,
    /// Security servers in production.
    #[schema(minimum = 1, maximum = 16)]
    pub production: u8,
    /// Security servers for development (homologation).
    #[serde(default)]
    #[schema(maximum = 16)]
    pub development: u8,
    /// Balancers in front of the production servers; one if absent and there is more than one server, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 2)]
    pub balancers: Option<u8>,
    /// The release of X-Road that its servers run, like `7.3`; the newest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub xroad: Option<Release>,
    /// A zone of this controller in which its names are made, like `mt.gov.br`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub zone: Option<ZoneName>,
    /// Of its production name.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 8)]
    pub public_addresses: BTreeSet<IpAddr>,
    /// Of its development name.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 8)]
    pub development_addresses: BTreeSet<IpAddr>,
    /// How long the tokens are good; a day if absent.
    #[serde(default = "day_s")]
    #[schema(minimum = 60, maximum = 31536000)]
    pub ttl_s: u64,
}

/// What kind of servers an agency has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AgencyProfile {
    /// X-Road security servers, with a balancer in front of those in production.
    Xroad,
}

/// An agency as it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agency {
    /// The revision that holds it; absent in a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    #[schema(value_type = String, example = "o12")]
    pub organization_id: OrganizationId,
    pub organization: String,
    /// `org/site`
    pub sites: Vec<String>,
    /// The machines that are awaited.
    pub machines: Vec<AgencyMachine>,
    /// Security servers and balancers that stood in its sites before: they got their stage's tag, and the services of their profile that
    /// they did not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopted: Vec<String>,
    /// Those of the organization that stand in other sites: `malha node tag NODE xroad-producao` or `xroad-desenvolvimento` says of which
    /// stage they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unplaced: Vec<String>,
    /// Absent when the creation is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<AgencyPolicy>,
    /// Empty when the creation is repeated.
    pub names: Vec<AgencyName>,
    /// Says why there is no token text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A machine that is awaited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgencyMachine {
    /// `org/site/node`
    pub node: String,
    #[schema(value_type = NodeProfile)]
    pub profile: Profile,
    /// Ports that it will offer on its overlay address, each handed to 127.0.0.1.
    pub services: Vec<u16>,
    #[schema(value_type = String, example = "t14")]
    pub token_id: TokenId,
    /// What `malha-node up` takes, shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// How an agency's ports were opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgencyPolicy {
    /// The version of the policy that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// They wait for another operator's approval: `malha policy approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<u64>,
    /// What was added, as a policy's text says it.
    pub text: String,
}

/// A DNS name that the requirement asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgencyName {
    /// `production` or `development`.
    #[schema(value_type = String)]
    pub stage: Stage,
    /// With the zone, if one was given.
    pub name: String,
    #[schema(value_type = Vec<String>)]
    pub addresses: BTreeSet<IpAddr>,
    /// Whether its records were made here; else whoever keeps the zone makes them.
    pub is_kept_here: bool,
}

/// How the request is meant.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DryRun {
    /// Make nothing and say what would be made.
    #[serde(default)]
    dry_run: bool,
}

impl NewAgency {
    fn wanted(self, author: Author) -> Result<Wanted, Problem> {
        let (host, name) = self
            .name
            .split_once('.')
            .unwrap_or((USUAL_HOST, self.name.as_str()));
        let label = |text: &str| {
            let label = text.parse::<Label>();
            label.map_err(|error| Problem::wrong("name", &refusals::agency_name(&error)))
        };
        Ok(Wanted {
            name: label(name)?,
            host: label(host)?,
            display_name: self.display_name,
            production: self.production,
            development: self.development,
            balancers: self.balancers.unwrap_or(u8::from(self.production > 1)),
            xroad: self.xroad,
            zone: self.zone,
            public_addresses: self.public_addresses,
            development_addresses: self.development_addresses,
            token_ttl_s: self.ttl_s,
            author,
        })
    }
}

/// Add an agency
///
/// The organization, the sites `producao` and `desenvolvimento`, a token for each server and balancer, what each becomes when
/// it enrols, the grants between them, and its DNS records. Tokens are in this answer only. What an organization of this name has
/// already is taken over; an agency is added once.
#[utoipa::path(post, path = "/agencies", tag = "agencies", params(DryRun), request_body = NewAgency,
    responses((status = 201, body = Agency)), security(("api_key" = ["write"])))]
pub(super) async fn create(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<DryRun>,
    Body(new): Body<NewAgency>,
) -> Result<Response, Problem> {
    let zone = new.zone.clone();
    let command = Command::AddAgency(Box::new(new.wanted(caller.author())?));
    if query.dry_run {
        return dry_run(&api.state(), &command, zone.as_ref());
    }
    let handle = &api.context.handle;
    let accepted = handle
        .submit(command, caller.actor.clone(), caller.request())
        .await?;
    let state = api.state();
    let revision = Some(accepted.revision.0);
    match accepted.answer {
        Answer::Agency(added) => {
            let mut agency = Agency::of(&state, &added, zone.as_ref());
            for (shown, made) in agency.machines.iter_mut().zip(&added.machines) {
                shown.token = Some(api.token_text(&state, made.token, &made.secret));
            }
            let agency = Agency { revision, ..agency };
            Ok((StatusCode::CREATED, Json(agency)).into_response())
        }
        Answer::AlreadyCreated { created } => {
            let organization = created.parse().map_err(|_| strange_answer())?;
            let agency = Agency::again(&state, organization)
                .ok_or_else(|| Problem::of(Kind::Gone, &Refusal::CreatedAndGone))?;
            let agency = Agency { revision, ..agency };
            Ok(([(REPLAY, HeaderValue::from_static("true"))], Json(agency)).into_response())
        }
        _ => Err(strange_answer()),
    }
}

/// The same rules on the same state; what comes out is shown and dropped. It has no random bytes, and no token to show.
fn dry_run(state: &State, command: &Command, zone: Option<&ZoneName>) -> Result<Response, Problem> {
    let context = Context {
        now_ms: now_ms(),
        random: [0; 32],
        request: None,
    };
    let outcome = state.apply(command, &context)?;
    let Answer::Agency(added) = &outcome.answer else {
        return Err(strange_answer());
    };
    let agency = Agency::of(&outcome.state, added, zone);
    Ok(Json(agency).into_response())
}

impl Agency {
    fn of(state: &State, added: &AddedAgency, zone: Option<&ZoneName>) -> Self {
        let names = added.names.iter().map(|it| AgencyName {
            stage: it.stage,
            name: match zone {
                Some(zone) => format!("{}.{zone}", it.name),
                None => it.name.to_string(),
            },
            addresses: it.addresses.clone(),
            is_kept_here: it.is_kept_here,
        });
        let paths = |nodes: &[NodeId]| -> Vec<String> {
            nodes.iter().map(|id| paths::node(state, *id)).collect()
        };
        let machine = |it: &PlannedMachine| {
            let token = state.token(it.token)?;
            Some(AgencyMachine::of(it.path.clone(), token))
        };
        Self {
            revision: None,
            organization_id: added.organization,
            organization: state
                .organization(added.organization)
                .map(|it| it.name.to_string())
                .unwrap_or_default(),
            sites: added
                .sites
                .iter()
                .map(|id| paths::site(state, *id))
                .collect(),
            machines: added.machines.iter().filter_map(machine).collect(),
            adopted: paths(&added.adopted),
            unplaced: paths(&added.unplaced),
            policy: Some(AgencyPolicy {
                version: added.policy.version,
                proposal: added.policy.proposal,
                text: added.policy.text.clone(),
            }),
            names: names.collect(),
            note: None,
        }
    }

    /// What is left of it to be seen when its creation is repeated.
    fn again(state: &State, id: OrganizationId) -> Option<Self> {
        let organization = state.organization(id)?;
        let sites: Vec<_> = state.sites_of(id).map(|site| site.id).collect();
        let awaited = state.tokens().filter(|token| sites.contains(&token.site));
        let machines = awaited.filter_map(|token| {
            let plan = token.plan.as_ref()?;
            let path = format!("{}/{}", paths::site(state, token.site), plan.name);
            Some(AgencyMachine::of(path, token))
        });
        Some(Self {
            revision: None,
            organization_id: id,
            organization: organization.name.to_string(),
            sites: sites.iter().map(|id| paths::site(state, *id)).collect(),
            machines: machines.collect(),
            adopted: Vec::new(),
            unplaced: Vec::new(),
            policy: None,
            names: Vec::new(),
            note: Some(NOT_AGAIN.to_owned()),
        })
    }
}

impl AgencyMachine {
    fn of(node: String, token: &Token) -> Self {
        let plan = token.plan.as_ref();
        let services = plan.into_iter().flat_map(|plan| &plan.services);
        let mut services: Vec<u16> = services.map(|it| it.port.number()).collect();
        services.sort_unstable();
        Self {
            node,
            profile: token.profile,
            services,
            token_id: token.id,
            token: None,
        }
    }
}

/// As the requirement names them: `xvia.sedec.…`.
const USUAL_HOST: &str = "xvia";
const NOT_AGAIN: &str = "this Idempotency-Key made this agency before; its tokens were shown then and can't be shown again. \
    If one is lost, revoke it and create another";
