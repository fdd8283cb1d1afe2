//! Compliance on the dashboard: what checks found, as the pages show it, and the wish for another check.

use malha_check::{Lang, Level, Outcome, Verdict};
use malha_core::{AuditName, Noun, Organization};
use malha_store::audit::AuditOutcome;
use malha_web::model::{
    CheckRun, CheckStanding, ComplianceDetail, ComplianceRow, EvidenceFile, EvidenceRow,
    FindingLevel, FindingRow, Listing, PassedRow, ROWS_MAX, RefusalKind, Refused, Unreadable,
    UntestedRow,
};
use malha_web::{Bilingual, Viewer};

use crate::audit::line;
use crate::checks::{HistoryError, RunFile, RunSummary, StandingState};
use crate::clock::now_ms;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, missing, refused};
use crate::console::{ControllerConsole, moment, sign_in};
use crate::refusals;

/// Organizations that have declared something or were checked, by name.
pub(super) fn list(console: &ControllerConsole) -> Listing<ComplianceRow> {
    let state = console.state();
    let mut concerned: Vec<&Organization> = state
        .organizations()
        .filter(|it| {
            let was_checked = || console.checks.history().newest(it.id).is_some();
            state.declaration(it.id).is_some() || was_checked()
        })
        .collect();
    concerned.sort_by(|a, b| a.name.cmp(&b.name));
    let total = concerned.len();
    let row = |it: &Organization| {
        let standing = console.checks.standing(it.id);
        ComplianceRow {
            organization: it.name.to_string(),
            display_name: it.display_name.as_str().into(),
            is_declared: state.declaration(it.id).is_some(),
            standing: standing_of(standing.state),
            newest: standing.newest.as_ref().map(run_of),
        }
    };
    Listing {
        rows: concerned.into_iter().take(ROWS_MAX).map(row).collect(),
        total,
    }
}

/// One organization with a run, the newest unless another is named.
pub(super) fn detail(
    console: &ControllerConsole,
    organization: &str,
    run: Option<u64>,
) -> Result<ComplianceDetail, Unreadable> {
    let state = console.state();
    let it = state.organization_by_name(organization);
    let it = it.ok_or(Unreadable::NotFound)?;
    let standing = console.checks.standing(it.id);
    let runs = console.checks.history().runs(it.id);
    let shown = match run {
        Some(number) => {
            let found = runs.iter().find(|run| run.started_ms == number);
            Some(found.ok_or(Unreadable::NotFound)?)
        }
        None => runs.first(),
    };
    let report = match shown {
        Some(run) => console
            .checks
            .report(it.id, run.started_ms)
            .map_err(unread)?,
        None => None,
    };
    let outcomes = report
        .as_ref()
        .map(|it| &it.outcomes[..])
        .unwrap_or_default();
    let declaration = state.declaration(it.id);
    Ok(ComplianceDetail {
        organization: it.name.to_string(),
        display_name: it.display_name.as_str().into(),
        declared: declaration.map(|it| {
            let author = it.author.as_str();
            (moment::at(it.declared_ms), author.into())
        }),
        standing: standing_of(standing.state),
        failure: standing.failure,
        run: shown.map(run_of),
        findings: findings(outcomes),
        untested: untested(outcomes),
        passed: passed(outcomes),
        runs: runs.iter().map(run_of).collect::<Vec<_>>().into(),
    })
}

pub(super) fn evidence(
    console: &ControllerConsole,
    organization: &str,
    run: u64,
) -> Result<EvidenceFile, Unreadable> {
    let state = console.state();
    let it = state.organization_by_name(organization);
    let it = it.ok_or(Unreadable::NotFound)?;
    let history = console.checks.history();
    let bytes = history
        .read(it.id, run, RunFile::Evidence)
        .map_err(unread)?;
    Ok(EvidenceFile {
        name: format!("{}-{run}.jsonl", it.name),
        bytes: bytes.ok_or(Unreadable::NotFound)?,
    })
}

pub(super) async fn start(
    console: &ControllerConsole,
    viewer: &Viewer,
    organization: &str,
) -> Result<(), Refused> {
    permit(viewer, Permission::Change)?;
    let state = console.state();
    let it = state.organization_by_name(organization);
    let it = it.ok_or_else(|| missing(None, Noun::Organization, organization))?;
    let actor = sign_in::actor(viewer);
    let asked = console.checks.request(it.id, Some(actor.name.clone()));
    asked.map_err(|error| Refused {
        field: None,
        text: refusals::check(&error),
        kind: RefusalKind::Conflict,
    })?;
    let target = it.id.to_string();
    let asked = line(
        &actor,
        AuditName::CheckStart,
        target,
        AuditOutcome::Accepted,
        now_ms(),
    );
    let kept = console.handle.keep(Vec::new(), Some(asked)).await;
    kept.map_err(|error| refused(&error, Form::BUTTON))
}

fn unread(error: HistoryError) -> Unreadable {
    tracing::error!(%error, "the history of checks can't be read");
    Unreadable::Unavailable
}

fn standing_of(state: StandingState) -> CheckStanding {
    match state {
        StandingState::Idle => CheckStanding::Idle,
        StandingState::Waiting => CheckStanding::Waiting,
        StandingState::Running { since_ms } => CheckStanding::Running {
            since: moment::at(since_ms),
        },
    }
}

fn run_of(it: &RunSummary) -> CheckRun {
    CheckRun {
        number: it.started_ms,
        started: moment::at(it.started_ms),
        took_s: it.ended_ms.saturating_sub(it.started_ms) / 1_000,
        by: it.by.as_deref().map(Into::into),
        ok: it.ok,
        findings: it.findings,
        could_not_test: it.could_not_test,
        no_outside: it
            .no_outside
            .as_ref()
            .map(|why| both(|lang| why.words(lang))),
    }
}

fn findings(outcomes: &[Outcome]) -> Listing<FindingRow> {
    let found = outcomes.iter().filter_map(|it| match &it.verdict {
        Verdict::Finding(finding) => Some((it, finding)),
        _ => None,
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.fault.level()));
    let total = found.len();
    let rows = found.into_iter().take(ROWS_MAX).map(|(it, finding)| {
        let evidence = finding.evidence.iter().map(|seen| EvidenceRow {
            at: seen.time,
            vantage: both(|lang| lang.vantage(&seen.vantage)),
            address: seen.address.as_str().into(),
            observed: both(|lang| lang.observed(&seen.observed).to_owned()),
        });
        FindingRow {
            check: it.check.id.as_str().into(),
            level: match finding.fault.level() {
                Level::Serious => FindingLevel::Serious,
                Level::Warning => FindingLevel::Warning,
                Level::Notice => FindingLevel::Notice,
            },
            what: both(|lang| lang.fault(finding.fault).to_owned()),
            declared: both(|lang| lang.observed(&finding.declared).to_owned()),
            observed: both(|lang| lang.observed(&finding.observed).to_owned()),
            evidence: evidence.collect(),
        }
    });
    Listing {
        rows: rows.collect(),
        total,
    }
}

fn untested(outcomes: &[Outcome]) -> Listing<UntestedRow> {
    let rows = outcomes.iter().filter_map(|it| match &it.verdict {
        Verdict::CouldNotTest { why } => Some(UntestedRow {
            check: it.check.id.as_str().into(),
            vantage: both(|lang| lang.vantage(&it.check.vantage)),
            why: both(|lang| lang.cause(why.cause).to_owned()),
            detail: why.detail.as_str().into(),
        }),
        _ => None,
    });
    cut(rows.collect())
}

fn passed(outcomes: &[Outcome]) -> Listing<PassedRow> {
    let rows = outcomes.iter().filter_map(|it| match &it.verdict {
        Verdict::Ok { observed, .. } => Some(PassedRow {
            check: it.check.id.as_str().into(),
            vantage: both(|lang| lang.vantage(&it.check.vantage)),
            observed: both(|lang| lang.observed(observed).to_owned()),
        }),
        _ => None,
    });
    cut(rows.collect())
}

fn cut<T>(mut rows: Vec<T>) -> Listing<T> {
    let total = rows.len();
    rows.truncate(ROWS_MAX);
    Listing { rows, total }
}

fn both(say: impl Fn(Lang) -> String) -> Bilingual {
    Bilingual {
        pt: say(Lang::Pt),
        en: say(Lang::En),
    }
}
