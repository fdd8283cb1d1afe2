//! Services: listed with what the last probe of each met, added and removed.

use std::net::SocketAddr;

use malha_core::{Command, Noun, Service};
use malha_proto::{Port, ServiceKind};
use malha_web::Viewer;
use malha_web::model::{
    Exposure, Listing, NewService, Outcome, Protocol, ROWS_MAX, Refused, ServiceId, ServiceRow,
};

use crate::console::census::Standing;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, missing, wrong};
use crate::console::sites::label;
use crate::console::{ControllerConsole, hops, text};

/// Services by the path of their node, then in the order in which they were added.
pub(super) fn list(console: &ControllerConsole) -> Listing<ServiceRow> {
    let census = console.census();
    let state = &census.state;
    let all = census.nodes.iter().flat_map(|standing| {
        state
            .services_of(standing.id)
            .map(move |service| row(standing, service))
    });
    Listing {
        rows: all.take(ROWS_MAX).collect(),
        total: state.services().len(),
    }
}

/// One service of a node.
pub(super) fn row(standing: &Standing, service: &Service) -> ServiceRow {
    let (probed, since) = hops::reach(standing, service.id);
    ServiceRow {
        id: service.id.to_string().into(),
        node: service.node.to_string().into(),
        node_path: standing.path.as_str().into(),
        name: service.name.as_str().into(),
        port: service.port.number(),
        protocol: Protocol::Tcp,
        target: service.target.to_string().into(),
        exposure: match service.exposure {
            malha_proto::Exposure::Tunnel => Exposure::Tunnel,
            malha_proto::Exposure::Public => Exposure::Public,
        },
        state: probed,
        since,
    }
}

pub(super) async fn add(
    console: &ControllerConsole,
    viewer: &Viewer,
    new: NewService,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let state = console.state();
    let node = new.node.as_str().parse().ok().and_then(|id| state.node(id));
    let node = node.ok_or_else(|| missing(Some("node"), Noun::Node, new.node.as_str()))?;
    let name = label("name", &new.name)?;
    let port = Port::new(new.port).ok_or_else(|| wrong("port", text::port_zero()))?;
    if new.protocol == Protocol::Udp {
        return Err(wrong("protocol", text::no_udp()));
    }
    let target: SocketAddr = new
        .target
        .parse()
        .map_err(|_| wrong("target", text::target(&new.target)))?;
    // What the public reaches, it reaches through the edge, which speaks HTTP.
    let (exposure, kind) = match new.exposure {
        Exposure::Tunnel => (malha_proto::Exposure::Tunnel, ServiceKind::Tcp),
        Exposure::Public => (malha_proto::Exposure::Public, ServiceKind::Http),
    };
    let command = Command::AddService {
        node: node.id,
        name,
        port,
        target,
        kind,
        exposure,
    };
    console.write(viewer, Form::SERVICE, command).await
}

pub(super) async fn remove(
    console: &ControllerConsole,
    viewer: &Viewer,
    id: &ServiceId,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Change)?;
    let id = id
        .as_str()
        .parse()
        .map_err(|_| missing(None, Noun::Service, id.as_str()))?;
    console
        .write(viewer, Form::BUTTON, Command::RemoveService { id })
        .await
}
