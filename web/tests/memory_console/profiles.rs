//! Profiles of the memory console: one, with ports and differences.

use async_trait::async_trait;
use malha_web::model::*;
use malha_web::{ProfileConsole, Viewer};

use super::MemoryConsole;

#[async_trait]
impl ProfileConsole for MemoryConsole {
    async fn profiles(&self, _: &Viewer) -> Result<Vec<ProfileDetail>, Unreadable> {
        self.read(|world| {
            let mut shown = security_server();
            if let (Some(port), Some(name)) = (shown.ports.first_mut(), &world.port_name) {
                port.name = name.clone();
            }
            vec![shown]
        })
    }
}

fn security_server() -> ProfileDetail {
    let port = |name: &str, ports: &[u16], who: Party, exposure: PortExposure| ProfilePortRow {
        name: name.into(),
        protocol: "tcp".to_owned(),
        ports: ports.to_vec(),
        is_inbound: true,
        who: vec![who],
        exposure,
        probe: PortProbe::Tcp,
        since: Some("7.4".to_owned()),
        before: None,
    };

    ProfileDetail {
        profile: Profile::SecurityServer,
        edited: None,
        ports: vec![
            port("messages", &[5500], Party::Peers, PortExposure::Tunnel),
            port(
                "<b>inner</b>",
                &[5566, 5567],
                Party::Nobody,
                PortExposure::Loopback,
            ),
        ],
        differences: differences(),
    }
}

/// One of each kind.
pub(super) fn differences() -> Vec<PortDifferenceRow> {
    let difference = |kind, port, exposure| PortDifferenceRow {
        kind,
        port,
        is_inbound: true,
        on_internal: kind == PortDifferenceKind::NotInProfile,
        on_external: kind == PortDifferenceKind::TooOpen,
        exposure,
    };
    vec![
        difference(PortDifferenceKind::TooOpen, 9011, Some(PortExposure::Never)),
        difference(PortDifferenceKind::NotInProfile, 8888, None),
        difference(
            PortDifferenceKind::NotDeclared,
            5588,
            Some(PortExposure::Tunnel),
        ),
    ]
}
