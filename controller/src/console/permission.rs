//! Which role may ask for which write. It is asked before anything else of a write is looked at.

use malha_web::model::{RefusalKind, Refused};
use malha_web::{Role, Viewer};

use crate::console::text;

/// What a write needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// To bring machines in: tokens and replacements.
    Enrol,
    /// To change the network in every other way.
    Change,
}

/// Refuses a viewer whose role does not allow this.
pub(super) fn permit(viewer: &Viewer, permission: Permission) -> Result<(), Refused> {
    let allowed = match viewer.role {
        Role::Owner | Role::Operator => true,
        Role::SiteTechnician => permission == Permission::Enrol,
        Role::Auditor => false,
    };
    if allowed {
        return Ok(());
    }
    Err(Refused {
        field: None,
        text: text::not_allowed(viewer.role),
        kind: RefusalKind::Forbidden,
    })
}

/// A stored role as the dashboard knows it.
pub(super) fn role(role: malha_core::Role) -> Role {
    match role {
        malha_core::Role::Owner => Role::Owner,
        malha_core::Role::Operator => Role::Operator,
        malha_core::Role::Technician => Role::SiteTechnician,
        malha_core::Role::Auditor => Role::Auditor,
    }
}
