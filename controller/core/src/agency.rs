//! An agency in one step: its organization, sites, tokens, names, services, balancers, grants and DNS records, all of them or
//! none. It suggests nothing that the profiles don't say, and gives no machine more than its stage.

mod adoption;
mod names;
mod opening;
mod plan;
mod rules;
mod stage;

use std::collections::BTreeSet;
use std::net::IpAddr;

use malha_proto::{
    Fingerprint, HealthPort, Label, NodeId, OrganizationId, Profile, Protocol, Secret32,
    ServiceKind, SiteId, TokenId, is_public,
};
use malha_zone::{RecordName, ZoneName};

use crate::apply::found;
use crate::command::{Answer, Rejection};
use crate::declaration::Stage;
use crate::draft::Draft;
use crate::limits::{
    MAX_AGENCY_ADDRESSES, MAX_AGENCY_BALANCERS, MAX_AGENCY_NAME_CHARS, MAX_AGENCY_SERVERS,
};
use crate::model::Site;
use crate::noun::{Noun, Plenty};
use crate::policy::Author;
use crate::profile::{Direction, Party, PortExposure, PortProbe, ProfileSpec, Release};
use crate::reason::Reason;
use crate::tokens;
use names::{add_name, declare};
use opening::open;
use rules::Suggestion;

pub(crate) use plan::carry_out;
pub use plan::{NodePlan, PlannedBalancer, PlannedService};

/// An agency to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAgency {
    pub name: Label,
    pub display_name: String,
    /// The first label of its DNS names: `xvia` for `xvia.sedec.…`.
    pub host: Label,
    /// Security servers of each stage.
    pub production: u8,
    pub development: u8,
    /// Balancers in front of the production servers.
    pub balancers: u8,
    /// The release of X-Road that its servers run; the newest one if None.
    pub xroad: Option<Release>,
    /// A zone of this controller for its names.
    pub zone: Option<ZoneName>,
    /// What its production name says.
    pub public_addresses: BTreeSet<IpAddr>,
    pub development_addresses: BTreeSet<IpAddr>,
    pub token_ttl_s: u64,
    /// Who asks for the change of the policy.
    pub author: Author,
}

/// What was made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedAgency {
    pub organization: OrganizationId,
    pub sites: Vec<SiteId>,
    pub machines: Vec<PlannedMachine>,
    /// Servers and balancers that stood in its sites before: they got their stage's tag, and the services that they did not have.
    pub adopted: Vec<NodeId>,
    /// Those of the organization that stand in other sites, so that nobody knows their stage.
    pub unplaced: Vec<NodeId>,
    pub policy: AgencyPolicy,
    pub names: Vec<AgencyName>,
}

/// A machine that is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMachine {
    pub token: TokenId,
    /// Shown once, here.
    pub secret: Secret32,
    /// `org/site/node`
    pub path: String,
    pub profile: Profile,
}

/// How the agency's ports were opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgencyPolicy {
    /// The version that has them.
    pub version: Option<u64>,
    /// They wait for another operator's approval.
    pub proposal: Option<u64>,
    /// What was added, as a policy's text says it.
    pub text: String,
}

/// A DNS name that the requirement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgencyName {
    pub stage: Stage,
    /// Relative to the zone.
    pub name: RecordName,
    /// Empty: no address was given, so there is no record.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether the records were made here; else whoever keeps the zone makes them.
    pub is_kept_here: bool,
}

pub(crate) fn add(draft: &mut Draft, new: &NewAgency) -> Result<Answer, Rejection> {
    check(new)?;
    let organization = adoption::organization(draft, new)?;
    let mut added = AddedAgency {
        organization,
        sites: Vec::new(),
        machines: Vec::new(),
        adopted: Vec::new(),
        unplaced: Vec::new(),
        policy: AgencyPolicy {
            version: None,
            proposal: None,
            text: String::new(),
        },
        names: Vec::new(),
    };
    let mut rules = Vec::new();
    for stage in new.stages() {
        let site = add_site(draft, new, organization, stage)?;
        added.sites.push(site);
        let (mut servers, adopted) = adoption::adopt(draft, new, stage, site)?;
        added.adopted.extend(adopted);
        let awaited = adoption::awaited(&draft.state, new, stage, site, servers.len());
        add_machines(draft, new, stage, site, &awaited, &mut added.machines)?;
        servers.extend(awaited);
        let suggestion = Suggestion {
            organization: &new.name,
            stage,
            servers: &servers,
            release: new.xroad,
            server: &draft.state.profile_spec(Profile::SecurityServer),
            has_other: new.stages().len() > 1,
        };
        rules.extend(suggestion.rules());
        added.names.push(add_name(draft, new, stage)?);
    }
    added.unplaced = adoption::unplaced(&draft.state, &added);
    if draft.state.declaration(organization).is_none() {
        declare(draft, new, &added)?;
    }
    added.policy = open(draft, &rules, new.author)?;
    Ok(Answer::Agency(Box::new(added)))
}

impl NewAgency {
    fn stages(&self) -> Vec<Stage> {
        let both = [Stage::Production, Stage::Development];
        both.into_iter()
            .filter(|stage| self.count(*stage) > 0)
            .collect()
    }

    fn count(&self, stage: Stage) -> u8 {
        match stage {
            Stage::Production => self.production,
            Stage::Development => self.development,
        }
    }
}

/// Before anything is made, so that each mistake is named by its field.
fn check(new: &NewAgency) -> Result<(), Rejection> {
    let refuse = |field, reason| Err(Rejection::Invalid { field, reason });
    let counts = [
        ("production", new.production, 1..=MAX_AGENCY_SERVERS),
        ("development", new.development, 0..=MAX_AGENCY_SERVERS),
        ("balancers", new.balancers, 0..=MAX_AGENCY_BALANCERS),
    ];
    for (field, count, bounds) in counts {
        if !bounds.contains(&count) {
            let (least, most) = bounds.into_inner();
            let (least, most, given) = (least.into(), most.into(), count.into());
            return refuse(field, Reason::OutOfBounds { least, most, given });
        }
    }
    for (field, name) in [("name", &new.name), ("host", &new.host)] {
        if name.as_str().len() > MAX_AGENCY_NAME_CHARS {
            let name = name.to_string();
            return refuse(field, Reason::AgencyNameLong { name });
        }
    }
    let addresses = [
        ("public_addresses", &new.public_addresses),
        ("development_addresses", &new.development_addresses),
    ];
    for (field, list) in addresses {
        crate::apply::check_count(Plenty::AddressesOfName, list.len(), MAX_AGENCY_ADDRESSES)?;
        if let Some(wrong) = list.iter().find(|it| !is_public(**it)) {
            let address = wrong.to_string();
            return refuse(field, Reason::AgencyAddress { address });
        }
    }
    if let Some(both) = new
        .public_addresses
        .intersection(&new.development_addresses)
        .next()
    {
        let address = both.to_string();
        let reason = Reason::AgencyAddressTwice { address };
        return refuse("development_addresses", reason);
    }
    if new.development == 0 && !new.development_addresses.is_empty() {
        return refuse("development_addresses", Reason::AgencyWithoutDevelopment);
    }
    Ok(())
}

fn add_site(
    draft: &mut Draft,
    new: &NewAgency,
    organization: OrganizationId,
    stage: Stage,
) -> Result<SiteId, Rejection> {
    let id = adoption::site(draft, organization, stage)?;
    let site = found(draft.state.site(id), Noun::Site, id)?.clone();
    let balanced = match stage {
        Stage::Production => {
            planned_balancers(&draft.state.profile_spec(Profile::SecurityServer), new)
        }
        Stage::Development => Vec::new(),
    };
    draft.put(Site {
        xroad: new.xroad,
        balanced,
        ..site
    });
    Ok(id)
}

/// Each port that the profile has for the balancer and for those in front of it, on each balancer.
fn planned_balancers(server: &ProfileSpec, new: &NewAgency) -> Vec<PlannedBalancer> {
    let health = server
        .ports_at(new.xroad)
        .find(|it| it.direction == Direction::In && it.probe == PortProbe::Health)
        .and_then(|it| it.ports.first())
        .map(|port| HealthPort {
            port: *port,
            path: "/".to_owned(),
        });
    let nodes = numbered(&balancer_base(), new.balancers);
    let balanced: Vec<PlannedService> = planned_services(server, new.xroad, |who| {
        let clients = [Party::Peers, Party::InformationSystems];
        who.contains(&Party::Balancer) && clients.iter().any(|party| who.contains(party))
    });
    let on = |node: &Label| -> Vec<PlannedBalancer> {
        let each = balanced.iter().map(|service| PlannedBalancer {
            node: node.clone(),
            name: service.name.clone(),
            port: service.port,
            service: service.name.clone(),
            health: health.clone(),
        });
        each.collect()
    };
    nodes.iter().flat_map(on).collect()
}

/// The services of a server: what its profile keeps in the tunnel. What the servers of a cluster open on one another, and what
/// the guard leaves open, the programs themselves offer on every address.
fn planned_services(
    server: &ProfileSpec,
    release: Option<Release>,
    is_wanted: impl Fn(&BTreeSet<Party>) -> bool,
) -> Vec<PlannedService> {
    let mut services = Vec::new();
    for entry in server.ports_at(release) {
        let is_offered = entry.direction == Direction::In
            && entry.protocol == Protocol::Tcp
            && entry.exposure == PortExposure::Tunnel
            && entry.guard
            && entry.who.iter().any(|party| *party != Party::Cluster)
            && is_wanted(&entry.who);
        if !is_offered {
            continue;
        }
        for port in &entry.ports {
            let name = match entry.ports.len() {
                1 => entry.name.clone(),
                _ => suffixed(&entry.name, &format!("-{port}")),
            };
            services.push(PlannedService {
                name,
                port: *port,
                kind: match entry.probe {
                    PortProbe::Http | PortProbe::Health => ServiceKind::Http,
                    _ => ServiceKind::Tcp,
                },
            });
        }
    }
    services
}

fn add_machines(
    draft: &mut Draft,
    new: &NewAgency,
    stage: Stage,
    site: SiteId,
    servers: &[Label],
    machines: &mut Vec<PlannedMachine>,
) -> Result<(), Rejection> {
    let spec = draft.state.profile_spec(Profile::SecurityServer);
    let services = planned_services(&spec, new.xroad, |_| true);
    let balancers = match stage {
        Stage::Production => numbered(&balancer_base(), new.balancers),
        Stage::Development => Vec::new(),
    };
    let servers = servers.iter().map(|name| (name, Profile::SecurityServer));
    let balancers = balancers.iter().map(|name| (name, Profile::Balancer));
    for (name, profile) in servers.chain(balancers) {
        let plan = NodePlan {
            name: name.clone(),
            tags: [stage.tag()].into(),
            services: match profile {
                Profile::SecurityServer => services.clone(),
                _ => Vec::new(),
            },
        };
        let number = machines.len();
        let secret = secret(draft, number);
        let token = tokens::create_with_plan(draft, site, profile, new.token_ttl_s, &secret, plan)?;
        machines.push(PlannedMachine {
            token,
            secret,
            path: format!("{}/{}/{name}", new.name, stage.name()),
            profile,
        });
    }
    Ok(())
}

/// One command has one handful of random bytes; each of its tokens takes a hash of them.
fn secret(draft: &Draft, number: usize) -> Secret32 {
    let mut seed = b"malha agency token ".to_vec();
    seed.extend(number.to_be_bytes());
    seed.extend(draft.context.random);
    Secret32(Fingerprint::of(&seed).0)
}

fn numbered(base: &Label, count: u8) -> Vec<Label> {
    let name = |number: u8| suffixed(base, &number.to_string());
    (1..=count).map(name).collect()
}

fn balancer_base() -> Label {
    BALANCER_NAME
        .parse()
        .unwrap_or_else(|error| unreachable!("{BALANCER_NAME}: {error}"))
}

/// Both were checked to be short enough.
fn suffixed(base: &Label, suffix: &str) -> Label {
    let text = format!("{base}{suffix}");
    text.parse()
        .unwrap_or_else(|error| unreachable!("{text:?} is no label: {error}"))
}

/// `balanceador1`: the nodes that balance.
const BALANCER_NAME: &str = "balanceador";
