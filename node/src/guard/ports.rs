//! Which ports of this machine a map wants closed outside the overlay. It asks nobody what is on the machine: that was looked up.

use std::collections::BTreeSet;
use std::net::IpAddr;

use malha_proto::{Exposure, Netmap, Profile, Protocol, Service};

/// What the guard closes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) tcp: BTreeSet<u16>,
    pub(super) udp: BTreeSet<u16>,
}

impl Ports {
    pub(super) fn of(map: &Netmap, except: &BTreeSet<u16>, here: &BTreeSet<IpAddr>) -> Self {
        let udp = of_profile(map, Protocol::Udp);
        Self {
            tcp: tcp_ports(map, except, here),
            udp: udp.filter(|port| !except.contains(port)).collect(),
        }
    }
}

/// The TCP ports that must be reachable through the overlay only: each service's port, its target where that is on this
/// machine, each balancer's, and those of the node's profile. A public balancer opens its port.
fn tcp_ports(map: &Netmap, except: &BTreeSet<u16>, here: &BTreeSet<IpAddr>) -> BTreeSet<u16> {
    let services = map.services.values();
    let of_services = services.flat_map(|service| service_ports(service, map, here));
    let balancers = || map.balancers.values();
    let in_tunnel = balancers().filter(|it| it.exposure == Exposure::Tunnel);
    let public = balancers().filter(|it| it.exposure == Exposure::Public);
    let public: BTreeSet<u16> = public.map(|it| it.port.number()).collect();
    let all = of_services
        .chain(of_profile(map, Protocol::Tcp))
        .chain(in_tunnel.map(|it| it.port.number()));
    all.filter(|port| !except.contains(port) && !public.contains(port))
        .collect()
}

pub(super) fn service_ports(
    service: &Service,
    map: &Netmap,
    here: &BTreeSet<IpAddr>,
) -> impl Iterator<Item = u16> {
    let is_here = |ip| is_certainly_here(ip, map) || here.contains(&ip);
    let target = Some(service.target).filter(|target| is_here(target.ip()));
    let target = target.map(|target| target.port());
    [Some(service.port.number()), target].into_iter().flatten()
}

/// What the profile closes. A controller or a saved map from before profiles were data leaves it to the agent.
fn of_profile(map: &Netmap, protocol: Protocol) -> impl Iterator<Item = u16> {
    let before: &[u16] = match map.me.profile {
        _ if map.closed.is_some() || protocol != Protocol::Tcp => &[],
        Profile::SecurityServer | Profile::Balancer => &[5500, 5577],
        Profile::Central => &[4001],
        Profile::Garage | Profile::Edge => &[],
    };
    let closed = map.closed.iter().flatten();
    closed
        .filter(move |it| it.protocol == protocol)
        .map(|it| it.port.number())
        .chain(before.iter().copied())
}

/// The targets' addresses that have to be looked up.
pub(super) fn targets(map: &Netmap) -> BTreeSet<IpAddr> {
    let all = map.services.values().map(|service| service.target.ip());
    all.filter(|ip| !is_certainly_here(*ip, map)).collect()
}

pub(super) fn is_certainly_here(target: IpAddr, map: &Netmap) -> bool {
    let own: [IpAddr; 2] = [map.me.addresses.v4.into(), map.me.addresses.v6.into()];
    target.is_loopback() || target.is_unspecified() || own.contains(&target)
}
