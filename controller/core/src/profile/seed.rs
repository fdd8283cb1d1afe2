//! What agencies declare of their ports, and how that differs from what a profile says. The declaration is kept as it was
//! made: it is shown beside the profile, and never becomes policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use malha_proto::{OrganizationId, Port, Profile, Protocol};
use serde::{Deserialize, Serialize};

use super::{Direction, PortExposure, PortSpec, ProfileSpec, Release};
use crate::declaration::{DeclaredPorts, Statement};
use crate::state::State;

/// Ports that an agency declares. All are TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredPort {
    pub ports: BTreeSet<Port>,
    pub direction: Direction,
    pub network: Network,
    /// The words of the declaration.
    pub said: String,
}

/// From where, or whereto.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The agency's own network.
    Internal,
    /// Everything beyond it.
    External,
}

/// One port of which the declaration and the profile do not say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortDifference {
    pub kind: DifferenceKind,
    pub port: Port,
    pub direction: Direction,
    /// Where the declaration has it.
    pub declared: BTreeSet<Network>,
    /// The declaration's words.
    pub said: Vec<String>,
    /// The entry of the profile, if there is one.
    pub entry: Option<PortSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// Declared open from outside; the profile keeps it in the tunnel, on loopback or closed.
    TooOpen,
    /// Declared; the profile has no such port in this direction.
    NotInProfile,
    /// In the profile; the declaration does not have it.
    NotDeclared,
}

/// The ports for which the requirement asks every agency.
#[must_use]
pub fn seed_ports() -> &'static [DeclaredPort] {
    &SEED
}

/// As the text of a declaration lists them.
#[must_use]
pub fn declared_ports(entries: &[DeclaredPort]) -> DeclaredPorts {
    let of = |direction, network| -> Vec<u16> {
        let meant = entries
            .iter()
            .filter(|it| (it.direction, it.network) == (direction, network));
        let ports: BTreeSet<Port> = meant.flat_map(|it| it.ports.iter().copied()).collect();
        ports.into_iter().map(Port::number).collect()
    };
    DeclaredPorts {
        from_outside: of(Direction::In, Network::External),
        to_outside: of(Direction::Out, Network::External),
        from_inside: of(Direction::In, Network::Internal),
        to_inside: of(Direction::Out, Network::Internal),
    }
}

/// The other way round; what is said is the field of the text.
#[must_use]
pub fn port_entries(ports: &DeclaredPorts) -> Vec<DeclaredPort> {
    let lists = [
        (
            &ports.from_outside,
            Direction::In,
            Network::External,
            "from_outside",
        ),
        (
            &ports.to_outside,
            Direction::Out,
            Network::External,
            "to_outside",
        ),
        (
            &ports.from_inside,
            Direction::In,
            Network::Internal,
            "from_inside",
        ),
        (
            &ports.to_inside,
            Direction::Out,
            Network::Internal,
            "to_inside",
        ),
    ];
    let entry = |(ports, direction, network, field): (&Vec<u16>, _, _, &str)| DeclaredPort {
        ports: ports.iter().copied().filter_map(Port::new).collect(),
        direction,
        network,
        said: format!("ports.{field}"),
    };
    lists.map(entry).into()
}

/// Where a declaration differs from a profile, worst first, then by port.
#[must_use]
pub fn port_differences(
    spec: &ProfileSpec,
    release: Option<Release>,
    declared: &[DeclaredPort],
) -> Vec<PortDifference> {
    let mut places: BTreeMap<(Direction, Port), (BTreeSet<Network>, Vec<String>)> = BTreeMap::new();
    for entry in declared {
        for port in &entry.ports {
            let (networks, said) = places.entry((entry.direction, *port)).or_default();
            networks.insert(entry.network);
            said.push(entry.said.clone());
        }
    }
    let entries = || {
        let tcp = spec
            .ports_at(release)
            .filter(|it| it.protocol == Protocol::Tcp);
        tcp.flat_map(|it| it.ports.iter().map(move |port| (it.direction, *port, it)))
    };
    let of_declaration = places
        .iter()
        .filter_map(|((direction, port), (networks, said))| {
            let entry = entries()
                .find(|(towards, number, _)| (towards, number) == (direction, port))
                .map(|(_, _, entry)| entry);
            Some(PortDifference {
                kind: kind(entry, *direction, networks)?,
                port: *port,
                direction: *direction,
                declared: networks.clone(),
                said: said.clone(),
                entry: entry.cloned(),
            })
        });
    let of_profile = entries().filter(|(direction, port, entry)| {
        // That a port is closed to everybody needs no declaration.
        let is_open = matches!(entry.exposure, PortExposure::Tunnel | PortExposure::Public);
        is_open && !places.contains_key(&(*direction, *port))
    });
    let of_profile = of_profile.map(|(direction, port, entry)| PortDifference {
        kind: DifferenceKind::NotDeclared,
        port,
        direction,
        declared: BTreeSet::new(),
        said: Vec::new(),
        entry: Some(entry.clone()),
    });
    let mut differences: Vec<PortDifference> = of_declaration.chain(of_profile).collect();
    differences.sort_by_key(|it| (it.kind, it.direction, it.port));
    differences
}

/// Where an organization's own list differs from a profile, in the release of its first stage unless another is named.
#[must_use]
pub fn declared_differences(
    state: &State,
    profile: Profile,
    organization: OrganizationId,
    statement: &Statement,
    release: Option<Release>,
) -> Vec<PortDifference> {
    let first = statement.stages().next();
    let site = first.and_then(|(_, said)| {
        let mut sites = state.sites_of(organization);
        sites.find(|site| site.name == said.site)
    });
    let release = release.or(site.and_then(|site| site.xroad));
    let declared = port_entries(&statement.ports);
    port_differences(&state.profile_spec(profile), release, &declared)
}

fn kind(
    entry: Option<&PortSpec>,
    direction: Direction,
    networks: &BTreeSet<Network>,
) -> Option<DifferenceKind> {
    let Some(entry) = entry else {
        return Some(DifferenceKind::NotInProfile);
    };
    let is_closed = match entry.exposure {
        PortExposure::Public => false,
        PortExposure::Tunnel => networks.contains(&Network::External),
        PortExposure::Loopback | PortExposure::Never => true,
    };
    (direction == Direction::In && is_closed).then_some(DifferenceKind::TooOpen)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeed {
    port: Vec<RawDeclared>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDeclared {
    ports: Vec<String>,
    direction: Direction,
    network: Network,
    said: String,
}

static SEED: LazyLock<Vec<DeclaredPort>> = LazyLock::new(|| {
    let seed: RawSeed = match toml::from_str(include_str!("seed.toml")) {
        Ok(seed) => seed,
        Err(error) => unreachable!("the shipped text is read by a test: {error}"),
    };
    let number = |text: &String| text.parse().ok().and_then(Port::new);
    let ports = seed.port.into_iter().map(|it| DeclaredPort {
        ports: it.ports.iter().filter_map(number).collect(),
        direction: it.direction,
        network: it.network,
        said: it.said,
    });
    ports.collect()
});
