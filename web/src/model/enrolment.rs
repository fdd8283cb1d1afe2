//! Organizations, sites and enrolment tokens.

use std::fmt;

use time::OffsetDateTime;

use super::opaque_id;
use crate::untrusted::Untrusted;

/// One organization as a row.
#[derive(Clone, Debug)]
pub struct OrganizationRow {
    pub name: Untrusted,
    pub sites: u32,
    pub nodes: u32,
}

/// One site as a row.
#[derive(Clone, Debug)]
pub struct SiteRow {
    pub organization: Untrusted,
    pub name: Untrusted,
    pub nodes: u32,
    /// Nodes whose control session and tunnel are both up.
    pub online: u32,
}

/// What the form "new organization" asks for (field `name`).
#[derive(Clone, Debug)]
pub struct NewOrganization {
    pub name: String,
}

/// What the form "new site" asks for (fields `organization`, `name`).
#[derive(Clone, Debug)]
pub struct NewSite {
    pub organization: String,
    pub name: String,
}

opaque_id!(
    /// Names a token without being its secret.
    TokenId
);

/// One enrolment token as a row; its secret is not known any more.
#[derive(Clone, Debug)]
pub struct TokenRow {
    pub id: TokenId,
    pub organization: Untrusted,
    pub site: Untrusted,
    pub profile: Profile,
    /// The node that this token would replace.
    pub replaces: Option<Untrusted>,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub uses_left: u32,
    pub uses_total: u32,
    pub state: TokenState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    Active,
    Used,
    Expired,
    Revoked,
}

/// What the form "new token" asks for (fields `site`, `profile`, `lifetime_s`, `uses`).
#[derive(Clone, Debug)]
pub struct NewToken {
    /// `organization/site`.
    pub site: String,
    pub profile: Profile,
    pub lifetime_s: u64,
    pub uses: u32,
}

/// A token at the only moment at which its secret can be shown.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    pub id: TokenId,
    pub secret: Secret,
    pub expires_at: OffsetDateTime,
    pub revision: u64,
}

/// A secret that is shown on purpose and never by accident: its `Debug` tells nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(secret: T) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A node's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Garage,
    SecurityServer,
    Balancer,
    Central,
    Edge,
}

impl Profile {
    /// Every profile, in the order in which forms offer them.
    pub const ALL: [Profile; 5] = [
        Profile::Garage,
        Profile::SecurityServer,
        Profile::Balancer,
        Profile::Central,
        Profile::Edge,
    ];

    /// The profile's name in API, CLI and forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Garage => "garage",
            Profile::SecurityServer => "security-server",
            Profile::Balancer => "balancer",
            Profile::Central => "central",
            Profile::Edge => "edge",
        }
    }

    /// The profile with this name.
    pub fn parse(name: &str) -> Option<Profile> {
        Profile::ALL
            .into_iter()
            .find(|profile| profile.as_str() == name)
    }
}
