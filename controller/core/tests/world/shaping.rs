//! The rolls about profiles, sites' releases and whole agencies.

use malha_core::policy::Author;
use malha_core::profile::PROFILES;
use malha_core::{Command, NewAgency};

use super::World;
use super::label;

impl World {
    /// One such command, good or bad.
    pub(super) fn shaping(&self, kind: u8, a: u8, b: u8, c: u8) -> Command {
        let profile = PROFILES[usize::from(a) % PROFILES.len()];
        match kind {
            50 if b.is_multiple_of(3) => Command::ResetProfile { profile },
            50 => {
                let text = self.state.profile_text(profile);
                let exposure = ["\"public\"", "\"tunnel\"", "\"wide\""][usize::from(c % 3)];
                Command::SetProfile {
                    text: text.replace("\"tunnel\"", exposure),
                }
            }
            51 => Command::SetSiteRelease {
                id: self.site(a),
                xroad: ["7.3", "7.4", "x"][usize::from(c % 3)].parse().ok(),
            },
            _ => Command::AddAgency(Box::new(NewAgency {
                production: b % 4,
                development: c % 3,
                balancers: c % 4,
                ..agency(&format!("agency-{}", a % 5))
            })),
        }
    }
}

/// Two servers behind a balancer, and one for development, without names.
pub(crate) fn agency(name: &str) -> NewAgency {
    NewAgency {
        name: label(name),
        display_name: String::new(),
        host: label("xvia"),
        production: 2,
        development: 1,
        balancers: 1,
        xroad: None,
        zone: None,
        public_addresses: [].into(),
        development_addresses: [].into(),
        token_ttl_s: 3_600,
        author: Author::Controller,
    }
}
