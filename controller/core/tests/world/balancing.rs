//! A balancer's part of the rolls: new ones, other backends, other modes, their end.

use malha_core::{Answer, BalancerSettings, Command};
use malha_proto::{
    BackendMode, BalancerId, Exposure, HealthPort, NodeId, Port, Profile, ServiceId,
};

use super::World;
use super::dice::nth;
use super::label;

impl World {
    /// Two machines that balance: one over services of two nodes with a health port, the other over one of these and without.
    pub(crate) fn furnish_balancers(&mut self) -> Vec<BalancerId> {
        let site = self.state.sites().next().unwrap().id;
        let garages = self
            .state
            .nodes()
            .filter(|it| it.profile == Profile::Garage);
        let garages: Vec<NodeId> = garages.map(|it| it.id).take(2).collect();
        let first = self.service(garages[0], "mensagens", 82, Exposure::Tunnel);
        let second = self.service(garages[1], "mensagens", 5_500, Exposure::Public);
        let health = HealthPort {
            port: Port::new(5_577).unwrap(),
            path: "/".to_owned(),
        };
        let kinds = [
            (150, vec![first, second], Some(health)),
            (151, vec![second], None),
        ];
        let add = |(machine, backends, health): (u8, Vec<ServiceId>, Option<HealthPort>)| {
            let command = Command::AddBalancer {
                node: self.enrol(site, Profile::Balancer, machine),
                name: label("bal"),
                port: Port::new(5_500).unwrap(),
                exposure: Exposure::Tunnel,
                backends: backends.into_iter().collect(),
                settings: BalancerSettings {
                    health,
                    ..BalancerSettings::default()
                },
            };
            match self.run(command).unwrap().answer {
                Answer::Balancer(id) => id,
                other => panic!("{other:?}"),
            }
        };
        kinds.into_iter().map(add).collect()
    }

    /// One command about balancers, good or bad.
    pub(super) fn balancing(&self, kind: u8, a: u8, b: u8, c: u8) -> Command {
        let id = nth(self.state.balancers().map(|it| it.id), a).unwrap_or(BalancerId(1));
        let backends = (0..b % 4).map(|n| self.service_id(c.wrapping_add(n)));
        let mut settings = BalancerSettings::default();
        if c.is_multiple_of(3) {
            settings.health = Some(HealthPort {
                port: Port::new(5_588).unwrap(),
                path: if c == 0 { "no path" } else { "/" }.to_owned(),
            });
        }
        match kind {
            46 | 47 => Command::AddBalancer {
                node: self.node(a),
                name: label(&format!("bal-{}", b % 3)),
                port: Port::new(u16::from(c % 6) + 82).unwrap(),
                exposure: Exposure::Tunnel,
                backends: backends.collect(),
                settings,
            },
            48 if b.is_multiple_of(2) => Command::SetBackendMode {
                id,
                service: self.service_id(c),
                mode: BackendMode::Drain,
            },
            48 => Command::SetBalancer {
                id,
                backends: backends.collect(),
                settings,
            },
            _ => Command::RemoveBalancer { id },
        }
    }
}
