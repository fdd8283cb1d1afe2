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
    let port = |name: &str, ports: &[u16], who: &str, exposure: &str| ProfilePortRow {
        name: name.into(),
        protocol: "tcp".to_owned(),
        ports: ports.to_vec(),
        is_inbound: true,
        who: vec![who.to_owned()],
        exposure: exposure.to_owned(),
        probe: "tcp".to_owned(),
        releases: ">= 7.4".to_owned(),
    };
    let difference = |kind, port, exposure: &str| PortDifferenceRow {
        kind,
        port,
        is_inbound: true,
        on_internal: kind == PortDifferenceKind::NotInProfile,
        on_external: kind == PortDifferenceKind::TooOpen,
        exposure: exposure.to_owned(),
    };
    ProfileDetail {
        profile: Profile::SecurityServer,
        edited: None,
        ports: vec![
            port("messages", &[5500], "peers", "tunnel"),
            port("<b>inner</b>", &[5566, 5567], "nobody", "loopback"),
        ],
        differences: vec![
            difference(PortDifferenceKind::TooOpen, 9011, "never"),
            difference(PortDifferenceKind::NotInProfile, 8888, ""),
            difference(PortDifferenceKind::NotDeclared, 5588, "tunnel"),
        ],
    }
}
