//! Checks of the memory console: one organization with a finding, something untested and an older run, one that only declared.

use async_trait::async_trait;
use malha_web::model::*;
use malha_web::{Bilingual, ComplianceConsole, Viewer};
use time::{Duration, OffsetDateTime};

use super::MemoryConsole;
use super::rules::no_such;

/// The runs of `sedec`, the newest first.
pub(crate) const NEWEST_RUN: u64 = 2_000;
pub(crate) const OLDER_RUN: u64 = 1_000;

#[async_trait]
impl ComplianceConsole for MemoryConsole {
    async fn compliance(&self, _: &Viewer) -> Result<Listing<ComplianceRow>, Unreadable> {
        self.peek(|world| match world.checked {
            false => Ok(Vec::new().into()),
            true => Ok(vec![row("sedec", Some(run(NEWEST_RUN))), row("sefaz", None)].into()),
        })
    }

    async fn compliance_of(
        &self,
        _: &Viewer,
        organization: &str,
        number: Option<u64>,
    ) -> Result<ComplianceDetail, Unreadable> {
        if !["sedec", "sefaz"].contains(&organization) {
            return Err(Unreadable::NotFound);
        }
        let is_checked = organization == "sedec";
        let shown = number.unwrap_or(NEWEST_RUN);
        let runs: Vec<CheckRun> = match is_checked {
            true => vec![run(NEWEST_RUN), run(OLDER_RUN)],
            false => Vec::new(),
        };
        Ok(ComplianceDetail {
            organization: organization.to_owned(),
            display_name: "Secretaria <de> Exemplo".into(),
            declared: Some((moment(), "key:admin".into())),
            standing: self.peek(|world| world.standing),
            failure: None,
            run: runs.iter().find(|run| run.number == shown).cloned(),
            findings: is_checked
                .then(finding)
                .into_iter()
                .collect::<Vec<_>>()
                .into(),
            untested: is_checked
                .then(untested)
                .into_iter()
                .collect::<Vec<_>>()
                .into(),
            passed: is_checked
                .then(passed)
                .into_iter()
                .collect::<Vec<_>>()
                .into(),
            runs: runs.into(),
        })
    }

    async fn evidence(
        &self,
        _: &Viewer,
        organization: &str,
        run: u64,
    ) -> Result<EvidenceFile, Unreadable> {
        match (organization, run) {
            ("sedec", NEWEST_RUN | OLDER_RUN) => Ok(EvidenceFile {
                name: format!("{organization}-{run}.jsonl"),
                bytes: b"{\"line\":1}\n".to_vec(),
            }),
            _ => Err(Unreadable::NotFound),
        }
    }

    async fn start_check(&self, _: &Viewer, organization: &str) -> Result<(), Refused> {
        if organization != "sedec" {
            return Err(no_such("declaration"));
        }
        let since = moment();
        self.change(Topic::Checks, |world| {
            world.standing = CheckStanding::Running { since };
        });
        Ok(())
    }
}

fn row(name: &str, newest: Option<CheckRun>) -> ComplianceRow {
    ComplianceRow {
        organization: name.to_owned(),
        display_name: "Secretaria <de> Exemplo".into(),
        is_declared: true,
        standing: CheckStanding::Idle,
        newest,
    }
}

fn run(number: u64) -> CheckRun {
    CheckRun {
        number,
        started: moment() + Duration::milliseconds(number as i64),
        took_s: 42,
        by: None,
        ok: 7,
        findings: 1,
        could_not_test: 1,
        no_outside: None,
    }
}

fn finding() -> FindingRow {
    FindingRow {
        check: "production/port/4000/outside/203.0.113.10".into(),
        level: FindingLevel::Serious,
        what: both("a porta está aberta", "the port is open"),
        declared: both("fechada", "closed"),
        observed: both("aberta", "open"),
        evidence: vec![EvidenceRow {
            at: moment(),
            vantage: both("de fora (<vigia>)", "outside (<vigia>)"),
            address: "203.0.113.10:4000".into(),
            observed: both("aberta", "open"),
        }],
    }
}

fn untested() -> UntestedRow {
    UntestedRow {
        check: "production/port/5500/granted".into(),
        vantage: both("membro com permissão", "member with a grant"),
        why: both("não há ponto de observação", "there is no vantage point"),
        detail: "".into(),
    }
}

fn passed() -> PassedRow {
    PassedRow {
        check: "production/port/9011/outside/203.0.113.10".into(),
        vantage: both("de fora (vigia)", "outside (vigia)"),
        observed: both("recusada", "refused"),
    }
}

fn both(pt: &str, en: &str) -> Bilingual {
    Bilingual {
        pt: pt.to_owned(),
        en: en.to_owned(),
    }
}

fn moment() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000)
}
