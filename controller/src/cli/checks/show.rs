//! How a check's report, its history and verified evidence look on a terminal.

use malha_check::{Chain, ChainedRun, Outcome, Verdict, Verified};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::{CheckOutcome, CheckReport, CheckRun, CheckVerdict, Checks};
use crate::checks::MAX_RUNS_KEPT;
use crate::cli::screen::{Screen, span};
use crate::cli::text::{self, Word};

/// Findings first, then what could not be tested, then the count.
pub(super) fn report(it: &CheckReport, all: bool, screen: &Screen) {
    let of = |verdict| it.outcomes.iter().filter(move |it| it.verdict == verdict);
    for outcome in of(CheckVerdict::Finding) {
        finding(outcome, screen);
    }
    for outcome in of(CheckVerdict::CouldNotTest) {
        let head = text::untested(screen.lang, &outcome.check, &outcome.vantage);
        let why = outcome.text.as_deref().unwrap_or_default();
        screen.line(&match &outcome.detail {
            Some(detail) => format!("{head}: {why}: {detail}"),
            None => format!("{head}: {why}"),
        });
    }
    for outcome in of(CheckVerdict::Ok).filter(|_| all) {
        let observed = outcome.observed.as_deref().unwrap_or_default();
        let line = text::in_order(screen.lang, &outcome.check, &outcome.vantage, observed);
        screen.line(&line);
    }
    if let Some(why) = &it.summary.no_outside {
        screen.note(&text::no_outside(screen.lang, why));
    }
    let run = &it.summary;
    screen.note(&text::verdicts(
        screen.lang,
        run.ok,
        run.findings,
        run.could_not_test,
    ));
}

fn finding(it: &CheckOutcome, screen: &Screen) {
    let level = screen.word(match it.level.as_deref() {
        Some("serious") => Word::Serious,
        Some("warning") => Word::Warning,
        _ => Word::Notice,
    });
    screen.line(&text::finding(screen.lang, level, &it.check, &it.vantage));
    if let Some(what) = &it.text {
        screen.line(&format!("    {what}"));
    }
    for (word, value) in [
        (Word::Declared, &it.declared),
        (Word::Observed, &it.observed),
    ] {
        if let Some(value) = value {
            screen.line(&format!("    {}: {value}", screen.word(word)));
        }
    }
}

pub(super) fn history(it: &Checks, screen: &Screen) {
    let columns = [
        Word::Run,
        Word::When,
        Word::Findings,
        Word::Untested,
        Word::InOrder,
        Word::Took,
        Word::Actor,
    ];
    let row = |run: &CheckRun| {
        let by = run.by.clone();
        vec![
            run.run.to_string(),
            screen.moment(run.run),
            run.findings.to_string(),
            run.could_not_test.to_string(),
            run.ok.to_string(),
            span(run.ended_ms.saturating_sub(run.run)),
            by.unwrap_or_else(|| screen.word(Word::Schedule)),
        ]
    };
    let rows: Vec<Vec<String>> = it.runs.iter().map(row).collect();
    screen.table(&columns, &rows);
    if let Some(failure) = &it.failure {
        screen.note(failure);
    }
}

pub(super) fn verified(it: &Verified, all: bool, screen: &Screen) {
    let lang = lang_of(screen.lang);
    for Outcome { check, verdict } in &it.report.outcomes {
        let vantage = lang.vantage(&check.vantage);
        match verdict {
            Verdict::Finding(finding) => {
                let level = lang.level(finding.fault.level());
                screen.line(&text::finding(screen.lang, level, &check.id, vantage));
                screen.line(&format!("    {}", lang.fault(finding.fault)));
            }
            Verdict::CouldNotTest { why } => {
                let head = text::untested(screen.lang, &check.id, vantage);
                screen.line(&format!("{head}: {}", lang.cause(why.cause)));
            }
            Verdict::Ok { observed, .. } if all => {
                let observed = lang.observed(observed);
                screen.line(&text::in_order(screen.lang, &check.id, vantage, observed));
            }
            Verdict::Ok { .. } => {}
        }
    }
    for check in &it.disagreeing {
        screen.note(&text::disagrees(screen.lang, check));
    }
    let counts = it.counts;
    let (ok, findings, untested) = (counts.ok, counts.findings, counts.could_not_test);
    screen.note(&text::verdicts(screen.lang, ok, findings, untested));
    screen.note(&text::evidence_right(
        screen.lang,
        &it.organization,
        it.lines,
        moment(it.ended),
    ));
    let link = &it.link;
    screen.note(&match link.sequence {
        1 => text::evidence_first(screen.lang),
        sequence => text::evidence_place(screen.lang, sequence, &link.previous),
    });
}

/// One of several files that are sound.
pub(super) fn run(it: &ChainedRun, disagreeing: &[String], screen: &Screen) {
    let started = moment(it.started);
    let sequence = it.link.sequence;
    screen.line(&text::evidence_run(
        screen.lang,
        sequence,
        started,
        &it.file,
    ));
    for check in disagreeing {
        screen.note(&text::disagrees(screen.lang, check));
    }
}

/// Where each organization's runs begin and end, and what is wrong between them.
pub(super) fn chains(chains: &[Chain], screen: &Screen) {
    let lang = screen.lang;
    for chain in chains {
        let organization = &chain.organization;
        for fault in &chain.faults {
            let fault = fault.words(lang_of(screen.lang));
            screen.note(&text::chain_broken(lang, organization, fault));
        }
        if chain.faults.is_empty() {
            screen.note(&text::chain_whole(
                lang,
                organization,
                chain.first,
                chain.last,
            ));
        }
        if chain.first > 1 {
            screen.note(&text::chain_pruned(
                lang,
                organization,
                chain.first,
                MAX_RUNS_KEPT,
            ));
        }
    }
}

/// Date, time and offset, to the second (RFC 3339).
fn moment(at: OffsetDateTime) -> String {
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_else(|_| whole.to_string())
}

pub(super) fn lang_of(lang: text::Lang) -> malha_check::Lang {
    match lang {
        text::Lang::Pt => malha_check::Lang::Pt,
        text::Lang::En => malha_check::Lang::En,
    }
}
