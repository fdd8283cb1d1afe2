//! On which addresses of the machine a service listens: the overlay's, whatever the engine, and no other even without the guard.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{Garage, output, story};

/// The service's own port; its target is another.
const PORT: u16 = 80;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);

/// The addresses on which the machine's kernel listens at the service's port.
fn listening(garage: &Garage) -> Result<Vec<IpAddr>> {
    let words = ["-H", "-l", "-t", "-n", &format!("sport = :{PORT}")];
    let shown = output(garage.machine.namespace.command("ss").args(words))?;
    let shown = String::from_utf8(shown.stdout)?;
    let address = |line: &str| -> Result<IpAddr> {
        let local = line
            .split_whitespace()
            .nth(3)
            .context("ss shows no address")?;
        let (address, _) = local.rsplit_once(':').context("ss shows no port")?;
        // An address that is bound to an interface carries its name.
        let address = address.trim_matches(['[', ']']);
        let address = address.split('%').next().unwrap_or_default();
        Ok(address.trim_matches(['[', ']']).parse()?)
    };
    shown.lines().map(address).collect()
}

fn neighbour_reaches(garage: &Garage) -> Result<bool> {
    let address = SocketAddr::new(Garage::LAN_ADDRESS.parse::<IpAddr>()?, PORT);
    let connected = || TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok();
    garage.router.namespace.within(connected)
}

fn is_on_the_overlay_alone(engine: &str) {
    story(&format!("listening-{engine}"), |lab| {
        let mut garage = lab.garage(1)?;
        garage.machine.configure("guard = \"off\"\n")?;
        garage.machine.start_web("127.0.0.1:8080")?;
        let token = lab.token_for(&garage)?;
        let words = ["--name", "servidor", "--engine", engine];
        garage.machine.enrol(&token, &words)?;
        lab.publish(&garage, "127.0.0.1:8080")?;
        lab.client.reads(&garage.url())?;
        let node = lab.hub.node(&garage.node())?;
        let overlay: Vec<IpAddr> = ["address_v4", "address_v6"]
            .into_iter()
            .map(|field| Ok(node[field].as_str().context("no address")?.parse()?))
            .collect::<Result<_>>()?;
        let mut addresses = listening(&garage)?;
        addresses.sort();
        match engine {
            // Nothing of it is in the machine's kernel.
            "netstack" => ensure!(addresses.is_empty(), "{addresses:?}"),
            _ => ensure!(addresses == overlay, "{addresses:?} instead of {overlay:?}"),
        }
        ensure!(!neighbour_reaches(&garage)?, "open to the neighbour");
        Ok(())
    });
}

#[test]
fn a_service_of_a_userspace_node_listens_on_the_overlay_alone() {
    is_on_the_overlay_alone("userspace");
}

#[test]
fn a_service_of_a_netstack_node_listens_on_the_overlay_alone() {
    is_on_the_overlay_alone("netstack");
}
