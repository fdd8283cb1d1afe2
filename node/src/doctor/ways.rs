//! What the network answers: names, UDP, TCP and plain HTTP towards the controllers, and the first routers on the way. Everything is
//! asked at the same time, and nothing is judged.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::subject::Subject;
use crate::agent::LinkError;
use crate::control::look::{
    Authority, Carried, Page, Reached, Reflection, first_hops, over_http, over_tcp, over_udp,
};
use crate::control::resolve;

/// Each of these is empty where there was nobody to ask.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// By the controllers' names, without those that are addresses.
    pub(super) names: Vec<Named>,
    pub(super) udp: Vec<(SocketAddr, Result<Reached, LinkError>)>,
    pub(super) tcp: Vec<(String, Carried)>,
    /// Who answers plain HTTP for the first controller.
    pub(super) page: Option<(String, Page)>,
    pub(super) hops: Vec<Ipv4Addr>,
}

/// A controller's name and what the resolver said of it.
#[derive(Debug)]
pub(super) struct Named {
    /// `host:port`.
    pub(super) controller: String,
    pub(super) found: Result<Vec<SocketAddr>, LinkError>,
    pub(super) took: Duration,
}

/// A socket of this machine, who was asked from it, and how that one saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) local: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) seen_as: SocketAddr,
}

impl Ways {
    pub(super) async fn of(subject: &Subject) -> Self {
        let Some(authority) = &subject.authority else {
            return Self::default();
        };
        let controllers = &subject.controllers[..subject.controllers.len().min(MAX_CONTROLLERS)];
        let tcp = controllers
            .iter()
            .map(async |it| (it.clone(), over_tcp(it, authority).await));
        let (datagrams, tcp, page) = tokio::join!(
            datagrams(controllers, authority),
            join_all(tcp),
            page(controllers)
        );
        let (names, udp, hops) = datagrams;
        Self {
            names,
            udp,
            tcp,
            page,
            hops,
        }
    }

    /// The HTTP proxy through which TCP went and succeeded.
    pub(super) fn proxy(&self) -> Option<&str> {
        let carried = self.tcp.iter().find(|(_, it)| it.control.is_ok())?;
        carried.1.proxy.as_deref()
    }

    pub(super) fn sockets(&self) -> Vec<Seen> {
        let reached = self.reached();
        let sockets = reached.filter_map(|(to, it)| {
            Some(Seen {
                local: it.from,
                to,
                seen_as: it.reflection?.seen_as,
            })
        });
        sockets.collect()
    }

    /// The longest packet to each address that answered.
    pub(super) fn packets(&self) -> Vec<(SocketAddr, u16)> {
        let reached = self.reached();
        reached.map(|(to, it)| (to, it.packet_bytes)).collect()
    }

    /// How far this machine's clock is behind the controllers', by the quickest way to one.
    pub(super) fn behind_ms(&self) -> Option<i64> {
        let by_udp = self.reached().filter_map(|(_, it)| it.reflection);
        let by_tcp = self.tcp.iter().map(|(_, it)| it.control.as_ref().ok());
        let by_tcp = by_tcp.filter_map(|told| told.copied().flatten());
        let told: Option<Reflection> = by_udp.chain(by_tcp).next();
        told.map(|it| it.behind_ms)
    }

    /// Whether a controller's certificate was right but for the time.
    pub(super) fn is_untimely(&self) -> bool {
        self.reached().any(|(_, it)| it.is_untimely)
            || self.tcp.iter().any(|(_, it)| it.is_untimely)
    }

    /// Whether a controller answers over UDP.
    pub(super) fn udp_passes(&self) -> bool {
        self.reached().next().is_some()
    }

    fn reached(&self) -> impl Iterator<Item = (SocketAddr, &Reached)> {
        let udp = self.udp.iter();
        udp.filter_map(|(to, reached)| Some((*to, reached.as_ref().ok()?)))
    }
}

type Datagrams = (
    Vec<Named>,
    Vec<(SocketAddr, Result<Reached, LinkError>)>,
    Vec<Ipv4Addr>,
);

async fn datagrams(controllers: &[String], authority: &Authority) -> Datagrams {
    let found = controllers.iter().map(async |controller| {
        let asked = Instant::now();
        let found = resolve(controller).await;
        Named {
            controller: controller.clone(),
            found,
            took: asked.elapsed(),
        }
    });
    let found = join_all(found).await;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found
        .iter()
        .filter_map(|it| it.found.as_ref().ok())
        .flatten()
    {
        if !addresses.contains(address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(*address);
        }
    }
    let first_v4 = addresses.iter().copied().find(SocketAddr::is_ipv4);
    let hops = async {
        match first_v4 {
            Some(to) => first_hops(to).await,
            None => Vec::new(),
        }
    };
    let (udp, hops) = tokio::join!(over_udp(&addresses, authority), hops);
    let named = found.into_iter();
    let names = named.filter(|it| !is_address(&it.controller));
    (names.collect(), udp, hops)
}

async fn page(controllers: &[String]) -> Option<(String, Page)> {
    let controller = controllers.first()?;
    Some((controller.clone(), over_http(controller).await?))
}

/// The host of a `host:port`.
pub(super) fn host(controller: &str) -> &str {
    controller
        .rsplit_once(':')
        .map_or(controller, |(host, _)| host)
}

fn is_address(controller: &str) -> bool {
    let host = host(controller).trim_matches(['[', ']']);
    host.parse::<IpAddr>().is_ok()
}

/// More controllers, and more of their addresses, are not looked at.
const MAX_CONTROLLERS: usize = 4;
const MAX_ADDRESSES: usize = 8;
