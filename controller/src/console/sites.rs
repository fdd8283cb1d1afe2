//! Organizations and sites: listed with what is in them, and created.

use malha_core::{Command, Noun, State};
use malha_proto::Label;
use malha_web::Viewer;
use malha_web::model::{
    Listing, NewOrganization, NewSite, OrganizationRow, Outcome, ROWS_MAX, Refused, SiteRow,
};

use crate::console::ControllerConsole;
use crate::console::convergence::count;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, missing, wrong};
use crate::paths;
use crate::refusals;

/// Organizations by name.
pub(super) fn organizations(state: &State) -> Listing<OrganizationRow> {
    let mut organizations: Vec<_> = state.organizations().collect();
    organizations.sort_by(|a, b| a.name.cmp(&b.name));
    let total = organizations.len();
    let row = |organization: &malha_core::Organization| {
        let sites: Vec<_> = state.sites_of(organization.id).collect();
        OrganizationRow {
            name: organization.name.as_str().into(),
            sites: count(sites.len()),
            nodes: count(
                sites
                    .iter()
                    .map(|site| state.nodes_of(site.id).count())
                    .sum(),
            ),
        }
    };
    Listing {
        rows: organizations.into_iter().take(ROWS_MAX).map(row).collect(),
        total,
    }
}

/// Sites by organization and name.
pub(super) fn sites(console: &ControllerConsole) -> Listing<SiteRow> {
    listed(console, |_| true)
}

/// Those of some organizations, by name.
pub(super) fn listed(
    console: &ControllerConsole,
    wanted: impl Fn(&str) -> bool,
) -> Listing<SiteRow> {
    let census = console.census();
    let state = &census.state;
    let mut sites: Vec<_> = state
        .sites()
        .map(|site| (paths::names_of_site(state, site.id), site.id))
        .filter(|((organization, _), _)| wanted(organization))
        .collect();
    sites.sort();
    let total = sites.len();
    let row = |((organization, name), id): ((String, String), _)| {
        let standings = state
            .nodes_of(id)
            .filter_map(|node| census.standing(node.id));
        let (mut nodes, mut online) = (0, 0);
        for standing in standings {
            nodes += 1;
            online += usize::from(standing.is_online());
        }
        SiteRow {
            organization: organization.into(),
            name: name.into(),
            nodes: count(nodes),
            online: count(online),
        }
    };
    Listing {
        rows: sites.into_iter().take(ROWS_MAX).map(row).collect(),
        total,
    }
}

pub(super) async fn create_organization(
    console: &ControllerConsole,
    viewer: &Viewer,
    new: NewOrganization,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let name = label("name", &new.name)?;
    let command = Command::CreateOrganization {
        name,
        display_name: String::new(),
    };
    console.write(viewer, Form::ORGANIZATION, command).await
}

pub(super) async fn create_site(
    console: &ControllerConsole,
    viewer: &Viewer,
    new: NewSite,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let state = console.state();
    let organization = state
        .organization_by_name(&new.organization)
        .ok_or_else(|| missing(Some("organization"), Noun::Organization, &new.organization))?;
    let name = label("name", &new.name)?;
    let command = Command::CreateSite {
        organization: organization.id,
        name,
        display_name: String::new(),
    };
    console.write(viewer, Form::SITE, command).await
}

/// A name as it was typed.
pub(super) fn label(field: &str, text: &str) -> Result<Label, Refused> {
    text.parse()
        .map_err(|error| wrong(field, refusals::name(&error)))
}
