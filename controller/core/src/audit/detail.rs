//! The details of a line in the audit log, a function per group of commands. Of secrets it takes nothing, of long texts their hash.

use std::collections::BTreeMap;

use malha_proto::Fingerprint;

use crate::command::Command;

/// What there is to say of a command beside its name and its target; of many nothing.
pub(super) fn of(command: &Command) -> BTreeMap<String, String> {
    let groups = [
        of_places,
        of_nodes,
        of_ports,
        of_names,
        of_people,
        of_policy,
        of_balancers,
        of_agencies,
    ];
    let said = groups.into_iter().find_map(|of| of(command));
    let cut = |value: String| value.chars().take(MAX_DETAIL_CHARS).collect();
    let pairs = said.unwrap_or_default().into_iter();
    pairs
        .map(|(key, value)| (key.to_owned(), cut(value)))
        .collect()
}

type Details = Vec<(&'static str, String)>;

/// Controller, organizations and sites.
fn of_places(command: &Command) -> Option<Details> {
    Some(match command {
        Command::SetControllers { controllers } => vec![("controllers", controllers.join(" "))],
        Command::SetEdgeAddresses { addresses } => vec![("addresses", joined(addresses))],
        Command::CreateOrganization { name, .. } => vec![("name", name.to_string())],
        Command::CreateSite {
            organization, name, ..
        } => vec![
            ("organization", organization.to_string()),
            ("name", name.to_string()),
        ],
        Command::SetSiteRelease { xroad, .. } => vec![("xroad", text(*xroad))],
        _ => return None,
    })
}

/// Tokens and the nodes that come by them.
fn of_nodes(command: &Command) -> Option<Details> {
    Some(match command {
        Command::CreateToken {
            site,
            profile,
            uses,
            ttl_s,
        } => vec![
            ("site", site.to_string()),
            ("profile", format!("{profile:?}")),
            ("uses", uses.to_string()),
            ("ttl_s", ttl_s.to_string()),
        ],
        Command::Enrol { token, facts, .. } => vec![
            ("token", token.to_string()),
            ("machine", facts.machine.to_string()),
        ],
        Command::AdoptHub { endpoints, .. } | Command::SetNodeEndpoints { endpoints, .. } => {
            vec![("endpoints", joined(endpoints))]
        }
        Command::RenameNode { name, .. } => vec![("name", name.to_string())],
        Command::SetNodeTags { tags, .. } => vec![("tags", joined(tags))],
        Command::OpenSession { facts, source, .. } => vec![
            ("machine", facts.machine.to_string()),
            ("source", text(*source)),
        ],
        Command::ResolveQuarantine { keep, .. } => vec![("keep", keep.to_string())],
        _ => return None,
    })
}

/// Services, routes and grants.
fn of_ports(command: &Command) -> Option<Details> {
    Some(match command {
        Command::AddService {
            node,
            name,
            port,
            target,
            exposure,
            ..
        } => vec![
            ("node", node.to_string()),
            ("name", name.to_string()),
            ("port", port.to_string()),
            ("target", target.to_string()),
            ("exposure", format!("{exposure:?}")),
        ],
        Command::AddRoute {
            host,
            path,
            services,
        } => vec![
            ("host", host.to_string()),
            ("path", path.clone()),
            ("services", joined(services)),
        ],
        Command::AddGrant { from, to, allow } => vec![
            ("from", format!("{from:?}")),
            ("to", format!("{to:?}")),
            ("allow", format!("{allow:?}")),
        ],
        _ => return None,
    })
}

/// Record sets.
fn of_names(command: &Command) -> Option<Details> {
    Some(match command {
        Command::PutRecordSet { set, .. } => vec![
            ("name", set.name().to_string()),
            ("type", set.rtype().to_string()),
            ("data", joined(set.data())),
        ],
        Command::DeleteRecordSet { name, rtype, .. } => {
            vec![("name", name.to_string()), ("type", rtype.to_string())]
        }
        _ => return None,
    })
}

/// Operators and API keys.
fn of_people(command: &Command) -> Option<Details> {
    Some(match command {
        Command::AddOperator { name, role, .. } => {
            vec![("name", name.to_string()), ("role", format!("{role:?}"))]
        }
        Command::AddApiKey {
            name,
            scopes,
            operator,
            ..
        } => vec![
            ("name", name.to_string()),
            ("scopes", format!("{scopes:?}")),
            ("operator", text(*operator)),
        ],
        _ => return None,
    })
}

/// The policy and who approves it.
fn of_policy(command: &Command) -> Option<Details> {
    Some(match command {
        Command::ApplyPolicy {
            text: policy,
            difference,
            confirm_within_ms,
            emergency,
            ..
        } => vec![
            ("text_sha256", hash(policy)),
            ("difference", difference.to_string()),
            ("confirm_within_ms", text(*confirm_within_ms)),
            ("emergency", text(emergency.as_ref())),
        ],
        Command::RollbackPolicy {
            version, emergency, ..
        } => vec![
            ("to", version.to_string()),
            ("emergency", text(emergency.as_ref())),
        ],
        Command::SetSecondApprover {
            organization, on, ..
        } => vec![
            ("organization", organization.to_string()),
            ("second_approver", on.to_string()),
        ],
        Command::ApprovePolicy { difference, .. } => vec![("difference", difference.to_string())],
        _ => return None,
    })
}

fn of_balancers(command: &Command) -> Option<Details> {
    Some(match command {
        Command::AddBalancer {
            node,
            name,
            port,
            exposure,
            backends,
            ..
        } => vec![
            ("node", node.to_string()),
            ("name", name.to_string()),
            ("port", port.to_string()),
            ("exposure", format!("{exposure:?}")),
            ("backends", joined(backends)),
        ],
        Command::SetBalancer {
            backends, settings, ..
        } => vec![
            ("backends", joined(backends)),
            ("settings", format!("{settings:?}")),
        ],
        Command::SetBackendMode { service, mode, .. } => vec![
            ("service", service.to_string()),
            ("mode", format!("{mode:?}")),
        ],
        _ => return None,
    })
}

/// Agencies, profiles and declarations.
fn of_agencies(command: &Command) -> Option<Details> {
    Some(match command {
        Command::AddAgency(new) => vec![
            ("name", new.name.to_string()),
            ("production", new.production.to_string()),
            ("development", new.development.to_string()),
            ("balancers", new.balancers.to_string()),
            ("zone", text(new.zone.as_ref())),
            ("public_addresses", joined(&new.public_addresses)),
            ("development_addresses", joined(&new.development_addresses)),
        ],
        Command::SetProfile { text } | Command::Declare { text, .. } => {
            vec![("text_sha256", hash(text))]
        }
        _ => return None,
    })
}

fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(" ")
}

/// Empty for what was not given.
fn text<T: ToString>(it: Option<T>) -> String {
    it.map(|it| it.to_string()).unwrap_or_default()
}

fn hash(text: &str) -> String {
    Fingerprint::of(text.as_bytes()).to_string()
}

/// How much of one detail a line keeps.
const MAX_DETAIL_CHARS: usize = 500;
