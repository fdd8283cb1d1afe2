//! What an operator would create for the demo, through the public door and in the order in which a person would; on a second
//! run in the same folder, what is there is kept.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use malha_core::{Answer, Command, Scope, State};
use malha_proto::{
    EnrolToken, Exposure, Label, NodeId, OrganizationId, Port, Profile, RouteId, ServiceId,
    ServiceKind, SiteId,
};

use super::check::HopResult;
use super::ports::{Ports, loopback};
use super::world::HOST;
use crate::accounts::{self, api_key_text};
use crate::coordinator::Actor;
use crate::folder;
use crate::serve::Running;

async fn submit(running: &Running, command: Command) -> anyhow::Result<Answer> {
    let actor = Actor {
        name: "demo".to_owned(),
        source: None,
    };
    Ok(running.handle.submit(command, actor, None).await?.answer)
}

/// Makes the first operator, or finds that there is one.
pub(super) async fn first_operator(running: &Running) -> anyhow::Result<Option<String>> {
    if running.handle.state().operator_by_name(OPERATOR).is_some() {
        return Ok(None);
    }
    let password = accounts::random_password()?;
    let password_hash = accounts::hash_password(&password)?;
    let role = malha_core::Role::Owner;
    submit(
        running,
        Command::AddOperator {
            name: OPERATOR.parse()?,
            password_hash,
            role,
        },
    )
    .await?;
    Ok(Some(password))
}

/// Leaves an API key for the CLI in the data folder, or finds one there. A key whose file is gone is replaced.
pub(super) async fn cli_key(running: &Running, data: &Path) -> anyhow::Result<()> {
    let file = folder::admin_key_file(data);
    if file.exists() {
        return Ok(());
    }
    let name: Label = CLI_KEY.parse()?;
    let state = running.handle.state();
    if let Some(lost) = state.api_keys().find(|key| key.name == name) {
        submit(running, Command::RemoveApiKey { id: lost.id }).await?;
    }
    let command = Command::AddApiKey {
        name,
        scopes: [Scope::Admin].into(),
        expires_ms: None,
        operator: None,
    };
    let Answer::ApiKey { secret, .. } = submit(running, command).await? else {
        bail!("no API key came")
    };
    Ok(folder::write_secret(&file, &api_key_text(&secret))?)
}

pub(super) async fn site(running: &Running) -> anyhow::Result<SiteId> {
    let state = running.handle.state();
    let organization = organization(running, &state).await?;
    if let Some(site) = state.site_by_path(&format!("{ORGANIZATION}/{SITE}")) {
        return Ok(site.id);
    }
    let name: Label = SITE.parse()?;
    let display_name = "Garagem 01".to_owned();
    match submit(
        running,
        Command::CreateSite {
            organization,
            name,
            display_name,
        },
    )
    .await?
    {
        Answer::Site(id) => Ok(id),
        other => bail!("creating the site gave {other:?}"),
    }
}

async fn organization(running: &Running, state: &State) -> anyhow::Result<OrganizationId> {
    if let Some(organization) = state.organization_by_name(ORGANIZATION) {
        return Ok(organization.id);
    }
    let name: Label = ORGANIZATION.parse()?;
    let display_name = "Estacionamentos Demo".to_owned();
    match submit(running, Command::CreateOrganization { name, display_name }).await? {
        Answer::Organization(id) => Ok(id),
        other => bail!("creating the organization gave {other:?}"),
    }
}

pub(super) async fn token(running: &Running, site: SiteId) -> anyhow::Result<(EnrolToken, String)> {
    let command = Command::CreateToken {
        site,
        profile: Profile::Garage,
        uses: 1,
        ttl_s: TOKEN_TTL_S,
    };
    let Answer::Token { id, secret } = submit(running, command).await? else {
        bail!("no token came")
    };
    let controllers = running.handle.state().settings().controllers.clone();
    let token = EnrolToken {
        id,
        secret,
        authority: running.overlay_authority,
        controllers,
    };
    Ok((token, format!("{id}, single use, {} min", TOKEN_TTL_S / 60)))
}

/// On a second run in the same folder the node is enrolled already.
pub(super) fn kept_token(node: NodeId) -> HopResult {
    HopResult {
        hop: "token",
        ok: true,
        millis: 0,
        detail: format!("not needed, {node} enrolled in a former run"),
    }
}

pub(super) async fn enrolled(running: &Running, site: SiteId) -> anyhow::Result<(NodeId, String)> {
    let mut state = running.handle.watch();
    let found = state
        .wait_for(|state| state.nodes_of(site).next().is_some())
        .await?;
    let node = found
        .nodes_of(site)
        .next()
        .context("the node is gone again")?;
    Ok((node.id, format!("{} is {}", node.id, node.addresses.v4)))
}

pub(super) async fn handshake(running: &Running, node: NodeId) -> anyhow::Result<((), String)> {
    let start = Instant::now();
    let mut changes = running.live.changes();
    while running
        .live
        .tunnel(node)
        .and_then(|tunnel| tunnel.handshake_ms)
        .is_none()
    {
        changes.changed().await?;
    }
    Ok((
        (),
        format!("WireGuard, after {} ms", start.elapsed().as_millis()),
    ))
}

/// Names the garage's web server as a service and gives it its public host name, unless a former run did.
pub(super) async fn publish(
    running: &Running,
    node: NodeId,
    ports: &Ports,
) -> anyhow::Result<ServiceId> {
    let state = running.handle.state();
    let origin = HOST.split_once('.').map(|(_, zone)| zone).unwrap_or(HOST);
    let origin: malha_zone::ZoneName = origin.parse()?;
    if state.zone(&origin).is_none() {
        let name_servers = vec![format!("ns.{origin}").trim_end_matches('.').parse()?];
        let contact = format!("hostmaster.{origin}")
            .trim_end_matches('.')
            .parse()?;
        submit(
            running,
            Command::AddZone {
                origin,
                name_servers,
                contact,
            },
        )
        .await?;
    }
    let service = match state.services_of(node).next() {
        Some(service) => service.id,
        None => add_service(running, node, ports).await?,
    };
    if !state.routes().any(|route| route.host.as_str() == HOST) {
        add_route(running, service).await?;
    }
    Ok(service)
}

/// Waits until edge and DNS serve what was written.
pub(super) async fn served(running: &Running) -> anyhow::Result<()> {
    let written = running.handle.state().revision();
    running
        .published
        .clone()
        .wait_for(|served| *served >= written)
        .await?;
    Ok(())
}

async fn add_service(running: &Running, node: NodeId, ports: &Ports) -> anyhow::Result<ServiceId> {
    let command = Command::AddService {
        node,
        name: "web".parse()?,
        port: Port::new(80).context("port 80")?,
        target: loopback(ports.garage_port),
        kind: ServiceKind::Http,
        exposure: Exposure::Public,
    };
    match submit(running, command).await? {
        Answer::Service(id) => Ok(id),
        other => bail!("adding the service gave {other:?}"),
    }
}

async fn add_route(running: &Running, service: ServiceId) -> anyhow::Result<RouteId> {
    let command = Command::AddRoute {
        host: HOST.parse()?,
        path: "/".to_owned(),
        services: [service].into_iter().collect(),
    };
    match submit(running, command).await? {
        Answer::Route(id) => Ok(id),
        other => bail!("adding the route gave {other:?}"),
    }
}

pub(super) const OPERATOR: &str = "admin";
const CLI_KEY: &str = "cli";
const ORGANIZATION: &str = "demo";
const SITE: &str = "garagem-01";
const TOKEN_TTL_S: u64 = 600;
