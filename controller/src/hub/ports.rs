//! The UDP ports of a hub: which sockets its tunnel has, which of them the control channel's QUIC shares, and where nodes find
//! them from outside. It binds nothing.

use std::net::{IpAddr, SocketAddr};

use malha_core::limits::MAX_ENDPOINTS;
use malha_tunnel::{Engine, TunnelError};

use crate::config::Config;

/// The sockets of a hub's tunnel. WireGuard is on all of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// `hub.listen` first, since the first of each family sends to peers that have not been heard.
    pub(super) listen: Vec<SocketAddr>,
    /// Numbers of those on which the control channel is, too.
    pub(super) quic: Vec<usize>,
}

impl Ports {
    pub(super) fn of(config: &Config, engine: Engine) -> Self {
        let mut listen = config.hub.listen.clone();
        let mut quic = Vec::new();
        for address in config.control.listen.iter().filter(|_| shares(engine)) {
            // Each port 0 is another port.
            let same = |known: &SocketAddr| known == address && known.port() != 0;
            let number = listen.iter().position(same).unwrap_or(listen.len());
            if number == listen.len() {
                listen.push(*address);
            }
            quic.push(number);
        }
        Self { listen, quic }
    }
}

/// Where nodes find the hub's WireGuard: what `hub.endpoints` says, then the same addresses at the public ports of the control
/// channel, for networks that let out nothing but those.
#[must_use]
pub fn public_endpoints(config: &Config, engine: Engine) -> Vec<SocketAddr> {
    let mut endpoints = config.hub.endpoints.clone();
    if !shares(engine) {
        return endpoints;
    }
    let hosts: Vec<IpAddr> = endpoints.iter().map(SocketAddr::ip).collect();
    for address in &config.control.addresses {
        let port = address
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        let found: Vec<SocketAddr> = match (address.parse::<SocketAddr>(), port) {
            (Ok(address), _) => vec![address],
            (Err(_), Some(port)) => hosts
                .iter()
                .map(|host| SocketAddr::new(*host, port))
                .collect(),
            (Err(_), None) => Vec::new(),
        };
        for endpoint in found {
            let usable = endpoint.port() != 0 && !endpoint.ip().is_unspecified();
            if usable && endpoints.len() < MAX_ENDPOINTS && !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
    }
    endpoints
}

/// Names the key of the configuration that a socket came from.
pub fn explained(config: &Config, error: TunnelError) -> anyhow::Error {
    let TunnelError::Bind { address, source } = error else {
        return anyhow::Error::new(error).context("the hub's tunnel");
    };
    let key = match config.hub.listen.contains(&address) {
        true => "hub.listen",
        false => "control.listen",
    };
    anyhow::Error::new(source).context(format!(
        "UDP {address} can't be had; free it or change {key}"
    ))
}

/// Whether the control channel's QUIC is on the tunnel's sockets: the kernel has its WireGuard socket for itself.
#[must_use]
pub fn shares(engine: Engine) -> bool {
    engine != Engine::Kernel
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Config {
        Config::for_server("data".into(), "hub.example", "192.0.2.1".parse().unwrap())
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_control_channel_is_on_sockets_of_the_tunnel_beside_its_own() {
        let ports = Ports::of(&server(), Engine::Netstack);
        let listen = ["0.0.0.0:51820", "[::]:51820", "0.0.0.0:443", "[::]:443"].map(at);
        assert_eq!(ports.listen, listen);
        assert_eq!(ports.quic, [2, 3]);
    }

    #[test]
    fn one_port_for_everything_is_bound_once() {
        let mut config = server();
        config.hub.listen = vec![at("0.0.0.0:443")];
        let ports = Ports::of(&config, Engine::Userspace);
        assert_eq!(ports.listen, ["0.0.0.0:443", "[::]:443"].map(at));
        assert_eq!(ports.quic, [0, 1]);
    }

    #[test]
    fn any_free_port_is_another_one_each_time() {
        let mut config = server();
        config.hub.listen = vec![at("127.0.0.1:0")];
        config.control.listen = vec![at("127.0.0.1:0")];
        let ports = Ports::of(&config, Engine::Netstack);
        assert_eq!((ports.listen.len(), ports.quic), (2, vec![1]));
    }

    #[test]
    fn the_kernel_shares_nothing() {
        let config = server();
        let ports = Ports::of(&config, Engine::Kernel);
        assert_eq!(
            (ports.listen, ports.quic),
            (config.hub.listen.clone(), vec![])
        );
        assert_eq!(
            public_endpoints(&config, Engine::Kernel),
            config.hub.endpoints
        );
    }

    #[test]
    fn nodes_are_told_the_control_channels_port_last() {
        let mut config = server();
        config.hub.endpoints = vec![at("192.0.2.1:51820"), at("[2001:db8::1]:51820")];
        config.control.addresses.push("198.51.100.1:8443".into());
        let expected = [
            "192.0.2.1:51820",
            "[2001:db8::1]:51820",
            "192.0.2.1:443",
            "[2001:db8::1]:443",
            "198.51.100.1:8443",
        ];
        assert_eq!(
            public_endpoints(&config, Engine::Userspace),
            expected.map(at)
        );
    }

    #[test]
    fn endpoints_are_named_once_and_never_too_many() {
        let mut config = server();
        config.hub.endpoints = (1..=8).map(|n| at(&format!("192.0.2.{n}:443"))).collect();
        let endpoints = public_endpoints(&config, Engine::Netstack);
        assert_eq!(endpoints, config.hub.endpoints);
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_its_key() {
        let config = server();
        for (address, key) in [
            ("0.0.0.0:443", "control.listen"),
            ("[::]:51820", "hub.listen"),
        ] {
            let source = std::io::ErrorKind::AddrInUse.into();
            let address = at(address);
            let error = explained(&config, TunnelError::Bind { address, source }).to_string();
            assert!(
                error.contains(key) && error.contains(&address.to_string()),
                "{error}"
            );
        }
    }
}
