//! Machines whose certificate is no longer their node's: a former box, or a copy of a disk that has stayed behind for longer than the
//! node remembers keys. They get no session; the operator gets a line in the audit log. It turns nobody away itself.

use std::net::SocketAddr;

use malha_core::limits::MAX_FACT_CHARS;
use malha_core::{AuditName, Rejection};
use malha_proto::{MachineFacts, NodeId, RefusalCode};
use malha_store::audit::AuditOutcome;

use crate::audit::line;
use crate::clock::now_ms;
use crate::coordinator::{Actor, Handle, SubmitError};
use crate::rate::RateLimit;

/// Notes a hello that was refused in this way, unless the node has had a line of its own lately.
pub(super) async fn note(
    handle: &Handle,
    limit: &RateLimit<NodeId>,
    (node, facts, source): (NodeId, &MachineFacts, SocketAddr),
    error: &SubmitError,
) {
    let SubmitError::Rejected(Rejection::Refused {
        code: RefusalCode::Replaced,
        text,
    }) = error
    else {
        return;
    };
    let now_ms = now_ms();
    if limit.take(&node, now_ms).is_err() {
        return;
    }
    let actor = Actor::node(node, source.ip());
    let (name, target) = (AuditName::NodeTurnedAway, node.to_string());
    let mut line = line(&actor, name, target, AuditOutcome::Refused, now_ms);
    let plain = facts.host_name.chars().filter(|it| !it.is_control());
    line.detail = [
        ("host_name", plain.take(MAX_FACT_CHARS).collect()),
        ("machine", facts.machine.to_string()),
        ("why", text.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    tracing::warn!(%node, "a machine was turned away: its certificate is no longer this node's");
    if let Err(error) = handle.note(line).await {
        tracing::warn!(%error, "the audit log does not tell of a machine that was turned away");
    }
}

#[cfg(test)]
mod tests {
    use malha_core::Command;
    use malha_proto::{Fingerprint, Lease};

    use super::*;
    use crate::api::tests::rig::{Rig, facts};
    use crate::session::limits::{TURNED_AWAY_BURST, TURNED_AWAY_INTERVAL_MS};

    #[tokio::test]
    async fn of_a_copy_that_is_too_far_behind_the_operator_hears_once_in_a_while() {
        let rig = Rig::furnished().await;
        let handle = &rig.context.handle;
        let node = rig.state().node_by_path("sefaz/producao/ss-1").unwrap().id;
        let (facts, source) = (facts("velho", 7), "198.51.100.7:4711".parse().unwrap());
        let hello = || Command::OpenSession {
            node,
            tls_key: Fingerprint([77; 32]),
            lease: Lease([7; 16]),
            instance: 99,
            facts: facts.clone(),
            source: Some(source),
            live: None,
        };
        let limit = RateLimit::new(TURNED_AWAY_BURST, TURNED_AWAY_INTERVAL_MS);
        for _ in 0..TURNED_AWAY_BURST + 3 {
            let actor = Actor::node(node, source.ip());
            let answer = handle.submit(hello(), actor, None).await;
            let error = answer.err().unwrap();
            note(handle, &limit, (node, &facts, source), &error).await;
        }
        // A controller that is closing has turned nobody away.
        note(handle, &limit, (node, &facts, source), &SubmitError::Closed).await;
        let name = AuditName::NodeTurnedAway.as_str();
        let mut told: Vec<_> = handle.audit_tail(50).await.unwrap();
        told.retain(|it| it.record.action == name);
        assert_eq!(told.len() as u64, TURNED_AWAY_BURST);
        let line = &told[0].record;
        assert_eq!(
            (&line.target, &line.source[..]),
            (&node.to_string(), "198.51.100.7")
        );
        assert_eq!(line.outcome, AuditOutcome::Refused);
        assert!(line.detail["why"].contains("certificate was replaced"));
        assert_eq!(line.detail["host_name"], "velho");
    }
}
