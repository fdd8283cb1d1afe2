//! A small internet in network namespaces: a hub with a public address, garages behind NAT routers, a client, and somebody who
//! listens. Its machines run the real programs; nothing in here takes their part.

mod access;
mod binaries;
mod client;
mod garage;
mod hub;
mod internet;
mod load;
mod machine;
pub(crate) mod namespace;
mod patience;
pub(crate) mod process;
mod router;
mod scan;
mod security_server;
mod supervisor;
mod wiretap;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

pub use access::{Access, Connected};
pub use binaries::malha;
pub use client::{Answer, Client};
pub use garage::Garage;
pub use hub::Hub;
pub use internet::{AGENCY, CLIENT, HUB, HUB_NAME, HUB_V6, Internet};
pub use load::{Attempt, Caller, Held, Load};
pub use machine::Machine;
pub use namespace::Namespace;
pub use patience::{PATIENCE, eventually, eventually_each};
pub use process::{Process, output};
pub use router::{Mapping, Router};
pub use scan::{answering_udp_ports, open_tcp_ports};
pub use security_server::{Certificates, SERVER_NAME, SecurityServer};
pub use supervisor::Supervisor;
pub use wiretap::Wiretap;

/// One installation on its own internet. Everything of it ends when it is dropped, by a failed test too, which also prints
/// the ends of its logs.
pub struct Lab {
    pub client: Client,
    pub hub: Hub,
    pub internet: Internet,
    folder: TempDir,
    /// Labs take turns: two at once would measure each other.
    turn: Option<MutexGuard<'static, ()>>,
}

/// Plays a story in a lab with a hub that serves; or says why it can't be played here.
pub fn story(name: &str, play: impl FnOnce(&mut Lab) -> Result<()>) {
    if let Some(reason) = missing() {
        println!("skip: {reason}");
        return;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let mut lab = Lab::start(turn).unwrap_or_else(|error| panic!("the lab: {error:#}"));
    if let Err(error) = play(&mut lab) {
        panic!("{name}: {error:#}");
    }
    println!("{name}: {:.1} s", start.elapsed().as_secs_f64());
}

impl Lab {
    fn start(turn: MutexGuard<'static, ()>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("malha-lab-").tempdir()?;
        let internet = Internet::new()?;
        let hub = Hub::new(&internet, folder.path())?;
        let client = Client::new(&internet)?;
        let mut lab = Self {
            client,
            hub,
            internet,
            folder,
            turn: Some(turn),
        };
        lab.hub.init().context("malha init")?;
        lab.hub.offers_v6()?;
        lab.hub.serve().context("malha serve")?;
        lab.client.trust(&lab.hub.edge_authority());
        lab.hub.malha(&["org", "add", garage::ORGANIZATION])?;
        lab.hub.malha(&["zone", "add", garage::ZONE])?;
        Ok(lab)
    }

    /// A garage behind its own NAT, with this number's public address and the same private network as every other one.
    pub fn garage(&self, number: u8) -> Result<Garage> {
        Garage::new(&self.internet, self.folder.path(), number)
    }

    /// A garage whose page is read at its public URL: site, token, enrolment, service and route, as an operator makes them.
    pub fn open_garage(&self, number: u8, engine: &str) -> Result<Garage> {
        let mut garage = self.garage(number)?;
        garage.machine.start_web(GARAGE_WEB)?;
        let token = self.token_for(&garage)?;
        garage
            .machine
            .enrol(&token, &["--name", garage::NODE, "--engine", engine])?;
        self.publish(&garage, GARAGE_WEB)?;
        self.client.reads(&garage.url())?;
        Ok(garage)
    }

    /// Creates the garage's site, and a token for one machine there.
    pub fn token_for(&self, garage: &Garage) -> Result<String> {
        self.hub.malha(&["site", "add", &garage.site()])?;
        self.hub
            .token(&["token", "add", &garage.site(), "--profile", "garage"])
    }

    /// Waits for the garage's node, and gives its web interface a name on the internet.
    pub fn publish(&self, garage: &Garage, target: &str) -> Result<()> {
        let node = garage.node();
        eventually("the node is enrolled", PATIENCE, || self.hub.node(&node))?;
        let service = [
            "service", "add", &node, "web", "--port", "80", "--target", target,
        ];
        self.hub
            .malha(&[&service[..], &["--kind", "http", "--exposure", "public"]].concat())?;
        self.hub
            .malha(&[
                "route",
                "add",
                &garage.host(),
                "--service",
                &format!("{node}/web"),
            ])
            .map(drop)
    }

    /// A machine with a public address of its own.
    pub fn agency(&self) -> Result<Machine> {
        let machine = Machine::new(self.folder.path(), "agency")?;
        self.internet.attach(&machine.namespace, "wan", AGENCY)?;
        Ok(machine)
    }

    /// A machine with this access to the internet. `number` is unique in the lab, from 0 to 40.
    pub fn connected(&self, access: Access, number: u8) -> Result<Connected> {
        Connected::new(&self.internet, self.folder.path(), access, number)
    }

    /// Another machine of the same site: behind the same router, on a network of its own.
    pub fn connected_beside(&self, other: &Connected, number: u8) -> Result<Connected> {
        other.beside(self.folder.path(), number)
    }

    /// A production server behind a router of its own.
    pub fn security_server(
        &self,
        number: u8,
        certificates: &Certificates,
    ) -> Result<SecurityServer> {
        let site = self.connected(Access::Home(Mapping::Preserving), number)?;
        SecurityServer::new(site, self.folder.path(), certificates)
    }

    /// A file of this lab that no machine owns.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Lets the next lab begin: from here on this one mostly waits.
    pub fn gives_its_turn(&mut self) {
        self.turn = None;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            process::print_logs(self.folder.path());
        }
    }
}

/// Why labs can't be built here, if so.
fn missing() -> Option<String> {
    if !Path::new("/dev/net/tun").exists() {
        return Some("this machine has no /dev/net/tun".to_owned());
    }
    missing_for_namespaces(&[
        ("curl", "curl"),
        ("haproxy", "haproxy"),
        ("dig", "dnsutils"),
        ("tinyproxy", "tinyproxy-bin"),
    ])
}

/// Why these programs can't run in network namespaces here, if so: each with the package that has it.
#[must_use]
pub fn missing_for_namespaces(programs: &[(&str, &str)]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root: network namespaces need it".to_owned());
    }
    let mut tools = NAMESPACE_TOOLS.iter().chain(programs);
    let absent = tools.find(|(tool, _)| !process::is_installed(tool));
    if let Some((tool, package)) = absent {
        return Some(format!("{tool} is missing: install {package}"));
    }
    namespace::remove_orphans();
    let refused = Namespace::new("trial").err()?;
    Some(format!("no network namespaces here: {refused:#}"))
}

static TURN: Mutex<()> = Mutex::new(());

/// What namespaces are made and filled with.
const NAMESPACE_TOOLS: [(&str, &str); 3] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("setpriv", "util-linux"),
];
/// Where a garage's web interface listens: nobody but the machine itself can reach it.
pub const GARAGE_WEB: &str = "127.0.0.1:8080";
/// In how much time a dead hop should show. It is printed beside what was measured, and judges nothing.
pub const HOP_TARGET: Duration = Duration::from_secs(5);
