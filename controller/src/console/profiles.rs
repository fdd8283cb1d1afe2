//! The profiles on the dashboard: each role's ports, and where the requirement asks for others.

use async_trait::async_trait;
use malha_core::State;
use malha_core::profile::{
    DifferenceKind, Direction, Network, Party, PortDifference, PortExposure, PortProbe, PortSpec,
    port_differences, seed_ports,
};
use malha_web::model::{
    self, PortDifferenceKind, PortDifferenceRow, Profile, ProfileDetail, ProfilePortRow, Unreadable,
};
use malha_web::{ProfileConsole, Viewer};

use crate::console::{ControllerConsole, moment, tokens};

#[async_trait]
impl ProfileConsole for ControllerConsole {
    async fn profiles(&self, _: &Viewer) -> Result<Vec<ProfileDetail>, Unreadable> {
        let state = self.state();
        let all = malha_core::profile::PROFILES;
        Ok(all.map(|profile| detail(&state, profile)).into())
    }
}

fn detail(state: &State, profile: malha_proto::Profile) -> ProfileDetail {
    let spec = state.profile_spec(profile);
    let profile_shown = tokens::profile(profile);
    // The requirement speaks of security servers alone.
    let differences = match profile_shown {
        Profile::SecurityServer => port_differences(&spec, None, seed_ports()),
        _ => Vec::new(),
    };
    ProfileDetail {
        profile: profile_shown,
        edited: state
            .edited_profile(profile)
            .map(|it| moment::at(it.edited_ms)),
        ports: spec.ports.iter().map(port).collect(),
        differences: differences.iter().map(difference).collect(),
    }
}

fn port(it: &PortSpec) -> ProfilePortRow {
    ProfilePortRow {
        name: it.name.as_str().into(),
        protocol: word(&it.protocol),
        ports: it.ports.iter().map(|port| port.number()).collect(),
        is_inbound: it.direction == Direction::In,
        who: it.who.iter().copied().map(party).collect(),
        exposure: exposure(it.exposure),
        probe: probe(it.probe),
        since: it.since.map(|release| release.to_string()),
        before: it.before.map(|release| release.to_string()),
    }
}

pub(super) fn difference(it: &PortDifference) -> PortDifferenceRow {
    PortDifferenceRow {
        kind: match it.kind {
            DifferenceKind::TooOpen => PortDifferenceKind::TooOpen,
            DifferenceKind::NotInProfile => PortDifferenceKind::NotInProfile,
            DifferenceKind::NotDeclared => PortDifferenceKind::NotDeclared,
        },
        port: it.port.number(),
        is_inbound: it.direction == Direction::In,
        on_internal: it.declared.contains(&Network::Internal),
        on_external: it.declared.contains(&Network::External),
        exposure: it.entry.as_ref().map(|entry| exposure(entry.exposure)),
    }
}

fn party(it: Party) -> model::Party {
    match it {
        Party::Peers => model::Party::Peers,
        Party::Central => model::Party::Central,
        Party::InformationSystems => model::Party::InformationSystems,
        Party::Operators => model::Party::Operators,
        Party::Balancer => model::Party::Balancer,
        Party::Cluster => model::Party::Cluster,
        Party::TrustServices => model::Party::TrustServices,
        Party::Anyone => model::Party::Anyone,
        Party::Nobody => model::Party::Nobody,
    }
}

fn exposure(it: PortExposure) -> model::PortExposure {
    match it {
        PortExposure::Tunnel => model::PortExposure::Tunnel,
        PortExposure::Public => model::PortExposure::Public,
        PortExposure::Loopback => model::PortExposure::Loopback,
        PortExposure::Never => model::PortExposure::Never,
    }
}

fn probe(it: PortProbe) -> model::PortProbe {
    match it {
        PortProbe::Tcp => model::PortProbe::Tcp,
        PortProbe::TlsClientCertificate => model::PortProbe::TlsClientCertificate,
        PortProbe::Http => model::PortProbe::Http,
        PortProbe::Https => model::PortProbe::Https,
        PortProbe::Health => model::PortProbe::Health,
        PortProbe::None => model::PortProbe::None,
    }
}

/// As a profile's text writes it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}
