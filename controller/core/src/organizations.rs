//! Organizations: created with a unique name, removed when nothing is left in them.

use malha_proto::{Label, OrganizationId};

use crate::apply::{check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::MAX_ORGANIZATIONS;
use crate::model::{Organization, Selector};
use crate::noun::{Noun, Plenty, User};
use crate::policy;
use crate::text::check_display_name;
use crate::{declaration, grants};

pub(crate) fn create(
    draft: &mut Draft,
    name: &Label,
    display_name: &str,
) -> Result<Answer, Rejection> {
    check_display_name(display_name)?;
    if draft.state.index.organization_by_name.contains_key(name) {
        return Err(Rejection::Exists {
            what: Noun::Organization,
            name: name.to_string(),
        });
    }
    check_limit(
        Plenty::Organizations,
        draft.state.organizations.len(),
        MAX_ORGANIZATIONS,
    )?;
    let id = OrganizationId(draft.next_id());
    let created_ms = draft.now_ms();
    draft.put(Organization {
        id,
        name: name.clone(),
        display_name: display_name.to_owned(),
        created_ms,
        second_approver: false,
    });
    Ok(Answer::Organization(id))
}

pub(crate) fn remove(draft: &mut Draft, id: OrganizationId) -> Result<Answer, Rejection> {
    let organization = found(draft.state.organization(id), Noun::Organization, id)?;
    if let Some(site) = draft.state.sites_of(id).next() {
        return Err(Rejection::InUse {
            what: Noun::Organization,
            name: organization.name.to_string(),
            by: User::Thing(Noun::Site, site.name.to_string()),
        });
    }
    grants::remove_naming(draft, Selector::Organization(id));
    policy::remove_of(draft, id);
    declaration::remove_of(draft, id);
    draft.delete(EntityKey::Organization(id));
    Ok(Answer::Done)
}
