//! One organization on the dashboard: its sites, the switch of its second approver, and the ports that it declares beside
//! those of the profile.

use async_trait::async_trait;
use malha_core::policy::ProposedChange;
use malha_core::profile::{port_differences, port_entries};
use malha_core::{Command, Noun, Organization, Role, State};
use malha_proto::Profile;
use malha_web::model::{
    DeclaredPorts, Listing, OrganizationDetail, PolicyWritten, Refused, SecondApprover, SiteRow,
    Unreadable,
};
use malha_web::{OrganizationConsole, Viewer};

use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, missing};
use crate::console::{ControllerConsole, moment, policy, profiles, sites};

#[async_trait]
impl OrganizationConsole for ControllerConsole {
    async fn organization(&self, _: &Viewer, name: &str) -> Result<OrganizationDetail, Unreadable> {
        let state = self.state();
        let it = state
            .organization_by_name(name)
            .ok_or(Unreadable::NotFound)?;
        Ok(OrganizationDetail {
            name: it.name.to_string(),
            display_name: it.display_name.as_str().into(),
            sites: own_sites(self, it),
            approver: approver(&state, it),
            declared: declared(&state, it),
        })
    }

    async fn set_second_approver(
        &self,
        viewer: &Viewer,
        name: &str,
        on: bool,
    ) -> Result<PolicyWritten, Refused> {
        permit(viewer, Permission::Change)?;
        let state = self.state();
        let it = state.organization_by_name(name);
        let it = it.ok_or_else(|| missing(None, Noun::Organization, name))?;
        let command = Command::SetSecondApprover {
            organization: it.id,
            on,
            author: policy::known(self, viewer)?,
        };
        policy::write(self, viewer, Form::BUTTON, command).await
    }
}

fn own_sites(console: &ControllerConsole, it: &Organization) -> Listing<SiteRow> {
    sites::listed(console, |organization| organization == it.name.as_str())
}

fn approver(state: &State, it: &Organization) -> SecondApprover {
    let ends = ProposedChange::OneApprover {
        organization: it.id,
    };
    let people = state.operators().filter(|it| it.role >= Role::Operator);
    SecondApprover {
        on: it.second_approver,
        ending: state
            .proposals()
            .find(|proposal| proposal.change == ends)
            .map(|proposal| proposal.number),
        people: people.count(),
    }
}

/// Beside the profile security server, at the release of the production site.
fn declared(state: &State, it: &Organization) -> Option<DeclaredPorts> {
    let declaration = state.declaration(it.id)?;
    let statement = &declaration.statement;
    let production = statement.production.as_ref();
    let site = production.and_then(|said| state.sites_of(it.id).find(|it| it.name == said.site));
    let release = site.and_then(|site| site.xroad);
    let entries = port_entries(&statement.ports);
    let lists_ports = entries.iter().any(|entry| !entry.ports.is_empty());
    let spec = state.profile_spec(Profile::SecurityServer);
    let differences = port_differences(&spec, release, &entries);
    Some(DeclaredPorts {
        at: moment::at(declaration.declared_ms),
        by: declaration.author.clone().into(),
        lists_ports,
        release: release.map(|it| it.to_string()).unwrap_or_default(),
        differences: differences.iter().map(profiles::difference).collect(),
    })
}
