//! `malha status` and `malha audit tail`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use malha_store::audit::AuditOutcome;

use crate::api::{AuditLine, AuditPage, HubInterface, HubStatus, Status};
use crate::cli::exit::Failure;
use crate::cli::nodes::broken_hop;
use crate::cli::screen::{Screen, size};
use crate::cli::session::{Row, Session, parse};
use crate::cli::text::{self, Lang, Word};

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
        let interface = interface_lines(&self.hub.interface, screen.lang);
        let broken = self
            .broken
            .iter()
            .map(|node| format!("{}: {}", node.node, broken_hop(&node.broken, screen)));
        let interface = interface.map(|line| (Word::Hub, line));
        interface
            .chain(broken.map(|line| (Word::Broken, line)))
            .collect()
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

/// None where there is nothing to say.
fn interface_lines(interface: &HubInterface, lang: Lang) -> impl Iterator<Item = String> {
    let mended = match (&interface.trouble, interface.mended) {
        (Some(why), _) => Some(text::hub_interface_trouble(lang, why)),
        (None, 0) => None,
        (None, times) => Some(text::hub_interface_mended(lang, times)),
    };
    let ipv4_only = interface.ipv4_only.as_ref();
    let ipv4_only = ipv4_only.map(|why| text::hub_ipv4_only(lang, why));
    mended.into_iter().chain(ipv4_only)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(interface: &HubInterface, lang: Lang) -> Vec<String> {
        interface_lines(interface, lang).collect()
    }

    #[test]
    fn what_others_did_to_the_hubs_interface_is_said_in_both_languages() {
        let mut interface = HubInterface::default();
        assert!(said(&interface, Lang::En).is_empty());
        interface.mended = 2;
        let mended = said(&interface, Lang::En);
        assert!(
            mended[0].ends_with("times that it was set again: 2"),
            "{mended:?}"
        );
        interface.trouble = Some("EPERM".into());
        interface.ipv4_only = Some("EACCES".into());
        for lang in [Lang::Pt, Lang::En] {
            let [trouble, ipv4_only] = &said(&interface, lang)[..] else {
                panic!("two lines");
            };
            assert!(trouble.ends_with("EPERM"), "{trouble}");
            assert!(ipv4_only.ends_with("EACCES"), "{ipv4_only}");
        }
    }
}
