//! What the configuration says of the overlay, brought into the state at each start: addresses, and the hub's own node.

use std::net::SocketAddr;

use malha_core::{Answer, Command};
use malha_proto::{Fingerprint, MachineFacts, MachineId, NodeId, WgKey};

use crate::config::Config;
use crate::coordinator::{Actor, Handle};

/// Brings the state in line with the configuration: addresses, and the hub's node.
pub(super) async fn settle(
    config: &Config,
    handle: &Handle,
    wg_key: WgKey,
    authority: Fingerprint,
    endpoints: Vec<SocketAddr>,
) -> anyhow::Result<NodeId> {
    let submit = async |command| {
        handle
            .submit(command, Actor::controller(), None)
            .await
            .map(|accepted| accepted.answer)
    };
    let state = handle.state();
    if state.settings().controllers != config.control.addresses {
        submit(Command::SetControllers {
            controllers: config.control.addresses.clone(),
        })
        .await?;
    }
    if state.settings().edge_addresses != config.edge.addresses {
        submit(Command::SetEdgeAddresses {
            addresses: config.edge.addresses.clone(),
        })
        .await?;
    }
    let organization = match state.organization_by_name(OWN_ORGANIZATION) {
        Some(organization) => organization.id,
        None => {
            let name = OWN_ORGANIZATION.parse()?;
            match submit(Command::CreateOrganization {
                name,
                display_name: "Malha".to_owned(),
            })
            .await?
            {
                Answer::Organization(id) => id,
                other => anyhow::bail!("creating the hub's organization gave {other:?}"),
            }
        }
    };
    let site = match state.site_by_path(&format!("{OWN_ORGANIZATION}/{HUB_SITE}")) {
        Some(site) => site.id,
        None => {
            let name = HUB_SITE.parse()?;
            match submit(Command::CreateSite {
                organization,
                name,
                display_name: "Hub".to_owned(),
            })
            .await?
            {
                Answer::Site(id) => id,
                other => anyhow::bail!("creating the hub's site gave {other:?}"),
            }
        }
    };
    let adopt = Command::AdoptHub {
        site,
        name: HUB_NODE.parse()?,
        wg_key,
        tls_key: authority,
        endpoints,
        facts: own_facts(),
    };
    match submit(adopt).await? {
        Answer::Node(id) => Ok(id),
        other => anyhow::bail!("adopting the hub gave {other:?}"),
    }
}

fn own_facts() -> MachineFacts {
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned();
    MachineFacts {
        host_name,
        machine: MachineId([0; 16]),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        os: std::env::consts::OS.to_owned(),
        engine: None,
    }
}

/// The organization, site and node of the hub.
pub const OWN_ORGANIZATION: &str = "malha";
const HUB_SITE: &str = "hub";
const HUB_NODE: &str = "hub";
