//! What network the machine is on: the source addresses of its default routes, to notice a change, and the addresses of its
//! interfaces, where peers nearby may reach it. It sends nothing.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Documentation addresses (RFC 5737, RFC 3849): routed by the default route, owned by nobody.
const FAR: [(&str, &str); 2] = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];

/// The network as it was at the last look.
#[derive(Debug)]
pub(super) struct NetworkWatch {
    last: [Option<IpAddr>; 2],
    interfaces: Vec<IpAddr>,
    looked: Option<Instant>,
}

impl NetworkWatch {
    pub(super) fn new() -> Self {
        Self {
            last: sources(),
            interfaces: Vec::new(),
            looked: None,
        }
    }

    /// Whether it is another network than at the last look. A network that is gone is no change yet: the next one is.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = sources();
        if now == self.last || now == [None, None] {
            return false;
        }
        self.last = now;
        self.looked = None;
        true
    }

    /// Where sockets that are bound like this can be reached on this machine's interfaces; the newest look at them is at
    /// most [`LOOK_INTERVAL`] old. Best first.
    pub(super) fn candidates(&mut self, bound: &[SocketAddr]) -> Vec<SocketAddr> {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
            self.looked = Some(Instant::now());
            self.interfaces = interface_addresses();
        }
        let candidates = bound
            .iter()
            .flat_map(|bound| reachable(*bound, &self.interfaces));
        best_first(candidates.collect(), &self.last)
    }
}

/// Each once: those at the sources of the default routes, then one family in turn with the other, so that a machine's many bridges
/// push out neither. The same addresses always have the same order.
fn best_first(mut candidates: Vec<SocketAddr>, sources: &[Option<IpAddr>; 2]) -> Vec<SocketAddr> {
    candidates.sort();
    candidates.dedup();
    let candidates = candidates.into_iter();
    let (mut best, others): (Vec<_>, Vec<_>) =
        candidates.partition(|at| sources.contains(&Some(at.ip())));
    let (v4, v6): (Vec<_>, Vec<_>) = others.into_iter().partition(SocketAddr::is_ipv4);
    let mut families = [v4.into_iter(), v6.into_iter()];
    loop {
        let before = best.len();
        best.extend(families.iter_mut().filter_map(Iterator::next));
        if best.len() == before {
            return best;
        }
    }
}

/// The addresses from which this machine would speak to the internet, per family.
fn sources() -> [Option<IpAddr>; 2] {
    FAR.map(|(any, far)| {
        let socket = UdpSocket::bind(any).ok()?;
        // A connected datagram socket only looks up the route.
        socket.connect(far).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}

fn reachable(bound: SocketAddr, interfaces: &[IpAddr]) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let same_family = interfaces
        .iter()
        .filter(|ip| ip.is_ipv4() == bound.is_ipv4());
    same_family
        .map(|ip| SocketAddr::new(*ip, bound.port()))
        .collect()
}

/// Addresses of interfaces that are up, without loopback and without tunnels: what is reached through another tunnel, or
/// through this one, is no way for it.
fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    let wanted = interfaces.filter(|interface| {
        let flags = interface.flags;
        flags.contains(InterfaceFlags::IFF_UP)
            && !flags.intersects(InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT)
    });
    let addresses = wanted.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
    });
    let routed = addresses.filter(|ip| match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    });
    routed.collect()
}

/// An interface that comes without a change of the default route may wait this long to be known.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_network_is_no_change() {
        assert!(!NetworkWatch::new().has_changed());
    }

    #[test]
    fn a_socket_on_all_addresses_is_reached_on_each_of_its_family() {
        let interfaces = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let any: SocketAddr = "0.0.0.0:51820".parse().unwrap();
        let one: SocketAddr = "[2001:db8::9]:1".parse().unwrap();
        assert_eq!(
            reachable(any, &interfaces),
            ["192.0.2.7:51820".parse().unwrap()]
        );
        assert_eq!(reachable(one, &interfaces), [one]);
    }

    #[test]
    fn the_loopback_is_no_candidate() {
        let any = [
            "0.0.0.0:51820".parse().unwrap(),
            "[::]:51820".parse().unwrap(),
        ];
        let candidates = NetworkWatch::new().candidates(&any);
        assert!(candidates.iter().all(|at| !at.ip().is_loopback()));
    }

    /// As many bridges as containers bring must not push out where the machine is reached.
    #[test]
    fn the_addresses_of_the_default_routes_come_first_and_then_the_families_in_turn() {
        let sources = ["192.168.1.10", "2001:db8::7"].map(|ip| ip.parse().unwrap());
        let bridges = (17..37).map(|net| IpAddr::from([172, net, 0, 1]));
        let mut interfaces: Vec<_> = bridges.chain(sources).collect();
        interfaces.push("fd00::9".parse().unwrap());
        let mut watch = NetworkWatch {
            last: sources.map(Some),
            interfaces,
            looked: Some(Instant::now() + LOOK_INTERVAL),
        };
        let bound = ["0.0.0.0:1", "[::]:2"].map(|any| any.parse().unwrap());
        let candidates = watch.candidates(&bound);
        let first = [
            "192.168.1.10:1",
            "[2001:db8::7]:2",
            "172.17.0.1:1",
            "[fd00::9]:2",
            "172.18.0.1:1",
        ];
        assert_eq!(candidates[..5], first.map(|at| at.parse().unwrap()));
        assert_eq!(candidates.len(), 23);
        watch.interfaces.reverse();
        assert_eq!(watch.candidates(&bound), candidates);
    }

    #[test]
    fn another_source_address_is_a_change_once() {
        let mut watch = NetworkWatch::new();
        let is_online = watch.last != [None, None];
        watch.last = [Some([203, 0, 113, 7].into()), None];
        assert_eq!(watch.has_changed(), is_online);
        assert!(!watch.has_changed() || !is_online);
    }
}
