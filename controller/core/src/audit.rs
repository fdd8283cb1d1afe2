//! What the audit log says of a command: a name, its target and details, never a secret.

mod detail;

use std::collections::BTreeMap;

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
    NodeTurnedAway "node.turned-away"
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
        let mut detail = detail::of(self);
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
            Self::RemoveNode { id, .. } => (AuditName::NodeRemove, id.to_string()),
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
            | Self::ConfirmPolicy { .. }
            | Self::RollbackPolicy { .. }
            | Self::SetSecondApprover { .. }
            | Self::ApprovePolicy { .. }
            | Self::RejectPolicy { .. } => return self.of_policy(answer),
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

    /// The same of the policy: what waits for another operator is a proposal, whatever was asked for.
    fn of_policy(&self, answer: &Answer) -> Option<(AuditName, String)> {
        let created = || answer.created(self).unwrap_or_default();
        Some(match self {
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
            _ => return None,
        })
    }
}
