//! Whom a policy speaks of: `org:NAME`, `site:ORG/SITE`, `node:ORG/SITE/NODE`, `profile:P`, `tag:T`, `edge`, `operator`.
//! Names, never addresses or ids; what nobody has means nobody.

use std::fmt;
use std::str::FromStr;

use malha_proto::{Label, Profile};
use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};

use crate::model::{Node, Selector};
use crate::reason::Reason;
use crate::state::State;
use crate::tags::{Tag, TagError};

/// One side of a `[[grant]]` or a `[[test]]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    Organization(Label),
    Site(Label, Label),
    Node(Label, Label, Label),
    /// `edge` is `profile:edge`, to which hubs belong.
    Profile(Profile),
    /// `operator` is `tag:operator`: the machines that an operator tagged so.
    Tag(Tag),
}

impl Who {
    /// The selector of what has this name now; None when nothing has.
    #[must_use]
    pub fn selector(&self, state: &State) -> Option<Selector> {
        Some(match self {
            Self::Organization(name) => {
                Selector::Organization(state.organization_by_name(name.as_str())?.id)
            }
            Self::Site(organization, site) => {
                Selector::Site(state.site_by_path(&format!("{organization}/{site}"))?.id)
            }
            Self::Node(organization, site, node) => {
                let path = format!("{organization}/{site}/{node}");
                Selector::Node(state.node_by_path(&path)?.id)
            }
            Self::Profile(profile) => Selector::Profile(*profile),
            Self::Tag(tag) => Selector::Tag(*tag),
        })
    }

    /// Whether a node is meant, by comparing names alone: no index, no id.
    #[must_use]
    pub fn means(&self, state: &State, node: &Node) -> bool {
        let site = state.site(node.site);
        let organization = site.and_then(|site| state.organization(site.organization));
        let (Some(site), Some(organization)) = (site, organization) else {
            return false;
        };
        match self {
            Self::Organization(name) => organization.name == *name,
            Self::Site(of, name) => organization.name == *of && site.name == *name,
            Self::Node(of, at, name) => {
                organization.name == *of && site.name == *at && node.name == *name
            }
            Self::Profile(profile) => node.profile == *profile,
            Self::Tag(tag) => node.tags.contains(tag),
        }
    }

    /// The text of a selector of this state, for a policy made out of grants.
    #[must_use]
    pub fn of(state: &State, selector: Selector) -> Option<Self> {
        let of_site = |id| {
            let site = state.site(id)?;
            let organization = state.organization(site.organization)?;
            Some((organization.name.clone(), site.name.clone()))
        };
        Some(match selector {
            Selector::Organization(id) => Self::Organization(state.organization(id)?.name.clone()),
            Selector::Site(id) => {
                let (organization, site) = of_site(id)?;
                Self::Site(organization, site)
            }
            Selector::Node(id) => {
                let node = state.node(id)?;
                let (organization, site) = of_site(node.site)?;
                Self::Node(organization, site, node.name.clone())
            }
            Selector::Profile(profile) => Self::Profile(profile),
            Selector::Tag(tag) => Self::Tag(tag),
        })
    }
}

impl FromStr for Who {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let parts: Vec<&str> = rest.split('/').collect();
        match (kind, parts.as_slice()) {
            ("org", [organization]) => Ok(Self::Organization(label(organization)?)),
            ("site", [organization, site]) => Ok(Self::Site(label(organization)?, label(site)?)),
            ("node", [organization, site, node]) => {
                Ok(Self::Node(label(organization)?, label(site)?, label(node)?))
            }
            ("profile", [name]) => profile(name).map(Self::Profile),
            ("tag", [tag]) => tag.parse().map(Self::Tag).map_err(|error| match error {
                TagError::Label(error) => Reason::Name { error },
                TagError::TooLong(text) => Reason::TagLong { text },
            }),
            ("edge", [""]) if text == "edge" => Ok(Self::Profile(Profile::Edge)),
            ("operator", [""]) if text == "operator" => Ok(Self::Tag(Tag::operator())),
            _ => Err(Reason::NamesNobody {
                text: text.chars().take(MAX_SHOWN_CHARS).collect(),
            }),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(name) => write!(f, "org:{name}"),
            Self::Site(organization, site) => write!(f, "site:{organization}/{site}"),
            Self::Node(organization, site, node) => {
                write!(f, "node:{organization}/{site}/{node}")
            }
            Self::Profile(profile) => write!(f, "profile:{}", profile_name(*profile)),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
        }
    }
}

/// The profile's name as it is written everywhere.
#[must_use]
pub fn profile_name(profile: Profile) -> String {
    match serde_json::to_value(profile) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{profile:?}"),
    }
}

fn profile(name: &str) -> Result<Profile, Reason> {
    let profile = Profile::deserialize(StrDeserializer::<ValueError>::new(name));
    profile.map_err(|_| Reason::UnknownWord {
        text: name.chars().take(MAX_SHOWN_CHARS).collect(),
        words: PROFILE_WORDS,
    })
}

fn label(text: &str) -> Result<Label, Reason> {
    text.parse().map_err(|error| Reason::Name { error })
}

const MAX_SHOWN_CHARS: usize = 80;
pub(crate) const PROFILE_WORDS: &str =
    "\"garage\", \"security-server\", \"balancer\", \"central\", \"edge\"";
