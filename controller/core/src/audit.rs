//! What the audit log says of a command: a name, its target and details, never a secret.

use std::collections::BTreeMap;

use malha_proto::Fingerprint;

use crate::command::{Answer, Command};
use crate::policy::profile_name;
use crate::profile;

/// The line of the audit log for a command that went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditAction {
    /// Noun and verb, like `node.remove`.
    pub name: &'static str,
    /// What it was done to, by id or name.
    pub target: String,
    pub detail: BTreeMap<String, String>,
}

impl Command {
    /// None for the traffic of healthy sessions and for housekeeping.
    #[must_use]
    pub fn audit_action(&self, answer: &Answer) -> Option<AuditAction> {
        if matches!(answer, Answer::AlreadyCreated { .. }) {
            return None;
        }
        let (name, target) = self.name_and_target(answer)?;
        let mut detail = self.detail();
        if let (Self::ApprovePolicy { .. }, Answer::Policy { version }) = (self, answer) {
            detail.insert("version".to_owned(), version.to_string());
        }
        Some(AuditAction {
            name,
            target,
            detail,
        })
    }

    fn name_and_target(&self, answer: &Answer) -> Option<(&'static str, String)> {
        let created = || answer.created(self).unwrap_or_default();
        Some(match self {
            Self::SetControllers { .. } => ("controller.addresses", "controller".to_owned()),
            Self::SetEdgeAddresses { .. } => ("edge.addresses", "edge".to_owned()),
            Self::CreateOrganization { .. } => ("organization.create", created()),
            Self::RemoveOrganization { id } => ("organization.remove", id.to_string()),
            Self::CreateSite { .. } => ("site.create", created()),
            Self::RemoveSite { id } => ("site.remove", id.to_string()),
            Self::AdoptHub { .. } => ("hub.adopt", created()),
            Self::CreateToken { .. } => ("token.create", created()),
            Self::RevokeToken { id } => ("token.revoke", id.to_string()),
            Self::ReplaceNode { id, .. } => ("node.replace", id.to_string()),
            Self::Enrol { .. } => ("node.enrol", created()),
            Self::RenameNode { id, .. } => ("node.rename", id.to_string()),
            Self::RemoveNode { id } => ("node.remove", id.to_string()),
            Self::SetNodeEndpoints { id, .. } => ("node.endpoints", id.to_string()),
            Self::OpenSession { node, .. } => match answer {
                Answer::Cloned { .. } => ("node.quarantine", node.to_string()),
                _ => return None,
            },
            Self::ConfirmLease { .. } => return None,
            Self::Sweep => match answer {
                Answer::Policy { version } => ("policy.return", version.to_string()),
                Answer::ProposalExpired { proposal } => ("policy.expire", proposal.to_string()),
                _ => return None,
            },
            Self::SetNodeTags { id, .. } => ("node.tags", id.to_string()),
            Self::ApplyPolicy { .. }
            | Self::RollbackPolicy { .. }
            | Self::SetSecondApprover { .. }
                if matches!(answer, Answer::Proposed { .. }) =>
            {
                ("policy.propose", created())
            }
            Self::ApplyPolicy {
                emergency: Some(_), ..
            }
            | Self::RollbackPolicy {
                emergency: Some(_), ..
            } => ("policy.emergency", created()),
            Self::ApplyPolicy { .. } => ("policy.apply", created()),
            Self::ConfirmPolicy { .. } => ("policy.confirm", created()),
            Self::RollbackPolicy { .. } => ("policy.rollback", created()),
            Self::SetSecondApprover { organization, .. } => {
                ("organization.second-approver", organization.to_string())
            }
            Self::ApprovePolicy { proposal, .. } => ("policy.approve", proposal.to_string()),
            Self::RejectPolicy { proposal } => ("policy.reject", proposal.to_string()),
            Self::RenewNode { node, .. } => ("node.renew", node.to_string()),
            Self::ResolveQuarantine { node, .. } => ("node.resolve", node.to_string()),
            Self::AddService { .. } => ("service.add", created()),
            Self::RemoveService { id } => ("service.remove", id.to_string()),
            Self::AddRoute { .. } => ("route.add", created()),
            Self::RemoveRoute { id } => ("route.remove", id.to_string()),
            Self::AddGrant { .. } => ("grant.add", created()),
            Self::RemoveGrant { id } => ("grant.remove", id.to_string()),
            Self::AddZone { origin, .. } => ("zone.add", origin.to_string()),
            Self::RemoveZone { origin } => ("zone.remove", origin.to_string()),
            Self::PutRecordSet { zone, .. } => ("record.put", zone.to_string()),
            Self::DeleteRecordSet { zone, .. } => ("record.delete", zone.to_string()),
            Self::AddOperator { .. } => ("operator.add", created()),
            Self::SetPassword { id, .. } => ("operator.password", id.to_string()),
            Self::RemoveOperator { id } => ("operator.remove", id.to_string()),
            Self::AddApiKey { .. } => ("api-key.add", created()),
            Self::RemoveApiKey { id } => ("api-key.remove", id.to_string()),
            Self::AddBalancer { .. } => ("balancer.add", created()),
            Self::SetBalancer { id, .. } => ("balancer.set", id.to_string()),
            Self::SetBackendMode { id, .. } => ("balancer.mode", id.to_string()),
            Self::RemoveBalancer { id } => ("balancer.remove", id.to_string()),
            Self::AddAgency(_) => ("agency.add", created()),
            Self::SetProfile { text } => ("profile.set", profile::named_in(text)),
            Self::ResetProfile { profile } => ("profile.reset", profile_name(*profile)),
            Self::SetSiteRelease { id, .. } => ("site.release", id.to_string()),
            Self::Declare { organization, .. } => ("declaration.put", organization.to_string()),
            Self::WithdrawDeclaration { organization } => {
                ("declaration.remove", organization.to_string())
            }
        })
    }

    fn detail(&self) -> BTreeMap<String, String> {
        let pairs: Vec<(&str, String)> = match self {
            Self::SetControllers { controllers } => vec![("controllers", controllers.join(" "))],
            Self::SetEdgeAddresses { addresses } => vec![("addresses", joined(addresses))],
            Self::CreateOrganization { name, .. } | Self::RenameNode { name, .. } => {
                vec![("name", name.to_string())]
            }
            Self::CreateSite {
                organization, name, ..
            } => {
                vec![
                    ("organization", organization.to_string()),
                    ("name", name.to_string()),
                ]
            }
            Self::CreateToken {
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
            Self::Enrol { token, facts, .. } => vec![
                ("token", token.to_string()),
                ("machine", facts.machine.to_string()),
            ],
            Self::AdoptHub { endpoints, .. } | Self::SetNodeEndpoints { endpoints, .. } => {
                vec![("endpoints", joined(endpoints))]
            }
            Self::OpenSession { facts, source, .. } => vec![
                ("machine", facts.machine.to_string()),
                (
                    "source",
                    source.map(|source| source.to_string()).unwrap_or_default(),
                ),
            ],
            Self::ResolveQuarantine { keep, .. } => vec![("keep", keep.to_string())],
            Self::AddService {
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
            Self::AddRoute {
                host,
                path,
                services,
            } => {
                vec![
                    ("host", host.to_string()),
                    ("path", path.clone()),
                    ("services", joined(services)),
                ]
            }
            Self::AddGrant { from, to, allow } => {
                vec![
                    ("from", format!("{from:?}")),
                    ("to", format!("{to:?}")),
                    ("allow", format!("{allow:?}")),
                ]
            }
            Self::PutRecordSet { set, .. } => {
                vec![
                    ("name", set.name().to_string()),
                    ("type", set.rtype().to_string()),
                    ("data", joined(set.data())),
                ]
            }
            Self::DeleteRecordSet { name, rtype, .. } => {
                vec![("name", name.to_string()), ("type", rtype.to_string())]
            }
            Self::AddOperator { name, role, .. } => {
                vec![("name", name.to_string()), ("role", format!("{role:?}"))]
            }
            Self::AddApiKey {
                name,
                scopes,
                operator,
                ..
            } => vec![
                ("name", name.to_string()),
                ("scopes", format!("{scopes:?}")),
                (
                    "operator",
                    operator.map(|id| id.to_string()).unwrap_or_default(),
                ),
            ],
            Self::SetNodeTags { tags, .. } => vec![("tags", joined(tags))],
            Self::ApplyPolicy {
                text,
                difference,
                confirm_within_ms,
                emergency,
                ..
            } => vec![
                ("text_sha256", Fingerprint::of(text.as_bytes()).to_string()),
                ("difference", difference.to_string()),
                (
                    "confirm_within_ms",
                    confirm_within_ms
                        .map(|ms| ms.to_string())
                        .unwrap_or_default(),
                ),
                ("emergency", emergency.clone().unwrap_or_default()),
            ],
            Self::RollbackPolicy {
                version, emergency, ..
            } => vec![
                ("to", version.to_string()),
                ("emergency", emergency.clone().unwrap_or_default()),
            ],
            Self::SetSecondApprover {
                organization, on, ..
            } => vec![
                ("organization", organization.to_string()),
                ("second_approver", on.to_string()),
            ],
            Self::ApprovePolicy { difference, .. } => {
                vec![("difference", difference.to_string())]
            }
            Self::AddBalancer {
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
            Self::SetBalancer {
                backends, settings, ..
            } => vec![
                ("backends", joined(backends)),
                ("settings", format!("{settings:?}")),
            ],
            Self::AddAgency(new) => vec![
                ("name", new.name.to_string()),
                ("production", new.production.to_string()),
                ("development", new.development.to_string()),
                ("balancers", new.balancers.to_string()),
                (
                    "zone",
                    new.zone
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                ),
                ("public_addresses", joined(&new.public_addresses)),
                ("development_addresses", joined(&new.development_addresses)),
            ],
            Self::SetProfile { text } => {
                vec![("text_sha256", Fingerprint::of(text.as_bytes()).to_string())]
            }
            Self::SetSiteRelease { xroad, .. } => {
                let xroad = xroad.map(|release| release.to_string());
                vec![("xroad", xroad.unwrap_or_default())]
            }
            Self::SetBackendMode { service, mode, .. } => vec![
                ("service", service.to_string()),
                ("mode", format!("{mode:?}")),
            ],
            Self::Declare { text, .. } => {
                vec![("text_sha256", Fingerprint::of(text.as_bytes()).to_string())]
            }
            _ => Vec::new(),
        };
        pairs
            .into_iter()
            .map(|(key, value)| {
                (
                    key.to_owned(),
                    value.chars().take(MAX_DETAIL_CHARS).collect(),
                )
            })
            .collect()
    }
}

fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items
        .into_iter()
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

/// How much of one detail a line keeps.
const MAX_DETAIL_CHARS: usize = 500;
