//! Which packets pass: a tunnel carries one when both ends are configured with each other's present key and the receiver lets
//! the sender open that port. Without any controller.

use std::collections::BTreeSet;

use malha_proto::{Allow, Netmap, NodeId, Protocol, WgKey};

use super::Fleet;
use super::agenda::BoxId;
use super::failure::Broken;
use super::oracle::{allowed, covers};

/// A packet that a node may send to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    pub(super) from: BoxId,
    pub(super) to: BoxId,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

/// One end of tunnels: its key and what it is configured with.
struct End<'a> {
    node: NodeId,
    key: WgKey,
    map: &'a Netmap,
}

impl Fleet {
    /// The flows between settled machines, noted when the controller dies: all of them must go on.
    pub(super) fn lasting_flows(&self) -> BTreeSet<Flow> {
        let settled: Vec<BoxId> = self
            .ids()
            .filter(|id| self.is_settled(*id) && self.is_alone(*id))
            .collect();
        let pairs = settled
            .iter()
            .flat_map(|from| settled.iter().map(move |to| (*from, *to)));
        let flows = pairs
            .filter(|(from, to)| from != to)
            .flat_map(|(from, to)| {
                PACKETS.iter().map(move |(protocol, port)| Flow {
                    from,
                    to,
                    protocol: *protocol,
                    port: *port,
                })
            });
        flows.filter(|flow| self.flows(*flow)).collect()
    }

    /// What flowed when the controller died still flows, wherever both machines run.
    pub(super) fn check_lasting_flows(&self) -> Result<(), Broken> {
        let broken = self.lasting.iter().find(|flow| {
            let both_run = self.plane_stands(flow.from) && self.plane_stands(flow.to);
            both_run && !self.flows(**flow)
        });
        match broken {
            Some(flow) => Err(Broken::new(format!(
                "{flow:?} ({} to {}) died with the controller",
                self.called(flow.from),
                self.called(flow.to)
            ))),
            None => Ok(()),
        }
    }

    /// Between the present nodes exactly that passes which the rules allow, the hub's packets included.
    pub(super) fn check_traffic(&self) -> Result<(), Broken> {
        let state = self.controller.committed();
        let hub_map = state.netmap(self.controller.hub);
        let hub = state.node(self.controller.hub).zip(hub_map.as_ref());
        let hub = hub.map(|(node, map)| End {
            node: node.id,
            key: node.wg_key,
            map,
        });
        let online = self
            .ids()
            .filter(|id| self.is_present(*id))
            .filter_map(|id| self.end(id));
        let ends: Vec<End> = online.chain(hub).collect();
        for from in &ends {
            for to in &ends {
                let (Some(one), Some(other)) = (state.node(from.node), state.node(to.node)) else {
                    continue;
                };
                let allows = allowed(state, one, other);
                let wrong = PACKETS.iter().find(|(protocol, port)| {
                    passes(from, to, *protocol, *port) != covers(&allows, *protocol, *port)
                });
                if let Some((protocol, port)) = wrong {
                    return Err(Broken::new(format!(
                        "{protocol:?} {port} from {} to {}: the rules say {allows:?}",
                        from.node, to.node
                    )));
                }
            }
        }
        Ok(())
    }

    fn flows(&self, flow: Flow) -> bool {
        let ends = self.end(flow.from).zip(self.end(flow.to));
        ends.is_some_and(|(from, to)| passes(&from, &to, flow.protocol, flow.port))
    }

    fn end(&self, id: BoxId) -> Option<End<'_>> {
        let machine = &self.machines[id.0];
        let plane = &machine.process.as_ref()?.plane;
        Some(End {
            node: machine.node()?,
            key: plane.key,
            map: plane.map.as_deref()?,
        })
    }

    /// The tunnel is up, as far as the disk had a map for it.
    fn plane_stands(&self, id: BoxId) -> bool {
        let process = self.machines[id.0].process.as_ref();
        process.is_some_and(|process| process.plane.map.is_some() && process.orders.is_empty())
    }
}

fn passes(from: &End, to: &End, protocol: Protocol, port: u16) -> bool {
    let knows = from.map.peers.values().any(|peer| peer.key == to.key);
    let peer = to.map.peers.values().find(|peer| peer.key == from.key);
    let allows: Option<&Vec<Allow>> = peer.map(|peer| &peer.allow);
    knows && allows.is_some_and(|allows| covers(allows, protocol, port))
}

/// What is tried between every two machines; the schedule's grants and services are around these.
pub(super) const PACKETS: [(Protocol, u16); 8] = [
    (Protocol::Tcp, 80),
    (Protocol::Tcp, 443),
    (Protocol::Tcp, 5_500),
    (Protocol::Tcp, 5_577),
    (Protocol::Tcp, 22),
    (Protocol::Udp, 53),
    (Protocol::Udp, 5_500),
    (Protocol::Icmp, 0),
];
