//! Balancers of the world in memory.

use malha_web::model::*;

use super::rules::no_such;
use super::{MemoryConsole, World};

/// One whose second server is down, and one that could not be opened.
pub(super) fn fill(world: &mut World) {
    let server = |number: u8, condition, connections| ServerRow {
        service: format!("s{number}0").into(),
        path: format!("saude/producao/seguro-0{number}/xroad").into(),
        address: format!("100.64.0.{number}:5500").into(),
        mode: ServerMode::Serve,
        condition: Some(condition),
        connections,
    };
    let balancer = |id: &str, name: &str, port| BalancerRow {
        id: id.into(),
        name: name.into(),
        node: "n3".into(),
        node_path: "saude/producao/balanceador".into(),
        port,
        exposure: Exposure::Public,
        sources: vec!["198.51.100.0/24".into(), "2001:db8::/32".into()],
        servers: vec![
            server(3, ServerCondition::Up, 41),
            server(4, ServerCondition::Down, 0),
        ],
        live: Some(BalancerLive {
            open: 41,
            taken: 18_204,
            not_allowed: 7,
            ..BalancerLive::default()
        }),
    };
    let mut closed = balancer("b8", "ocsp", 5577);
    closed.sources.clear();
    for server in &mut closed.servers {
        server.condition = None;
        server.connections = 0;
    }
    closed.live = Some(BalancerLive {
        trouble: Some(BalancerTrouble::PortTaken),
        ..BalancerLive::default()
    });
    world.balancers = vec![balancer("b7", "xroad", 5500), closed];
}

pub(super) fn set_mode(
    console: &MemoryConsole,
    balancer: &BalancerId,
    service: &ServiceId,
    mode: ServerMode,
) -> Result<Outcome, Refused> {
    let subject = balancer.as_str();
    console.write(Topic::Balancers, Action::ServerModeSet, subject, |world| {
        let mut servers = world
            .balancers
            .iter_mut()
            .filter(|it| it.id == *balancer)
            .flat_map(|it| &mut it.servers);
        let server = servers.find(|it| it.service == *service);
        server.ok_or_else(|| no_such("service"))?.mode = mode;
        Ok(())
    })
}
