//! Organizations of the memory console: the first operators it has are as many as a test says, and to turn the second
//! approver off is proposed.

use async_trait::async_trait;
use malha_web::model::*;
use malha_web::{OrganizationConsole, Viewer};
use time::OffsetDateTime;

use super::rules::no_such;
use super::{MemoryConsole, USER, profiles};

#[async_trait]
impl OrganizationConsole for MemoryConsole {
    async fn organization(&self, _: &Viewer, name: &str) -> Result<OrganizationDetail, Unreadable> {
        self.read(|world| {
            let known = world.organizations.iter().any(|it| it == name);
            let sites: Vec<SiteRow> = world
                .sites
                .iter()
                .filter(|(organization, _)| organization == name)
                .map(|(organization, site)| SiteRow {
                    organization: organization.as_str().into(),
                    name: site.as_str().into(),
                    nodes: 1,
                    online: 1,
                })
                .collect();
            known.then(|| OrganizationDetail {
                name: name.to_owned(),
                display_name: world
                    .port_name
                    .clone()
                    .unwrap_or_else(|| "<b>Secretaria</b>".into()),
                sites: sites.into(),
                approver: world.approver.clone(),
                declared: world.checked.then(declared),
            })
        })?
        .ok_or(Unreadable::NotFound)
    }

    async fn set_second_approver(
        &self,
        _: &Viewer,
        name: &str,
        on: bool,
    ) -> Result<PolicyWritten, Refused> {
        let outcome = self.write(Topic::Sites, Action::PolicyProposed, name, |world| {
            if !world.organizations.iter().any(|it| it == name) {
                return Err(no_such("organization"));
            }
            match on {
                true if world.approver.people < 2 => return Err(no_such("second operator")),
                true => world.approver.on = true,
                false => world.approver.ending = Some(7),
            }
            Ok(())
        })?;
        Ok(PolicyWritten {
            outcome,
            proposed: !on,
        })
    }
}

fn declared() -> DeclaredPorts {
    DeclaredPorts {
        at: OffsetDateTime::now_utc(),
        by: USER.into(),
        lists_ports: true,
        release: "7.3".to_owned(),
        differences: profiles::differences(),
    }
}
