//! This node's balancers in the status: what the map wants of them beside how they are. It asks no server itself.

use std::net::SocketAddr;

use malha_proto::{
    Backend, BackendCondition, BackendMode, Balancer, BalancerCounts, BalancerId, BalancerTrouble,
    Exposure, Netmap, ServiceId,
};
use serde::{Deserialize, Serialize};

use super::print::size;
use crate::balancers::Balanced;
use crate::text::{Lang, balancers as words};

/// One balancer of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerStatus {
    pub id: BalancerId,
    pub name: String,
    pub port: u16,
    pub exposure: Exposure,
    /// Why it takes no connections; None: it takes them.
    pub trouble: Option<BalancerTrouble>,
    /// Since it was opened.
    pub counts: BalancerCounts,
    pub servers: Vec<ServerStatus>,
}

/// One server behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    pub service: ServiceId,
    pub address: SocketAddr,
    pub mode: BackendMode,
    pub condition: BackendCondition,
    /// Open now.
    pub connections: u32,
}

/// Those of the map of which anything is known.
pub(super) fn balancers(map: Option<&Netmap>, seen: &Balanced) -> Vec<BalancerStatus> {
    let known = seen.balancers.iter().filter_map(|report| {
        let balancer = map?.balancers.get(&report.balancer)?;
        let servers = balancer.backends.iter();
        Some(BalancerStatus {
            id: balancer.id,
            name: balancer.name.to_string(),
            port: balancer.port.number(),
            exposure: balancer.exposure,
            trouble: report.trouble.clone(),
            counts: report.counts,
            servers: servers.map(|it| server(balancer, it, seen)).collect(),
        })
    });
    known.collect()
}

fn server(balancer: &Balancer, backend: &Backend, seen: &Balanced) -> ServerStatus {
    let of_it = |it: &&malha_proto::BackendReport| {
        (it.balancer, it.service) == (balancer.id, backend.service)
    };
    let report = seen.backends.iter().find(of_it);
    ServerStatus {
        service: backend.service,
        address: backend.address,
        mode: backend.mode,
        condition: report.map_or(BackendCondition::Unproven, |it| it.condition),
        connections: report.map_or(0, |it| it.connections),
    }
}

impl BalancerStatus {
    /// Whether somebody who connects finds a server.
    pub(super) fn works(&self) -> bool {
        let serves = |it: &ServerStatus| {
            it.mode == BackendMode::Serve && it.condition != BackendCondition::Down
        };
        self.trouble.is_none() && self.servers.iter().any(serves)
    }

    pub(super) fn lines(&self, lang: Lang) -> Vec<String> {
        let exposure = words::exposure(lang, self.exposure);
        let mut lines = vec![words::status_balancer(
            lang, &self.name, self.port, exposure,
        )];
        if let Some(why) = &self.trouble {
            let why = words::trouble(lang, why);
            lines.push(words::status_balancer_trouble(lang, why));
        }
        let counts = &self.counts;
        let (rx, tx) = (size(counts.bytes_in), size(counts.bytes_out));
        lines.push(words::status_balancer_open(
            lang,
            counts.open,
            counts.taken,
            rx,
            tx,
        ));
        if counts.over_limit + counts.not_allowed + counts.unserved > 0 {
            lines.push(words::status_balancer_refused(
                lang,
                counts.over_limit,
                counts.not_allowed,
                counts.unserved,
            ));
        }
        for it in &self.servers {
            let condition = words::condition(lang, it.condition);
            let mode = words::mode(lang, it.mode);
            lines.push(words::status_backend(
                lang,
                it.address,
                condition,
                mode,
                it.connections,
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> BalancerStatus {
        BalancerStatus {
            id: BalancerId(9),
            name: "xroad".into(),
            port: 5500,
            exposure: Exposure::Public,
            trouble: None,
            counts: BalancerCounts {
                open: 2,
                taken: 40,
                not_allowed: 3,
                bytes_in: 1_536,
                ..BalancerCounts::default()
            },
            servers: vec![ServerStatus {
                service: ServiceId(5),
                address: ([100, 64, 0, 2], 5500).into(),
                mode: BackendMode::Drain,
                condition: BackendCondition::Up,
                connections: 2,
            }],
        }
    }

    #[test]
    fn a_balancer_says_whom_it_refused_and_how_its_servers_are() {
        assert_eq!(
            status().lines(Lang::En),
            [
                "  xroad (port 5500, public)",
                "    connections: 2 open of 40, received 1.5 KiB, sent 0 B",
                "    refused: 0 over a limit, 3 from a source not listed, 0 without a server",
                "    100.64.0.2:5500: up (draining), 2 connections",
            ]
        );
        let portuguese = status().lines(Lang::Pt).join("\n");
        assert!(portuguese.contains("pública") && portuguese.contains("no ar (esvaziando)"));
    }

    #[test]
    fn it_works_where_it_is_open_and_a_server_may_have_connections() {
        let mut it = status();
        assert!(!it.works(), "the only server drains");
        it.servers[0].mode = BackendMode::Serve;
        assert!(it.works());
        it.trouble = Some(BalancerTrouble::PortTaken);
        assert!(!it.works());
        let portuguese = it.lines(Lang::Pt).join("\n");
        assert!(portuguese.contains("não aceita conexões: outro programa ocupa a porta"));
        it.trouble = None;
        it.servers[0].condition = BackendCondition::Down;
        assert!(!it.works());
    }
}
