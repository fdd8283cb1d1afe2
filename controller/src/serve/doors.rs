//! The sockets that the configuration asks for, over a restart: those of the last run that are wanted again stay in use, and all
//! others are given back before anything is opened. The hub's tunnel and balancers see to their own.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use malha_tunnel::{
    Engine, Keeper, datagrams_name, give_back, kept_or_opened, listener_name, open_when_freed,
};

use crate::config::Config;
use crate::hub;

/// Opens sockets, or takes them over.
pub(super) struct Doors {
    keeper: Option<Arc<dyn Keeper>>,
    /// Until then an address may still be in use by what was given back.
    freed_at: Instant,
}

impl Doors {
    /// Gives back what this configuration does not want, and what others kept at its ports.
    pub(super) fn new(config: &Config, engine: Engine, keeper: Option<Arc<dyn Keeper>>) -> Self {
        let mut freed_at = Instant::now();
        if let Some(keeper) = &keeper {
            let wanted = Wanted::by(config, engine);
            let mut unwanted = keeper.names();
            unwanted.retain(|name| wanted.excludes(name));
            freed_at = give_back(keeper.as_ref(), &unwanted);
        }
        Self { keeper, freed_at }
    }

    /// A listener at this address, which does not block.
    pub(super) fn tcp(
        &self,
        address: SocketAddr,
        open: impl Fn(SocketAddr) -> io::Result<TcpListener>,
    ) -> io::Result<TcpListener> {
        let name = listener_name(OWNER, address);
        let listener = self.open(&name, address, TcpListener::local_addr, open)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// A UDP socket at this address, which does not block.
    pub(super) fn udp(
        &self,
        address: SocketAddr,
        open: impl Fn(SocketAddr) -> io::Result<UdpSocket>,
    ) -> io::Result<UdpSocket> {
        let name = datagrams_name(OWNER, address);
        let socket = self.open(&name, address, UdpSocket::local_addr, open)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    fn open<T: From<OwnedFd> + AsFd>(
        &self,
        name: &str,
        address: SocketAddr,
        local: impl Fn(&T) -> io::Result<SocketAddr>,
        open: impl Fn(SocketAddr) -> io::Result<T>,
    ) -> io::Result<T> {
        // The tunnel may have given something back since.
        let keeper = self.keeper.iter().map(|keeper| keeper.freed_at());
        let freed_at = keeper.fold(self.freed_at, Instant::max);
        let open = || open_when_freed(freed_at, || open(address));
        // Any free port is another one each time.
        match self.keeper.as_ref().filter(|_| address.port() != 0) {
            Some(keeper) => {
                let is_there = |it: &T| local(it).is_ok_and(|at| at == address);
                kept_or_opened(keeper.as_ref(), name, is_there, open)
            }
            None => open(),
        }
    }
}

/// What a configuration asks for with this engine of the hub.
struct Wanted {
    names: Vec<String>,
    /// How the names of others begin and end who kept something at its ports.
    places: Vec<(&'static str, String)>,
}

impl Wanted {
    fn by(config: &Config, engine: Engine) -> Self {
        let edge = config.edge.https.iter().chain(&config.edge.http);
        let pages = [config.api.listen].into_iter().chain(config.metrics.listen);
        let tcp = edge.chain(&config.dns.listen).copied().chain(pages);
        let tcp: Vec<_> = tcp.collect();
        let control = config.control.listen.iter();
        let control = control.filter(|_| !hub::shares(engine));
        let udp = config.dns.listen.iter().chain(control);
        let listeners = tcp.iter().map(|at| listener_name(OWNER, *at));
        let place = |kind| move |at: &SocketAddr| (kind, format!("_{}", at.port()));
        let datagrams = config.dns.listen.iter().map(place("udp "));
        Self {
            names: listeners
                .chain(udp.map(|at| datagrams_name(OWNER, *at)))
                .collect(),
            places: tcp.iter().map(place("tcp ")).chain(datagrams).collect(),
        }
    }

    /// Whether what is kept under this name is the configuration's business, and not wanted.
    fn excludes(&self, name: &str) -> bool {
        if self.names.iter().any(|wanted| wanted == name) {
            return false;
        }
        let is_own = name.split(' ').nth(1) == Some(OWNER);
        let mut places = self.places.iter();
        is_own || places.any(|(kind, port)| name.starts_with(kind) && name.ends_with(port))
    }
}

/// Whose sockets they are; no interface can be called so.
const OWNER: &str = "/controller";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_wants_stays_and_what_is_in_its_way_goes() {
        let server = Config::for_server("data".into(), "hub.example", [192, 0, 2, 1].into());
        let wanted = Wanted::by(&server, Engine::Userspace);
        for kept in [
            "tcp /controller 0.0.0.0_443",
            "tcp /controller [__]_80",
            "tcp /controller 127.0.0.1_8480",
            "tcp /controller 0.0.0.0_53",
            "udp /controller 0.0.0.0_53",
            "tcp * 0.0.0.0_5500",
            "udp malha0/0/1 0.0.0.0_443",
            "tun malha0 100.64.0.1/10 1280 true TcpSuperPackets",
        ] {
            assert!(!wanted.excludes(kept), "{kept}");
        }
        for unwanted in [
            "tcp /controller 192.0.2.1_443",
            "tcp /controller 0.0.0.0_8443",
            "udp /controller 192.0.2.1_53",
            "tcp * 0.0.0.0_443",
            "tcp malha0 100.64.0.1_80",
            "udp malha0/0/1 0.0.0.0_53",
        ] {
            assert!(wanted.excludes(unwanted), "{unwanted}");
        }
    }

    /// The tunnel binds it there, unless the kernel has the tunnel.
    #[test]
    fn the_control_channels_own_socket_goes_where_it_shares_the_tunnels() {
        let server = Config::for_server("data".into(), "hub.example", [192, 0, 2, 1].into());
        for (engine, goes) in [
            (Engine::Kernel, false),
            (Engine::Userspace, true),
            (Engine::Netstack, true),
        ] {
            let wanted = Wanted::by(&server, engine);
            let kept = "udp /controller 0.0.0.0_443";
            assert_eq!(wanted.excludes(kept), goes, "{engine}");
        }
    }
}
