//! A garage: a machine in a back room with a web interface, behind its own router.

use std::path::Path;

use anyhow::Result;

use super::internet::Internet;
use super::machine::Machine;
use super::router::{MACHINE, Mapping, Router};

/// One garage. Its public address is 203.0.113.(10 + number).
pub struct Garage {
    pub machine: Machine,
    pub router: Router,
    number: u8,
}

impl Garage {
    /// In its private network, which looks like that of every other garage.
    pub const LAN_ADDRESS: &str = MACHINE;

    pub(super) fn new(internet: &Internet, folder: &Path, number: u8) -> Result<Self> {
        let role = format!("nat{number}");
        let router = Router::new(internet, &role, &outer_address(number), Mapping::Symmetric)?;
        let machine = Machine::new(folder, &format!("garage{number}"))?;
        router.serve(&machine.namespace)?;
        Ok(Self {
            machine,
            router,
            number,
        })
    }

    /// The outer address of its router at the start.
    #[must_use]
    pub fn outer_address(&self) -> String {
        outer_address(self.number)
    }

    /// `org/site`
    #[must_use]
    pub fn site(&self) -> String {
        format!("{ORGANIZATION}/{}", self.site_name())
    }

    /// `org/site/node`
    #[must_use]
    pub fn node(&self) -> String {
        format!("{}/{NODE}", self.site())
    }

    /// Its public name.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{ZONE}", self.site_name())
    }

    /// Its public URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}/", self.host())
    }

    pub(super) fn site_name(&self) -> String {
        format!("garagem-{:02}", self.number)
    }
}

fn outer_address(number: u8) -> String {
    format!("203.0.113.{}", 10 + number)
}

pub(super) const ORGANIZATION: &str = "estacionamentos";
pub(super) const ZONE: &str = "garagens.example";
/// What each garage calls its server.
pub(super) const NODE: &str = "servidor";
