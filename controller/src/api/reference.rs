//! How requests name things: by id (`n12`), by the path of names (`org/site/node`), or by a last name that nothing else has.
//! What looks like an id is one.

use std::str::FromStr;

use malha_core::{Noun, Selector, State};
use malha_proto::{
    ApiKeyId, BalancerId, GrantId, HostName, Label, NodeId, OperatorId, OrganizationId, Profile,
    RouteId, ServiceId, SiteId, TokenId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::problem::Problem;
use crate::paths;
use crate::refusals::{self, Refusal};

/// An id or a path of names, at most 2,048 bytes; looked up when it is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, max_length = 2048, example = "sefaz/producao")]
pub struct Reference(String);

impl TryFrom<String> for Reference {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        match text.len() {
            0 => Err(Refusal::ReferenceMissing),
            bytes @ MAX_REFERENCE_BYTES.. => Err(Refusal::ReferenceLong {
                bytes,
                most: MAX_REFERENCE_BYTES,
            }),
            _ => Ok(Self(text)),
        }
    }
}

impl Reference {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn organization(&self, state: &State) -> Result<OrganizationId, Problem> {
        self.find(
            Noun::Organization,
            |id| state.organization(id).map(|it| it.id),
            |path| state.organization_by_name(path).map(|it| it.id),
        )
    }

    /// `org/site`, or the site's name alone if no other site has it.
    pub(super) fn site(&self, state: &State) -> Result<SiteId, Problem> {
        if let Some(id) = self.only(
            state.sites().map(|site| (&site.name, site.id)),
            Noun::Site,
            "org/site",
        )? {
            return Ok(id);
        }
        self.find(
            Noun::Site,
            |id| state.site(id).map(|it| it.id),
            |path| state.site_by_path(path).map(|it| it.id),
        )
    }

    /// `org/site/node`, or the node's name alone if no other node has it.
    pub(super) fn node(&self, state: &State) -> Result<NodeId, Problem> {
        if let Some(id) = self.only(
            state.nodes().map(|node| (&node.name, node.id)),
            Noun::Node,
            "org/site/node",
        )? {
            return Ok(id);
        }
        self.find(
            Noun::Node,
            |id| state.node(id).map(|it| it.id),
            |path| state.node_by_path(path).map(|it| it.id),
        )
    }

    /// A node as above, `/`, and the service's name.
    pub(super) fn service(&self, state: &State) -> Result<ServiceId, Problem> {
        let Some((node, name)) = self.0.rsplit_once('/') else {
            return self.find(
                Noun::Service,
                |id| state.service(id).map(|it| it.id),
                |_| None,
            );
        };
        let node = Self::try_from(node.to_owned())
            .map_err(|refusal| Problem::invalid("service", &refusal))?;
        let node = node.node(state)?;
        let service = name
            .parse()
            .ok()
            .and_then(|name| state.service_by_name(node, &name));
        service
            .map(|service| service.id)
            .ok_or_else(|| self.unknown(Noun::Service))
    }

    /// A node as above, `/`, and the balancer's name.
    pub(super) fn balancer(&self, state: &State) -> Result<BalancerId, Problem> {
        let Some((node, name)) = self.0.rsplit_once('/') else {
            return self.find(
                Noun::Balancer,
                |id| state.balancer(id).map(|it| it.id),
                |_| None,
            );
        };
        let node = Self::try_from(node.to_owned())
            .map_err(|refusal| Problem::invalid("balancer", &refusal))?;
        let node = node.node(state)?;
        let name = name.parse().ok();
        let balancer = name.and_then(|name| state.balancer_by_name(node, &name));
        balancer
            .map(|balancer| balancer.id)
            .ok_or_else(|| self.unknown(Noun::Balancer))
    }

    /// `host` or `host/path`.
    pub(super) fn route(&self, state: &State) -> Result<RouteId, Problem> {
        self.find(
            Noun::Route,
            |id| state.route(id).map(|it| it.id),
            |place| {
                let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
                let host: HostName = host.parse().ok()?;
                let path = if path.is_empty() { "/" } else { path };
                state
                    .routes_at(&host)
                    .find(|route| route.path == path)
                    .map(|route| route.id)
            },
        )
    }

    pub(super) fn token(&self, state: &State) -> Result<TokenId, Problem> {
        self.find(Noun::Token, |id| state.token(id).map(|it| it.id), |_| None)
    }

    pub(super) fn grant(&self, state: &State) -> Result<GrantId, Problem> {
        self.find(Noun::Grant, |id| state.grant(id).map(|it| it.id), |_| None)
    }

    pub(super) fn operator(&self, state: &State) -> Result<OperatorId, Problem> {
        self.find(
            Noun::Operator,
            |id| state.operator(id).map(|it| it.id),
            |name| state.operator_by_name(name).map(|it| it.id),
        )
    }

    pub(super) fn api_key(&self, state: &State) -> Result<ApiKeyId, Problem> {
        self.find(
            Noun::ApiKey,
            |id| state.api_key(id).map(|it| it.id),
            |name| {
                state
                    .api_keys()
                    .find(|key| key.name.as_str() == name)
                    .map(|key| key.id)
            },
        )
    }

    /// `organization:sefaz`, `site:sefaz/producao`, `node:sefaz/producao/ss-1`, `profile:central`, each with a name or id.
    pub(super) fn selector(&self, state: &State, field: &'static str) -> Result<Selector, Problem> {
        let (kind, rest) = self.0.split_once(':').unwrap_or(("", &self.0));
        let rest =
            Self::try_from(rest.to_owned()).map_err(|refusal| Problem::invalid(field, &refusal))?;
        let selector = match kind {
            "organization" => rest.organization(state).map(Selector::Organization),
            "site" => rest.site(state).map(Selector::Site),
            "node" => rest.node(state).map(Selector::Node),
            "profile" => profile(rest.as_str()).map(Selector::Profile),
            "tag" => rest
                .as_str()
                .parse()
                .map(Selector::Tag)
                .map_err(|error| Problem::wrong(field, &refusals::tag(&error))),
            _ => Err(Problem::wrong(field, &refusals::selector())),
        };
        selector.map_err(|problem| problem.at(field))
    }

    fn find<I: FromStr>(
        &self,
        what: Noun,
        by_id: impl Fn(I) -> Option<I>,
        by_path: impl Fn(&str) -> Option<I>,
    ) -> Result<I, Problem> {
        let found = match self.0.parse::<I>() {
            Ok(id) => by_id(id),
            Err(_) => by_path(&self.0),
        };
        found.ok_or_else(|| self.unknown(what))
    }

    /// The only thing whose whole name this is; None when it is an id, a path or nobody's name.
    fn only<'a, I>(
        &self,
        named: impl Iterator<Item = (&'a Label, I)>,
        what: Noun,
        path: &'static str,
    ) -> Result<Option<I>, Problem>
    where
        I: FromStr,
    {
        if self.0.contains('/') || self.0.parse::<I>().is_ok() {
            return Ok(None);
        }
        let mut with_it = named
            .filter(|(name, _)| name.as_str() == self.0)
            .map(|(_, id)| id);
        let first = with_it.next();
        match with_it.next() {
            Some(_) => Err(Problem::wrong(
                what.as_str(),
                &refusals::ambiguous(&self.0, path),
            )),
            None => Ok(first),
        }
    }

    fn unknown(&self, what: Noun) -> Problem {
        Problem::not_found(what, super::problem::shown(&self.0, MAX_SHOWN_CHARS))
    }
}

fn profile(text: &str) -> Result<Profile, Problem> {
    Profile::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text))
        .map_err(|error| Problem::wrong("profile", &refusals::profile_word(&error)))
}

/// The text that [`Reference::selector`] reads.
pub(super) fn selector_text(state: &State, selector: Selector) -> String {
    match selector {
        Selector::Organization(id) => format!("organization:{}", paths::organization(state, id)),
        Selector::Site(id) => format!("site:{}", paths::site(state, id)),
        Selector::Node(id) => format!("node:{}", paths::node(state, id)),
        Selector::Tag(tag) => format!("tag:{tag}"),
        Selector::Profile(profile) => {
            let name = serde_json::to_value(profile).ok();
            format!(
                "profile:{}",
                name.as_ref()
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or_default()
            )
        }
    }
}

/// A host name and the longest path of a route fit.
const MAX_REFERENCE_BYTES: usize = 2_049;
const MAX_SHOWN_CHARS: usize = 120;
