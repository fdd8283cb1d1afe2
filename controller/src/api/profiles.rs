//! Profiles over HTTP: the ports that each role has, as text and as a list, and how they differ from what agencies declare.
//! What is shipped is never lost: a profile that was edited can be reset.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use malha_core::profile::{
    DifferenceKind, Direction, Network, PROFILES, Party, PortDifference, PortExposure, PortProbe,
    PortSpec, ProfileSpec, Release, declared_differences, port_differences, seed_ports,
};
use malha_core::{Command, Noun, State};
use malha_proto::{Label, Port, Profile as Role, Protocol};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::grants::GrantProtocol;
use crate::api::listing::Page;
use crate::api::nodes::NodeProfile;
use crate::api::problem::Problem;
use crate::api::reference::Reference;
use crate::api::write::{WriteQuery, Written};

/// A role and its ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    #[schema(value_type = NodeProfile)]
    pub profile: Role,
    /// When an operator put a text in the place of the shipped one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_ms: Option<u64>,
    pub ports: Vec<ProfilePort>,
    /// TOML, as `PUT` takes it; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Ports of a profile that serve one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfilePort {
    #[schema(value_type = String)]
    pub name: Label,
    #[schema(value_type = GrantProtocol)]
    pub protocol: Protocol,
    #[schema(value_type = Vec<u16>)]
    pub ports: Vec<Port>,
    /// `in` or `out`.
    #[schema(value_type = String)]
    pub direction: Direction,
    /// Who is on the other side: `peers`, `central`, `information-systems`, `operators`, `balancer`, `cluster`,
    /// `trust-services`, `anyone` or `nobody`.
    #[schema(value_type = Vec<String>)]
    pub who: Vec<Party>,
    /// Where it may answer: `tunnel`, `public`, `loopback` or `never`.
    #[schema(value_type = String)]
    pub exposure: PortExposure,
    /// How it is looked at: `tcp`, `tls-client-certificate`, `http`, `https`, `health` or `none`.
    #[schema(value_type = String)]
    pub probe: PortProbe,
    /// Whether the guard closes it where its exposure does not let it answer.
    pub guard: bool,
    /// The first release of X-Road that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub since: Option<Release>,
    /// The first release of X-Road that no longer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub before: Option<Release>,
}

/// A port of which a declaration and a profile do not say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileDifference {
    /// `too-open`: declared from outside, and the profile keeps it inside; `not-in-profile`; `not-declared`.
    #[schema(value_type = String)]
    pub kind: DifferenceKind,
    #[schema(value_type = u16)]
    pub port: Port,
    #[schema(value_type = String)]
    pub direction: Direction,
    /// The networks for which it is declared: `internal`, `external`.
    #[schema(value_type = Vec<String>)]
    pub declared: Vec<Network>,
    /// The declaration's words.
    pub said: Vec<String>,
    /// The profile's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<ProfilePort>,
}

/// A profile's text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileText {
    /// TOML; it names its profile.
    #[schema(max_length = 32768)]
    pub text: String,
}

/// For which release, and with what.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReleaseQuery {
    /// The release of X-Road, like `7.3`; the newest if absent.
    #[param(value_type = Option<String>)]
    xroad: Option<Release>,
    /// Compare with the ports that this organization declared: id or name. Its production site's release holds unless
    /// another is given.
    #[param(value_type = Option<String>)]
    organization: Option<Reference>,
}

impl Profile {
    fn of(state: &State, role: Role, with_text: bool) -> Self {
        let spec = state.profile_spec(role);
        Self {
            profile: role,
            edited_ms: state.edited_profile(role).map(|it| it.edited_ms),
            ports: spec.ports.iter().map(ProfilePort::of).collect(),
            text: with_text.then(|| state.profile_text(role).to_owned()),
        }
    }
}

impl ProfilePort {
    fn of(it: &PortSpec) -> Self {
        Self {
            name: it.name.clone(),
            protocol: it.protocol,
            ports: it.ports.iter().copied().collect(),
            direction: it.direction,
            who: it.who.iter().copied().collect(),
            exposure: it.exposure,
            probe: it.probe,
            guard: it.guard,
            since: it.since,
            before: it.before,
        }
    }
}

impl ProfileDifference {
    fn of(it: &PortDifference) -> Self {
        Self {
            kind: it.kind,
            port: it.port,
            direction: it.direction,
            declared: it.declared.iter().copied().collect(),
            said: it.said.clone(),
            entry: it.entry.as_ref().map(ProfilePort::of),
        }
    }
}

/// List profiles
#[utoipa::path(get, path = "/profiles", tag = "profiles",
    responses((status = 200, body = Page<Profile>)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
) -> Result<Json<Page<Profile>>, Problem> {
    let state = api.state();
    let items = PROFILES.map(|role| Profile::of(&state, role, false));
    Ok(Json(Page {
        items: items.into(),
        next: None,
    }))
}

/// Edit a profile
///
/// The guards of all its nodes follow at once. Grants don't: a profile suggests them, the policy makes them.
#[utoipa::path(put, path = "/profiles", tag = "profiles", params(WriteQuery), request_body = ProfileText,
    responses((status = 200, body = Written<Profile>)), security(("api_key" = ["write"])))]
pub(super) async fn set(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Query(query): Query<WriteQuery>,
    Body(new): Body<ProfileText>,
) -> Result<Json<Written<Profile>>, Problem> {
    let spec = ProfileSpec::parse(&new.text)?;
    let command = Command::SetProfile { text: new.text };
    let accepted = api.change(&caller, &query, command).await?;
    let profile = Profile::of(&api.state(), spec.name, true);
    api.written(&accepted, &query, profile).await.map(Json)
}

/// Show a profile with its text
#[utoipa::path(get, path = "/profiles/{profile}", tag = "profiles",
    params(("profile" = NodeProfile, Path, description = "Its name")),
    responses((status = 200, body = Profile)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(role): Path<Role>,
) -> Result<Json<Profile>, Problem> {
    Ok(Json(Profile::of(&api.state(), role, true)))
}

/// Bring the shipped profile back
#[utoipa::path(delete, path = "/profiles/{profile}", tag = "profiles",
    params(("profile" = NodeProfile, Path, description = "Its name"), WriteQuery),
    responses((status = 200, body = Written<Profile>)), security(("api_key" = ["write"])))]
pub(super) async fn reset(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(profile): Path<Role>,
    Query(query): Query<WriteQuery>,
) -> Result<Json<Written<Profile>>, Problem> {
    let command = Command::ResetProfile { profile };
    let accepted = api.change(&caller, &query, command).await?;
    let profile = Profile::of(&api.state(), profile, true);
    api.written(&accepted, &query, profile).await.map(Json)
}

/// Compare a profile with the ports that agencies are asked for
///
/// The list of "Requerimento servidores seguro em Órgãos", kept as it was written, or what an organization declared.
#[utoipa::path(get, path = "/profiles/{profile}/difference", tag = "profiles",
    params(("profile" = NodeProfile, Path, description = "Its name"), ReleaseQuery),
    responses((status = 200, body = Page<ProfileDifference>)), security(("api_key" = ["read"])))]
pub(super) async fn difference(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(role): Path<Role>,
    Query(query): Query<ReleaseQuery>,
) -> Result<Json<Page<ProfileDifference>>, Problem> {
    let state = api.state();
    let differences = match query.organization {
        None => port_differences(&state.profile_spec(role), query.xroad, seed_ports()),
        Some(reference) => {
            let id = reference.organization(&state)?;
            let statement = &state
                .declaration(id)
                .ok_or_else(|| Problem::not_found(Noun::Declaration, id))?
                .statement;
            declared_differences(&state, role, id, statement, query.xroad)
        }
    };
    Ok(Json(Page {
        items: differences.iter().map(ProfileDifference::of).collect(),
        next: None,
    }))
}
