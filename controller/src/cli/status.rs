//! `malha status` and `malha audit tail`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use malha_store::audit::AuditOutcome;

use crate::api::{AuditLine, AuditPage, HubStatus, Status};
use crate::cli::exit::Failure;
use crate::cli::nodes::broken_hop;
use crate::cli::screen::{Screen, size};
use crate::cli::session::{Row, Session, parse};
use crate::cli::text::Word;

/// The controller at a glance.
pub(super) async fn status(session: &Session) -> Result<(), Failure> {
    session.show::<Status>("/status").await
}

/// The newest lines of the audit log.
pub(super) async fn audit_tail(session: &Session, lines: u16) -> Result<(), Failure> {
    let value = session
        .client()
        .read(&format!("/audit?limit={lines}"))
        .await?;
    if session.screen.json {
        session.screen.json(&value);
        return Ok(());
    }
    let page: AuditPage = parse(value)?;
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|line| line.cells(&session.screen))
        .collect();
    session.screen.table(AuditLine::COLUMNS, &rows);
    Ok(())
}

impl Row for Status {
    const COLUMNS: &'static [Word] = &[
        Word::Version,
        Word::Revision,
        Word::Started,
        Word::Store,
        Word::Hub,
        Word::Nodes,
        Word::Organizations,
        Word::Sites,
        Word::Services,
        Word::Routes,
        Word::Zones,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        let store = match &self.store.cause {
            None => screen.word(Word::Serving),
            Some(cause) => cause.clone(),
        };
        let store_size = self
            .store
            .file_bytes
            .map(|bytes| format!(", {}", size(bytes)))
            .unwrap_or_default();
        let nodes = &self.nodes;
        let nodes = [
            (nodes.connected, Word::Control),
            (nodes.broken, Word::Broken),
            (nodes.quarantined, Word::Quarantine),
        ]
        .into_iter()
        .fold(nodes.all.to_string(), |line, (count, word)| {
            format!("{line} · {} {count}", screen.word(word))
        });
        vec![
            self.version.clone(),
            self.revision.to_string(),
            screen.moment(self.started_ms),
            format!("{}: {store}{store_size}", self.store.engine),
            hub_line(&self.hub),
            nodes,
            self.organizations.to_string(),
            self.sites.to_string(),
            self.services.to_string(),
            self.routes.to_string(),
            self.zones.to_string(),
        ]
    }

    fn details(&self, screen: &Screen) -> Vec<(Word, String)> {
        let lines = self
            .broken
            .iter()
            .map(|node| format!("{}: {}", node.node, broken_hop(&node.broken, screen)));
        lines.map(|line| (Word::Broken, line)).collect()
    }
}

/// The engine, and the ports of each protocol; a port that both name is one socket.
fn hub_line(hub: &HubStatus) -> String {
    let ports = |sockets: &[SocketAddr]| {
        let ports: BTreeSet<u16> = sockets.iter().map(SocketAddr::port).collect();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        ports.join(", ")
    };
    let (wireguard, quic) = (ports(&hub.wireguard), ports(&hub.quic));
    format!(
        "{} · WireGuard UDP {wireguard} · QUIC UDP {quic}",
        hub.engine
    )
}

impl Row for AuditLine {
    const COLUMNS: &'static [Word] = &[
        Word::Id,
        Word::When,
        Word::Actor,
        Word::Action,
        Word::To,
        Word::Outcome,
        Word::Revision,
        Word::Data,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        let outcome = match self.outcome {
            AuditOutcome::Accepted => Word::Accepted,
            AuditOutcome::Refused => Word::Refused,
            AuditOutcome::Failed => Word::Failed,
        };
        let detail: Vec<String> = self
            .detail
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        vec![
            self.sequence.to_string(),
            screen.moment(self.at_ms),
            self.actor.clone(),
            self.action.clone(),
            self.target.clone(),
            screen.word(outcome),
            self.revision
                .map(|revision| revision.to_string())
                .unwrap_or_default(),
            detail.join(" "),
        ]
    }
}
