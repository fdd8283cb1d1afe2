//! A balancer's part of the rolls: new ones, other backends, other modes, their end.

use malha_core::{BalancerSettings, Command};
use malha_proto::{BackendMode, BalancerId, Exposure, HealthPort, Port};

use super::World;
use super::dice::nth;
use super::label;

impl World {
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
