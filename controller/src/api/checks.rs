//! Checks over HTTP: having an organization checked, what the runs found, and their evidence. They change nothing of the overlay.

use malha_core::{AuditName, Noun};
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use malha_check::{Evidence, Lang, Report, Verdict};
use malha_proto::OrganizationId;
use malha_store::audit::AuditOutcome;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::api::body::{Body, Path, Query};
use crate::api::caller::{Caller, Read, Write};
use crate::api::problem::{Kind, Problem};
use crate::api::reference::Reference;
use crate::audit::line;
use crate::checks::{CheckError, HistoryError, RunFile, RunSummary, StandingState};
use crate::clock::now_ms;
use crate::refusals;

/// How the checks of an organization stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checks {
    /// Its name.
    pub organization: String,
    pub state: CheckState,
    /// Since when it is being checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Why the last run came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The newest first, at most 60.
    pub runs: Vec<CheckRun>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    Idle,
    /// Others come first.
    Waiting,
    Running,
}

/// A run, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckRun {
    /// Names it among the organization's runs: when it began, milliseconds of the Unix epoch.
    pub run: u64,
    pub ended_ms: u64,
    /// Its number in the chain of the organization's evidence, from 1; the oldest that is kept need not be 1.
    pub sequence: u64,
    /// SHA-256 of its evidence file, hexadecimal, which the next run's evidence names.
    pub evidence_sha256: String,
    /// Who asked for it; absent: the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    pub ok: usize,
    pub findings: usize,
    /// Of these nothing is known, not even that something is closed.
    pub could_not_test: usize,
    /// Why nobody looked from outside, if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_outside: Option<String>,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckReport {
    pub organization: String,
    #[serde(flatten)]
    pub summary: CheckRun,
    /// In the order of the plan.
    pub outcomes: Vec<CheckOutcome>,
}

/// A check and what it came to. Its sentences are in the language that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckOutcome {
    /// Stable from run to run.
    #[schema(example = "production/port/5500/outside/203.0.113.10")]
    pub check: String,
    /// From where.
    pub vantage: String,
    pub verdict: CheckVerdict,
    /// What is wrong, as a word that stays, where something is; `serious`, `warning` or `notice`; and as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// What is wrong, or why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why nothing is known, in detail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    pub evidence: Vec<CheckEvidence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckVerdict {
    Ok,
    Finding,
    CouldNotTest,
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckEvidence {
    pub at_ms: i64,
    pub vantage: String,
    pub address: String,
    pub observed: String,
}

/// Who signs nodes' certificates and evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverlayAuthority {
    pub certificate_pem: String,
    /// SHA-256 of its DER form, hexadecimal: what tokens carry and nodes pin.
    pub fingerprint: String,
}

/// A wish to have an organization checked now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCheck {}

/// How a report is told.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReportQuery {
    /// `pt` or `en`, which is the default.
    #[serde(default)]
    #[param(value_type = String)]
    lang: ReportLang,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReportLang {
    Pt,
    #[default]
    En,
}

impl From<ReportLang> for Lang {
    fn from(lang: ReportLang) -> Self {
        match lang {
            ReportLang::Pt => Self::Pt,
            ReportLang::En => Self::En,
        }
    }
}

impl CheckRun {
    fn of(it: RunSummary, lang: Lang) -> Self {
        Self {
            run: it.started_ms,
            ended_ms: it.ended_ms,
            sequence: it.sequence,
            evidence_sha256: it.evidence_sha256,
            by: it.by,
            ok: it.ok,
            findings: it.findings,
            could_not_test: it.could_not_test,
            no_outside: it.no_outside.map(|why| why.words(lang)),
        }
    }
}

impl CheckReport {
    fn of(report: &Report, summary: RunSummary, lang: Lang) -> Self {
        let outcomes = report.outcomes.iter().map(|outcome| {
            let check = &outcome.check;
            CheckOutcome::of(
                &check.id,
                lang.vantage(&check.vantage),
                &outcome.verdict,
                lang,
            )
        });
        Self {
            organization: report.organization.clone(),
            summary: CheckRun::of(summary, lang),
            outcomes: outcomes.collect(),
        }
    }
}

impl CheckOutcome {
    fn of(check: &str, vantage: String, verdict: &Verdict, lang: Lang) -> Self {
        let told = |seen: &[Evidence]| {
            let each = seen.iter().map(|it| CheckEvidence::of(it, lang));
            each.collect()
        };
        let bare = Self {
            check: check.to_owned(),
            vantage,
            verdict: CheckVerdict::Ok,
            fault: None,
            level: None,
            text: None,
            detail: None,
            declared: None,
            observed: None,
            evidence: Vec::new(),
        };
        let word = |it| match it {
            Ok(serde_json::Value::String(word)) => Some(word),
            _ => None,
        };
        match verdict {
            Verdict::Ok { observed, evidence } => Self {
                observed: Some(lang.observed(observed).to_owned()),
                evidence: told(evidence),
                ..bare
            },
            Verdict::Finding(it) => Self {
                verdict: CheckVerdict::Finding,
                fault: word(serde_json::to_value(it.fault)),
                level: word(serde_json::to_value(it.fault.level())),
                text: Some(lang.fault(it.fault).to_owned()),
                declared: Some(lang.observed(&it.declared).to_owned()),
                observed: Some(lang.observed(&it.observed).to_owned()),
                evidence: told(&it.evidence),
                ..bare
            },
            Verdict::CouldNotTest { why } => Self {
                verdict: CheckVerdict::CouldNotTest,
                text: Some(lang.cause(why.cause).to_owned()),
                detail: Some(why.detail.clone()).filter(|it| !it.is_empty()),
                ..bare
            },
        }
    }
}

impl CheckEvidence {
    fn of(it: &Evidence, lang: Lang) -> Self {
        Self {
            at_ms: it.time.unix_timestamp() * 1_000 + i64::from(it.time.millisecond()),
            vantage: lang.vantage(&it.vantage),
            address: it.address.clone(),
            observed: lang.observed(&it.observed).to_owned(),
        }
    }
}

/// Show how the checks of an organization stand, and their history
#[utoipa::path(get, path = "/organizations/{organization}/checks", tag = "checks",
    params(("organization" = String, Path, description = "Id or name"), ReportQuery),
    responses((status = 200, body = Checks)), security(("api_key" = ["read"])))]
pub(super) async fn list(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Query(ReportQuery { lang }): Query<ReportQuery>,
) -> Result<Json<Checks>, Problem> {
    let organization = reference.organization(&api.state())?;
    Ok(Json(standing(&api, organization, lang.into())))
}

/// Have an organization checked now
///
/// It answers at once; the run is over when `state` is `idle` again. Asking twice is asking once.
#[utoipa::path(post, path = "/organizations/{organization}/checks", tag = "checks", request_body = NewCheck,
    params(("organization" = String, Path, description = "Id or name")),
    responses((status = 202, body = Checks)), security(("api_key" = ["write"])))]
pub(super) async fn start(
    caller: Caller<Write>,
    Shared(api): Shared<Arc<Api>>,
    Path(reference): Path<Reference>,
    Body(NewCheck {}): Body<NewCheck>,
) -> Result<(StatusCode, Json<Checks>), Problem> {
    let organization = reference.organization(&api.state())?;
    let by = Some(caller.actor.name.clone());
    api.context.checks.request(organization, by)?;
    let target = organization.to_string();
    let asked = line(
        &caller.actor,
        AuditName::CheckStart,
        target,
        AuditOutcome::Accepted,
        now_ms(),
    );
    api.context.handle.keep(Vec::new(), Some(asked)).await?;
    let standing = standing(&api, organization, Lang::En);
    Ok((StatusCode::ACCEPTED, Json(standing)))
}

/// Show what a run found
#[utoipa::path(get, path = "/organizations/{organization}/checks/{run}", tag = "checks",
    params(("organization" = String, Path, description = "Id or name"),
        ("run" = String, Path, description = "Its number, or `newest`"), ReportQuery),
    responses((status = 200, body = CheckReport)), security(("api_key" = ["read"])))]
pub(super) async fn show(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path((reference, run)): Path<(Reference, String)>,
    Query(ReportQuery { lang }): Query<ReportQuery>,
) -> Result<Json<CheckReport>, Problem> {
    let (_, summary, report) = found(&api, &reference, &run)?;
    Ok(Json(CheckReport::of(&report, summary, lang.into())))
}

/// Show what a run found, as one HTML file
#[utoipa::path(get, path = "/organizations/{organization}/checks/{run}/html", tag = "checks",
    params(("organization" = String, Path, description = "Id or name"),
        ("run" = String, Path, description = "Its number, or `newest`"), ReportQuery),
    responses((status = 200, content_type = "text/html", body = String)), security(("api_key" = ["read"])))]
pub(super) async fn html(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path((reference, run)): Path<(Reference, String)>,
    Query(ReportQuery { lang }): Query<ReportQuery>,
) -> Result<Response, Problem> {
    let (_, _, report) = found(&api, &reference, &run)?;
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    Ok((headers, report.to_html(lang.into())).into_response())
}

/// Download the evidence of a run
///
/// JSON Lines with a hash chain, signed by the overlay's authority: `malha check verify` needs nothing else.
#[utoipa::path(get, path = "/organizations/{organization}/checks/{run}/evidence", tag = "checks",
    params(("organization" = String, Path, description = "Id or name"),
        ("run" = String, Path, description = "Its number, or `newest`")),
    responses((status = 200, content_type = "application/jsonl", body = String)), security(("api_key" = ["read"])))]
pub(super) async fn evidence(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
    Path((reference, run)): Path<(Reference, String)>,
) -> Result<Response, Problem> {
    let (organization, summary, _) = found(&api, &reference, &run)?;
    let history = api.context.checks.history();
    let bytes = history.read(organization, summary.started_ms, RunFile::Evidence)?;
    let bytes = bytes.ok_or_else(|| Problem::not_found(Noun::Run, &run))?;
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], bytes).into_response())
}

/// Show the certificate of the overlay's authority
#[utoipa::path(get, path = "/authority", tag = "checks",
    responses((status = 200, body = OverlayAuthority)), security(("api_key" = ["read"])))]
pub(super) async fn authority(
    _caller: Caller<Read>,
    Shared(api): Shared<Arc<Api>>,
) -> Result<Json<OverlayAuthority>, Problem> {
    Ok(Json(OverlayAuthority {
        certificate_pem: api.context.checks.authority_pem().to_owned(),
        fingerprint: api.context.authority.to_string(),
    }))
}

fn standing(api: &Api, organization: OrganizationId, lang: Lang) -> Checks {
    let checks = &api.context.checks;
    let standing = checks.standing(organization);
    let state = api.state();
    let name = state.organization(organization);
    let (state, since_ms) = match standing.state {
        StandingState::Idle => (CheckState::Idle, None),
        StandingState::Waiting => (CheckState::Waiting, None),
        StandingState::Running { since_ms } => (CheckState::Running, Some(since_ms)),
    };
    let runs = checks.history().runs(organization);
    Checks {
        organization: name.map_or_else(|| organization.to_string(), |it| it.name.to_string()),
        state,
        since_ms,
        failure: standing.failure.map(|it| match lang {
            Lang::Pt => it.pt,
            Lang::En => it.en,
        }),
        runs: runs.into_iter().map(|it| CheckRun::of(it, lang)).collect(),
    }
}

fn found(
    api: &Api,
    reference: &Reference,
    run: &str,
) -> Result<(OrganizationId, RunSummary, Arc<Report>), Problem> {
    let organization = reference.organization(&api.state())?;
    let checks = &api.context.checks;
    let mut runs = checks.history().runs(organization).into_iter();
    let summary = match run {
        "newest" => runs.next(),
        number => runs.find(|it| it.started_ms.to_string() == number),
    };
    let missing = || Problem::not_found(Noun::Run, run);
    let summary = summary.ok_or_else(missing)?;
    let report = checks.report(organization, summary.started_ms)?;
    Ok((organization, summary, report.ok_or_else(missing)?))
}

impl From<CheckError> for Problem {
    fn from(error: CheckError) -> Self {
        let kind = match error {
            CheckError::NotDeclared(_) => Kind::Conflict,
            _ => Kind::Unavailable,
        };
        Self::said(kind, &refusals::check(&error))
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        tracing::error!(%error, "the history of checks can't be read");
        Self::said(Kind::Unavailable, &refusals::history())
    }
}
