//! What is kept of a run: its report, and the evidence file that the overlay's authority signs.

use std::collections::BTreeMap;

use malha_check::{EvidenceError, Observation, Report, RunLink, Signer, Subject, write_evidence};
use malha_core::AuditName;
use malha_pki::Authority;
use malha_proto::OrganizationId;
use malha_store::audit::{AuditOutcome, AuditRecord};
use time::OffsetDateTime;

use super::CheckError;
use super::history::{History, RunSummary};
use super::vantage::NoOutside;
use crate::audit;
use crate::coordinator::Actor;

/// A run that is over.
pub(super) struct Run {
    pub(super) organization: OrganizationId,
    /// None: the schedule.
    pub(super) by: Option<String>,
    pub(super) started: OffsetDateTime,
    pub(super) subject: Subject,
    pub(super) observations: Vec<Observation>,
    /// Why nobody looked from outside, if nobody did.
    pub(super) no_outside: Option<NoOutside>,
}

/// Judges a run and keeps it, durably. It blocks.
pub(super) fn keep(
    run: Run,
    history: &History,
    authority: &Authority,
) -> Result<Report, CheckError> {
    let ended = OffsetDateTime::now_utc();
    let report = Report::new(&run.subject, &run.observations, run.started, ended);
    let signer = OverlayAuthority(authority);
    let link = history.next_link(run.organization);
    let evidence = write_evidence(&report, &run.subject, &run.observations, &link, &signer)?;
    let counts = report.counts();
    let summary = RunSummary {
        started_ms: milliseconds(run.started),
        ended_ms: milliseconds(ended),
        sequence: link.sequence,
        evidence_sha256: RunLink::sha256_of(evidence.as_bytes()),
        by: run.by,
        ok: counts.ok,
        findings: counts.findings,
        could_not_test: counts.could_not_test,
        no_outside: run.no_outside,
    };
    let json = serde_json::to_vec(&report).map_err(EvidenceError::from)?;
    history.add(run.organization, summary, &json, evidence.as_bytes())?;
    Ok(report)
}

/// The line of the audit log that a run is kept: with it, nobody can cut the newest runs off unseen.
pub(super) fn line(organization: OrganizationId, run: &RunSummary) -> AuditRecord {
    let (actor, target) = (Actor::controller(), organization.to_string());
    let accepted = AuditOutcome::Accepted;
    let mut line = audit::line(&actor, AuditName::CheckKeep, target, accepted, run.ended_ms);
    line.detail = BTreeMap::from([
        ("run".to_owned(), run.started_ms.to_string()),
        ("sequence".to_owned(), run.sequence.to_string()),
        ("evidence_sha256".to_owned(), run.evidence_sha256.clone()),
    ]);
    line
}

/// Milliseconds of the Unix epoch; 0 before it.
pub(super) fn milliseconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

struct OverlayAuthority<'a>(&'a Authority);

impl Signer for OverlayAuthority<'_> {
    fn certificate_der(&self) -> &[u8] {
        self.0.certificate_der()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let signed = self.0.sign_statement(message);
        signed.map_err(|error| error.to_string())
    }
}
