//! Sites: created in an organization, removed when no node is left in them. Their tokens go with them.

use malha_proto::{Label, OrganizationId, SiteId, TokenId};

use crate::apply::{check_limit, found};
use crate::change::EntityKey;
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::grants;
use crate::limits::MAX_SITES;
use crate::model::{Selector, Site};
use crate::noun::{Noun, Plenty, User};
use crate::profile::Release;
use crate::state::seconds;
use crate::text::check_display_name;

pub(crate) fn create(
    draft: &mut Draft,
    organization: OrganizationId,
    name: &Label,
    display_name: &str,
) -> Result<Answer, Rejection> {
    check_display_name(display_name)?;
    found(
        draft.state.organization(organization),
        Noun::Organization,
        organization,
    )?;
    if draft
        .state
        .index
        .site_by_name
        .contains_key(&(organization, name.clone()))
    {
        return Err(Rejection::Exists {
            what: Noun::Site,
            name: name.to_string(),
        });
    }
    check_limit(Plenty::Sites, draft.state.sites.len(), MAX_SITES)?;
    let id = SiteId(draft.next_id());
    let created_ms = draft.now_ms();
    draft.put(Site {
        id,
        organization,
        name: name.clone(),
        display_name: display_name.to_owned(),
        created_ms,
        xroad: None,
        balanced: Vec::new(),
    });
    Ok(Answer::Site(id))
}

/// Which ports the profiles of its nodes have follows from it.
pub(crate) fn set_release(
    draft: &mut Draft,
    id: SiteId,
    xroad: Option<Release>,
) -> Result<Answer, Rejection> {
    let site = found(draft.state.site(id), Noun::Site, id)?.clone();
    draft.put(Site { xroad, ..site });
    Ok(Answer::Done)
}

pub(crate) fn remove(draft: &mut Draft, id: SiteId) -> Result<Answer, Rejection> {
    let site = found(draft.state.site(id), Noun::Site, id)?;
    if let Some(node) = draft.state.nodes_of(id).next() {
        return Err(Rejection::InUse {
            what: Noun::Site,
            name: site.name.to_string(),
            by: User::Thing(Noun::Node, node.name.to_string()),
        });
    }
    let tokens: Vec<TokenId> = seconds(&draft.state.index.tokens_of_site, id, TokenId(0)).collect();
    for token in tokens {
        draft.delete(EntityKey::Token(token));
    }
    grants::remove_naming(draft, Selector::Site(id));
    draft.delete(EntityKey::Site(id));
    Ok(Answer::Done)
}
