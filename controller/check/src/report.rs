//! All verdicts of one run, as JSON for machines and as one HTML file for people: no scripts, nothing loaded from anywhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::check::Check;
use crate::judge::judge;
use crate::observation::Observation;
use crate::plan::plan;
use crate::subject::Subject;
use crate::text::{Lang, Word};
use crate::verdict::{Evidence, Finding, Verdict};

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub organization: String,
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// The moment by which everything was judged.
    #[serde(with = "time::serde::rfc3339")]
    pub ended: OffsetDateTime,
    /// In the order of the plan.
    pub outcomes: Vec<Outcome>,
}

/// A check and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub check: Check,
    pub verdict: Verdict,
}

/// How many checks came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub ok: usize,
    pub findings: usize,
    pub could_not_test: usize,
}

impl Report {
    /// Plans and judges: every check of the subject's plan has an outcome, observed or not.
    #[must_use]
    pub fn new(
        subject: &Subject,
        observations: &[Observation],
        started: OffsetDateTime,
        ended: OffsetDateTime,
    ) -> Self {
        let judged = plan(subject).into_iter().map(|check| Outcome {
            verdict: judge(&check, subject, observations, ended),
            check,
        });
        Self {
            organization: subject.organization.clone(),
            started,
            ended,
            outcomes: judged.collect(),
        }
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in &self.outcomes {
            match outcome.verdict {
                Verdict::Ok { .. } => counts.ok += 1,
                Verdict::Finding(_) => counts.findings += 1,
                Verdict::CouldNotTest { .. } => counts.could_not_test += 1,
            }
        }
        counts
    }

    /// The report as indented JSON.
    ///
    /// # Errors
    /// Never in practice: nothing in a report is without a JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The report as one HTML file.
    #[must_use]
    pub fn to_html(&self, lang: Lang) -> String {
        let title = format!("{}: {}", lang.word(Word::Compliance), self.organization);
        let page = html! {
            (DOCTYPE)
            html lang=(lang.tag()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    meta http-equiv="Content-Security-Policy" content=(CONTENT_POLICY);
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (title) }
                    p { (moment(self.started)) " " (lang.word(Word::Until)) " " (moment(self.ended)) }
                    (self.totals(lang))
                    (self.findings(lang))
                    (self.untested(lang))
                    (self.in_order(lang))
                }
            }
        };
        page.into_string()
    }

    fn totals(&self, lang: Lang) -> Markup {
        let counts = self.counts();
        html! {
            ul.totals {
                li.finding { b { (counts.findings) } " " (lang.word(Word::Findings)) }
                li.unknown { b { (counts.could_not_test) } " " (lang.word(Word::CouldNotTest)) }
                li.ok { b { (counts.ok) } " " (lang.word(Word::Ok)) }
            }
        }
    }

    /// The gravest first.
    fn findings(&self, lang: Lang) -> Markup {
        let found = self.outcomes.iter().filter_map(|it| match &it.verdict {
            Verdict::Finding(finding) => Some((&it.check, finding)),
            _ => None,
        });
        let mut found: Vec<(&Check, &Finding)> = found.collect();
        found.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.fault.level()));
        html! {
            h2 { (lang.word(Word::Findings)) }
            @if found.is_empty() { p { (lang.word(Word::NoFindings)) } }
            @else {
                table {
                    (heads(lang, &[Word::Check, Word::Finding, Word::Declared, Word::Observed, Word::Evidence]))
                    @for (check, finding) in found {
                        tr.finding {
                            td { code { (check.id) } }
                            td { b { (lang.level(finding.fault.level())) } ": " (lang.fault(finding.fault)) }
                            td { (lang.observed(&finding.declared)) }
                            td { (lang.observed(&finding.observed)) }
                            td { (evidence(lang, &finding.evidence)) }
                        }
                    }
                }
            }
        }
    }

    fn untested(&self, lang: Lang) -> Markup {
        html! {
            h2 { (lang.word(Word::CouldNotTest)) }
            p { (lang.word(Word::CouldNotTestNote)) }
            table {
                (heads(lang, &[Word::Check, Word::Vantage, Word::Reason]))
                @for outcome in &self.outcomes {
                    @if let Verdict::CouldNotTest { why } = &outcome.verdict {
                        tr.unknown {
                            td { code { (outcome.check.id) } }
                            td { (lang.vantage(&outcome.check.vantage)) }
                            td {
                                (lang.cause(why.cause))
                                @if !why.detail.is_empty() { ": " (lang.observed(&why.detail)) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn in_order(&self, lang: Lang) -> Markup {
        html! {
            h2 { (lang.word(Word::Ok)) }
            table {
                (heads(lang, &[Word::Check, Word::Observed, Word::Evidence]))
                @for outcome in &self.outcomes {
                    @if let Verdict::Ok { observed, evidence: lines } = &outcome.verdict {
                        tr.ok {
                            td { code { (outcome.check.id) } }
                            td { (lang.observed(observed)) }
                            td { (evidence(lang, lines)) }
                        }
                    }
                }
            }
        }
    }
}

fn heads(lang: Lang, words: &[Word]) -> Markup {
    html! { tr { @for word in words { th { (lang.word(*word)) } } } }
}

fn evidence(lang: Lang, lines: &[Evidence]) -> Markup {
    html! {
        @for line in lines {
            div.evidence {
                (moment(line.time)) " · " (lang.vantage(&line.vantage)) " · " (line.address) " · "
                (lang.observed(&line.observed))
            }
        }
    }
}

/// To the second, in UTC.
fn moment(time: OffsetDateTime) -> String {
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#1b2733;\
background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #d8dee4;overflow-wrap:anywhere}\
code{font-size:.85em}.totals{list-style:none;padding:0;display:flex;gap:1rem;flex-wrap:wrap}\
.totals li{padding:.5rem 1rem;border-left:.3rem solid}.totals b{font-size:1.3rem}.totals .finding{border-color:#b42318}\
.totals .unknown{border-color:#8a6d00}.totals .ok{border-color:#1a7f37}tr.finding td:first-child{border-left:.2rem solid #b42318}\
tr.unknown td:first-child{border-left:.2rem solid #8a6d00}tr.ok td:first-child{border-left:.2rem solid #1a7f37}\
.evidence{font-size:.85em;color:#46545f}";

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::sample;
    use crate::{Seen, TcpSeen};

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    /// The sample with one port open to a stranger, whose name is hostile.
    fn report() -> Report {
        let mut subject = sample::subject();
        let port = &mut subject.production.servers[0].ports[2];
        port.ungranted = Some(sample::node(32, "<script>alert(1)</script>"));
        let checks = plan(&subject);
        let id = "production/port/4000/ungranted/servidor-1/10.90.0.11";
        let check = checks.iter().find(|it| it.id == id).unwrap();
        let seen = Observation {
            time: NOW,
            vantage: check.vantage.clone(),
            probe: check.probe.clone(),
            address: None,
            seen: Seen::Tcp(TcpSeen::Open),
        };
        Report::new(&subject, &[seen], NOW, NOW)
    }

    #[test]
    fn every_check_has_one_outcome_and_is_counted_once() {
        let report = report();
        let counts = report.counts();
        assert_eq!(
            counts.ok + counts.findings + counts.could_not_test,
            plan(&sample::subject()).len()
        );
        // The open port, and the organization's list of ports.
        assert_eq!((counts.ok, counts.findings), (0, 2));
    }

    #[test]
    fn the_page_says_it_in_both_languages_and_runs_nothing() {
        let report = report();
        let (pt, en) = (report.to_html(Lang::Pt), report.to_html(Lang::En));
        assert!(pt.contains("a porta aceita conexões de onde não deveria"));
        assert!(pt.contains("membro sem permissão") && pt.contains(">aberta<"));
        assert!(en.contains("the port accepts connections from where it should not"));
        for page in [pt, en] {
            assert!(!page.contains("<script"));
            assert!(!page.contains("src=") && !page.contains("href="));
            assert!(page.contains("&lt;script&gt;"));
        }
    }

    #[test]
    fn json_reads_back() {
        let report = report();
        let json = report.to_json().unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
