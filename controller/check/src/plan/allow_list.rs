//! The checks of a port that admits listed sources only: one who is listed comes in, and a stranger does not. Who is which is told
//! by the addresses that the node outside comes from, never by what it then sees.

use std::net::{IpAddr, SocketAddr};

use malha_proto::is_public;

use super::Plan;
use crate::check::{Expect, Probe, Vantage};
use crate::subject::{AllowList, Outside};

impl Plan<'_> {
    /// Both, of which one node outside can take one: the other one stays in the plan, and nobody looks.
    pub(super) fn listed_and_unlisted(
        &mut self,
        stage: &str,
        address: SocketAddr,
        lists: &[&AllowList],
        control: Option<SocketAddr>,
    ) {
        let outside = self.subject.outside.as_ref();
        let sources: Vec<IpAddr> = outside
            .map(|it| sources_to(it, address.ip()))
            .unwrap_or_default();
        let pairs = || {
            sources
                .iter()
                .flat_map(|ip| lists.iter().map(move |list| list.admits(*ip)))
        };
        let seen_by = |is_meant: fn(bool) -> bool| {
            let is_such = !sources.is_empty() && pairs().all(is_meant);
            let node = outside.filter(|_| is_such).map(|it| it.node.clone());
            Vantage::Outside { node }
        };
        let id = |who: &str| format!("{stage}/port/{}/{who}/{}", address.port(), address.ip());
        let probe = Probe::TcpStay { address };
        let listed = seen_by(|is_admitted| is_admitted);
        self.add(id("outside"), &listed, &probe, Expect::Open { control });
        let balancers = lists.iter().map(|list| list.balancer.clone()).collect();
        let turned_away = Expect::TurnedAway { control, balancers };
        let unlisted = seen_by(|is_admitted| !is_admitted);
        self.add(id("unlisted"), &unlisted, &probe, turned_away);
    }
}

impl AllowList {
    pub(super) fn admits(&self, source: IpAddr) -> bool {
        let mut nets = self.sources.iter().filter_map(|prefix| prefix.net());
        nets.any(|net| net.contains(&source))
    }
}

/// Where the node's connections to the address come from. An address of its own network is not what the other side of a
/// translation sees.
fn sources_to(outside: &Outside, address: IpAddr) -> Vec<IpAddr> {
    let counts =
        |ip: &IpAddr| ip.is_ipv4() == address.is_ipv4() && (!is_public(address) || is_public(*ip));
    outside.sources.iter().copied().filter(counts).collect()
}
