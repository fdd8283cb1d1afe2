//! What the audit log says of a command: a name, its target and details, never a secret.

use std::collections::BTreeMap;

use malha_proto::Fingerprint;

use crate::command::{Answer, Command};
use crate::policy::profile_name;
use crate::profile;

/// The line of the audit log for a command that went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditAction {
    pub name: AuditName,
    /// What it was done to, by id or name.
    pub target: String,
    pub detail: BTreeMap<String, String>,
}

macro_rules! audit_names {
    ($($name:ident $text:literal)*) => {
        /// What was done, as the audit log names it. Nothing else is written there, so whoever reads it can have words for all of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AuditName {
            $($name,)*
        }

        impl AuditName {
            /// Noun and verb, like `node.remove`; the same between releases.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// None for what an older or a newer program wrote.
            #[must_use]
            pub fn named(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

// Commands of the state first, then what the process notes beside them.
audit_names! {
    ControllerAddresses "controller.addresses"
    EdgeAddresses "edge.addresses"
    OrganizationCreate "organization.create"
    OrganizationRemove "organization.remove"
    SiteCreate "site.create"
    SiteRemove "site.remove"
    HubAdopt "hub.adopt"
    TokenCreate "token.create"
    TokenRevoke "token.revoke"
    NodeReplace "node.replace"
    NodeEnrol "node.enrol"
    NodeRename "node.rename"
    NodeRemove "node.remove"
    NodeEndpoints "node.endpoints"
    NodeQuarantine "node.quarantine"
    PolicyReturn "policy.return"
    PolicyExpire "policy.expire"
    NodeTags "node.tags"
    PolicyPropose "policy.propose"
    PolicyEmergency "policy.emergency"
    PolicyApply "policy.apply"
    PolicyConfirm "policy.confirm"
    PolicyRollback "policy.rollback"
    OrganizationSecondApprover "organization.second-approver"
    PolicyApprove "policy.approve"
    PolicyReject "policy.reject"
    NodeRenew "node.renew"
    NodeResolve "node.resolve"
    ServiceAdd "service.add"
    ServiceRemove "service.remove"
    RouteAdd "route.add"
    RouteRemove "route.remove"
    GrantAdd "grant.add"
    GrantRemove "grant.remove"
    ZoneAdd "zone.add"
    ZoneRemove "zone.remove"
    RecordPut "record.put"
    RecordDelete "record.delete"
    OperatorAdd "operator.add"
    OperatorPassword "operator.password"
    OperatorRemove "operator.remove"
    ApiKeyAdd "api-key.add"
    ApiKeyRemove "api-key.remove"
    BalancerAdd "balancer.add"
    BalancerSet "balancer.set"
    BalancerMode "balancer.mode"
    BalancerRemove "balancer.remove"
    AgencyAdd "agency.add"
    ProfileSet "profile.set"
    ProfileReset "profile.reset"
    SiteRelease "site.release"
    DeclarationPut "declaration.put"
    DeclarationRemove "declaration.remove"
    OperatorLogin "operator.login"
    OperatorLogout "operator.logout"
    CheckStart "check.start"
    CheckKeep "check.keep"
    PskRotate "psk.rotate"
    AuditRecover "audit.recover"
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

    fn name_and_target(&self, answer: &Answer) -> Option<(AuditName, String)> {
        let created = || answer.created(self).unwrap_or_default();
        Some(match self {
            Self::SetControllers { .. } => {
                (AuditName::ControllerAddresses, "controller".to_owned())
            }
            Self::SetEdgeAddresses { .. } => (AuditName::EdgeAddresses, "edge".to_owned()),
            Self::CreateOrganization { .. } => (AuditName::OrganizationCreate, created()),
            Self::RemoveOrganization { id } => (AuditName::OrganizationRemove, id.to_string()),
            Self::CreateSite { .. } => (AuditName::SiteCreate, created()),
            Self::RemoveSite { id } => (AuditName::SiteRemove, id.to_string()),
            Self::AdoptHub { .. } => (AuditName::HubAdopt, created()),
            Self::CreateToken { .. } => (AuditName::TokenCreate, created()),
            Self::RevokeToken { id } => (AuditName::TokenRevoke, id.to_string()),
            Self::ReplaceNode { id, .. } => (AuditName::NodeReplace, id.to_string()),
            Self::Enrol { .. } => (AuditName::NodeEnrol, created()),
            Self::RenameNode { id, .. } => (AuditName::NodeRename, id.to_string()),
            Self::RemoveNode { id } => (AuditName::NodeRemove, id.to_string()),
            Self::SetNodeEndpoints { id, .. } => (AuditName::NodeEndpoints, id.to_string()),
            Self::OpenSession { node, .. } => match answer {
                Answer::Cloned { .. } => (AuditName::NodeQuarantine, node.to_string()),
                _ => return None,
            },
            Self::ConfirmLease { .. } => return None,
            Self::Sweep => match answer {
                Answer::Policy { version } => (AuditName::PolicyReturn, version.to_string()),
                Answer::ProposalExpired { proposal } => {
                    (AuditName::PolicyExpire, proposal.to_string())
                }
                _ => return None,
            },
            Self::SetNodeTags { id, .. } => (AuditName::NodeTags, id.to_string()),
            Self::ApplyPolicy { .. }
            | Self::RollbackPolicy { .. }
            | Self::SetSecondApprover { .. }
                if matches!(answer, Answer::Proposed { .. }) =>
            {
                (AuditName::PolicyPropose, created())
            }
            Self::ApplyPolicy {
                emergency: Some(_), ..
            }
            | Self::RollbackPolicy {
                emergency: Some(_), ..
            } => (AuditName::PolicyEmergency, created()),
            Self::ApplyPolicy { .. } => (AuditName::PolicyApply, created()),
            Self::ConfirmPolicy { .. } => (AuditName::PolicyConfirm, created()),
            Self::RollbackPolicy { .. } => (AuditName::PolicyRollback, created()),
            Self::SetSecondApprover { organization, .. } => (
                AuditName::OrganizationSecondApprover,
                organization.to_string(),
            ),
            Self::ApprovePolicy { proposal, .. } => {
                (AuditName::PolicyApprove, proposal.to_string())
            }
            Self::RejectPolicy { proposal } => (AuditName::PolicyReject, proposal.to_string()),
            Self::RenewNode { node, .. } => (AuditName::NodeRenew, node.to_string()),
            Self::ResolveQuarantine { node, .. } => (AuditName::NodeResolve, node.to_string()),
            Self::AddService { .. } => (AuditName::ServiceAdd, created()),
            Self::RemoveService { id } => (AuditName::ServiceRemove, id.to_string()),
            Self::AddRoute { .. } => (AuditName::RouteAdd, created()),
            Self::RemoveRoute { id } => (AuditName::RouteRemove, id.to_string()),
            Self::AddGrant { .. } => (AuditName::GrantAdd, created()),
            Self::RemoveGrant { id } => (AuditName::GrantRemove, id.to_string()),
            Self::AddZone { origin, .. } => (AuditName::ZoneAdd, origin.to_string()),
            Self::RemoveZone { origin } => (AuditName::ZoneRemove, origin.to_string()),
            Self::PutRecordSet { zone, .. } => (AuditName::RecordPut, zone.to_string()),
            Self::DeleteRecordSet { zone, .. } => (AuditName::RecordDelete, zone.to_string()),
            Self::AddOperator { .. } => (AuditName::OperatorAdd, created()),
            Self::SetPassword { id, .. } => (AuditName::OperatorPassword, id.to_string()),
            Self::RemoveOperator { id } => (AuditName::OperatorRemove, id.to_string()),
            Self::AddApiKey { .. } => (AuditName::ApiKeyAdd, created()),
            Self::RemoveApiKey { id } => (AuditName::ApiKeyRemove, id.to_string()),
            Self::AddBalancer { .. } => (AuditName::BalancerAdd, created()),
            Self::SetBalancer { id, .. } => (AuditName::BalancerSet, id.to_string()),
            Self::SetBackendMode { id, .. } => (AuditName::BalancerMode, id.to_string()),
            Self::RemoveBalancer { id } => (AuditName::BalancerRemove, id.to_string()),
            Self::AddAgency(_) => (AuditName::AgencyAdd, created()),
            Self::SetProfile { text } => (AuditName::ProfileSet, profile::named_in(text)),
            Self::ResetProfile { profile } => (AuditName::ProfileReset, profile_name(*profile)),
            Self::SetSiteRelease { id, .. } => (AuditName::SiteRelease, id.to_string()),
            Self::Declare { organization, .. } => {
                (AuditName::DeclarationPut, organization.to_string())
            }
            Self::WithdrawDeclaration { organization } => {
                (AuditName::DeclarationRemove, organization.to_string())
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
