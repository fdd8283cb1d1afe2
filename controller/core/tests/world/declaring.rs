//! Declarations in the rolls: new ones, wrong ones, their end.

use malha_core::Command;
use malha_proto::OrganizationId;

use super::World;

impl World {
    /// One command about declarations, good or bad.
    pub(super) fn declaring(&self, a: u8, b: u8) -> Command {
        let organization = self.organization(a);
        match b % 4 {
            0 => Command::WithdrawDeclaration { organization },
            1 => Command::Declare {
                organization,
                text: "version = 1\n".to_owned(),
                author: "key:test".to_owned(),
            },
            2 => Command::Declare {
                organization,
                text: format!("version = 1\n[production]\naddresses = [\"203.0.113.{b}\"]\n"),
                author: "key:test".to_owned(),
            },
            // Sometimes another organization has the name.
            _ => Command::Declare {
                organization,
                text: format!(
                    "version = 1\n[production]\nsite = \"{}\"\nnames = [\"xvia-{}.example\"]\n",
                    self.site_name(organization, b),
                    b % 3
                ),
                author: "key:test".to_owned(),
            },
        }
    }

    /// One of the organization's sites, if it has any.
    fn site_name(&self, organization: OrganizationId, roll: u8) -> String {
        let sites = self.state.sites();
        let own = sites.filter(|site| site.organization == organization);
        let names: Vec<String> = own.map(|site| site.name.to_string()).collect();
        let roll = usize::from(roll / 4) % names.len().max(1);
        names
            .get(roll)
            .cloned()
            .unwrap_or_else(|| "nowhere".to_owned())
    }
}
