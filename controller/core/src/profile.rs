//! Profiles: which ports a role has, in which direction, for whom, where they may answer, and how that is looked at. Five are
//! shipped as texts; an operator may put another text in the place of each. A profile suggests grants, it never makes one.

mod document;
mod release;
mod seed;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use malha_proto::{ClosedPort, Label, Port, Profile, Protocol};
use serde::{Deserialize, Serialize};

use crate::apply::found;
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::model::Node;
use crate::noun::Noun;
use crate::state::State;

pub use release::Release;
pub use seed::{
    DeclaredPort, DifferenceKind, Network, PortDifference, declared_differences, declared_ports,
    port_differences, port_entries, seed_ports,
};

/// What a profile says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileSpec {
    pub name: Profile,
    pub ports: Vec<PortSpec>,
}

/// Ports that serve one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Each once in a profile.
    pub name: Label,
    /// TCP or UDP.
    pub protocol: Protocol,
    pub ports: BTreeSet<Port>,
    pub direction: Direction,
    /// The other side.
    pub who: BTreeSet<Party>,
    pub exposure: PortExposure,
    pub probe: PortProbe,
    /// Whether the node's guard closes it where its exposure does not let it answer. Without meaning outbound.
    pub guard: bool,
    /// The first release of X-Road that has it; every one if absent.
    pub since: Option<Release>,
    /// The first release of X-Road that no longer has it.
    pub before: Option<Release>,
}

/// Who opens the connection: somebody to the node, or the node to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    In,
    Out,
}

/// Who is on the other side of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// Security servers, of this and of other agencies.
    Peers,
    Central,
    /// The agency's own information systems.
    InformationSystems,
    Operators,
    /// The balancer in front of the agency's servers.
    Balancer,
    /// The other servers of the same site.
    Cluster,
    /// OCSP and time-stamp services.
    TrustServices,
    Anyone,
    Nobody,
}

/// Where a port may answer; outbound, where the other side's port answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortExposure {
    /// On the overlay address only.
    Tunnel,
    /// On public addresses too.
    Public,
    /// To the machine itself only.
    Loopback,
    /// Nowhere: it should not even be open.
    Never,
}

/// How it is found out whether a port does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortProbe {
    /// A connection.
    Tcp,
    /// A TLS handshake that goes on until the server asks for a client certificate.
    TlsClientCertificate,
    /// A request for `/` over plain HTTP, answered with a status below 500.
    Http,
    /// The same over TLS.
    Https,
    /// A request for `/` over plain HTTP, answered with status 200.
    Health,
    /// Not at all.
    None,
}

/// An operator's text in the place of the shipped one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditedProfile {
    pub profile: Profile,
    pub text: String,
    pub edited_ms: u64,
}

impl ProfileSpec {
    /// The profile that is shipped under this name.
    #[must_use]
    pub fn shipped(profile: Profile) -> Arc<Self> {
        SHIPPED
            .iter()
            .find(|spec| spec.name == profile)
            .cloned()
            .unwrap_or_else(|| unreachable!("{profile:?} is shipped"))
    }

    /// What holds with this release of X-Road; with the newest one if None.
    pub fn ports_at(&self, release: Option<Release>) -> impl Iterator<Item = &PortSpec> {
        self.ports.iter().filter(move |port| port.holds_at(release))
    }

    /// What the guard closes outside the overlay and loopback.
    #[must_use]
    pub fn closed_at(&self, release: Option<Release>) -> BTreeSet<ClosedPort> {
        let open: BTreeSet<ClosedPort> = self
            .ports_at(release)
            .filter(|it| it.direction == Direction::In && !it.is_closed_outside())
            .flat_map(PortSpec::each)
            .collect();
        self.ports_at(release)
            .filter(|it| it.direction == Direction::In && it.is_closed_outside())
            .flat_map(PortSpec::each)
            .filter(|port| !open.contains(port))
            .collect()
    }
}

impl PortSpec {
    #[must_use]
    pub fn holds_at(&self, release: Option<Release>) -> bool {
        match release {
            None => self.before.is_none(),
            Some(release) => {
                self.since.is_none_or(|first| first <= release)
                    && self.before.is_none_or(|end| release < end)
            }
        }
    }

    fn is_closed_outside(&self) -> bool {
        self.guard && self.exposure != PortExposure::Public
    }

    fn each(&self) -> impl Iterator<Item = ClosedPort> {
        let protocol = self.protocol;
        self.ports.iter().map(move |port| ClosedPort {
            protocol,
            port: *port,
        })
    }
}

impl State {
    /// What a profile says now: an operator's text, or the shipped one.
    #[must_use]
    pub fn profile_spec(&self, profile: Profile) -> Arc<ProfileSpec> {
        let edited = self.profile_specs.get(&profile).cloned();
        edited.unwrap_or_else(|| ProfileSpec::shipped(profile))
    }

    /// The text of a profile, as it is shipped or as an operator wrote it.
    #[must_use]
    pub fn profile_text(&self, profile: Profile) -> &str {
        self.edited_profile(profile)
            .map_or_else(|| shipped_text(profile), |edited| edited.text.as_str())
    }

    /// None as long as the shipped text holds.
    #[must_use]
    pub fn edited_profile(&self, profile: Profile) -> Option<&EditedProfile> {
        self.profiles.get(&profile).map(AsRef::as_ref)
    }

    /// What the guard of this node closes outside the overlay for its profile's sake.
    pub(crate) fn closed_on(&self, node: &Node) -> BTreeSet<ClosedPort> {
        let release = self.site(node.site).and_then(|site| site.xroad);
        self.profile_spec(node.profile).closed_at(release)
    }
}

/// Puts an operator's text in the place of the one before.
pub(crate) fn set(draft: &mut Draft, text: &str) -> Result<Answer, Rejection> {
    let spec = ProfileSpec::parse(text)?;
    let edited_ms = draft.now_ms();
    draft.put(EditedProfile {
        profile: spec.name,
        text: text.to_owned(),
        edited_ms,
    });
    Ok(Answer::Done)
}

/// The shipped text holds again.
pub(crate) fn reset(draft: &mut Draft, profile: Profile) -> Result<Answer, Rejection> {
    found(
        draft.state.edited_profile(profile),
        Noun::EditedProfile,
        crate::policy::profile_name(profile),
    )?;
    draft.delete(EntityKey::Profile(profile));
    Ok(Answer::Done)
}

/// The profile that a text names; empty if it is none.
pub(crate) fn named_in(text: &str) -> String {
    let spec = ProfileSpec::parse(text).ok();
    spec.map(|spec| crate::policy::profile_name(spec.name))
        .unwrap_or_default()
}

fn shipped_text(profile: Profile) -> &'static str {
    match profile {
        Profile::Garage => include_str!("profile/shipped/garage.toml"),
        Profile::SecurityServer => include_str!("profile/shipped/security-server.toml"),
        Profile::Balancer => include_str!("profile/shipped/balancer.toml"),
        Profile::Central => include_str!("profile/shipped/central.toml"),
        Profile::Edge => include_str!("profile/shipped/edge.toml"),
    }
}

static SHIPPED: LazyLock<Vec<Arc<ProfileSpec>>> = LazyLock::new(|| {
    let parsed = |profile| match ProfileSpec::parse(shipped_text(profile)) {
        Ok(spec) => Arc::new(spec),
        Err(error) => unreachable!("the shipped texts are read by a test: {error}"),
    };
    PROFILES.into_iter().map(parsed).collect()
});

/// All of them, in the order of their numbers on the wire.
pub const PROFILES: [Profile; 5] = [
    Profile::Garage,
    Profile::SecurityServer,
    Profile::Balancer,
    Profile::Central,
    Profile::Edge,
];
