//! What a round of looks found: for people a page, for programs a document. It looks at nothing itself.

use serde::Serialize;

use crate::text::Lang;
use crate::text::doctor::{self as text, Trouble};

/// The document's version; it grows when a field changes its meaning or goes away.
pub const REPORT_VERSION: u32 = 1;

/// What is looked at. The names are part of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    Agent,
    Dns,
    Udp,
    Tcp,
    Portal,
    Nat,
    Mtu,
    Clock,
    Certificate,
    Tunnel,
    Services,
    Names,
    Engine,
    Guard,
    Files,
    Disk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Ok,
    Problem,
    CouldNotTest,
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub verdict: Verdict,
    /// One word for each thing that can be found; it never changes its meaning.
    pub code: &'static str,
    /// What was seen, or why nothing could be.
    pub observed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    pub look: Look,
    #[serde(flatten)]
    pub finding: Finding,
}

/// All looks of one round, in the order of [`Look`].
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: u32,
    pub agent_version: String,
    /// Whether no look found a problem.
    pub healthy: bool,
    pub looks: Vec<Looked>,
}

impl Finding {
    pub(super) fn ok(code: &'static str, observed: String) -> Self {
        Self {
            verdict: Verdict::Ok,
            code,
            observed,
            meaning: None,
            remedy: None,
        }
    }

    pub(super) fn problem(code: &'static str, trouble: Trouble) -> Self {
        Self {
            verdict: Verdict::Problem,
            code,
            observed: trouble.observed,
            meaning: Some(trouble.meaning),
            remedy: Some(trouble.remedy),
        }
    }

    pub(super) fn could_not_test(code: &'static str, why: String) -> Self {
        Self {
            verdict: Verdict::CouldNotTest,
            ..Self::ok(code, why)
        }
    }

    pub(super) fn meaning(self, meaning: String) -> Self {
        Self {
            meaning: Some(meaning),
            ..self
        }
    }

    pub(super) fn of(self, look: Look) -> Looked {
        Looked {
            look,
            finding: self,
        }
    }
}

impl Report {
    pub(super) fn new(mut looks: Vec<Looked>) -> Self {
        looks.sort_by_key(|looked| looked.look);
        let is_bad = |looked: &Looked| looked.finding.verdict == Verdict::Problem;
        Self {
            version: REPORT_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            healthy: !looks.iter().any(is_bad),
            looks,
        }
    }

    #[must_use]
    pub fn page(&self, lang: Lang) -> String {
        let mut lines = Vec::new();
        for Looked { look, finding } in &self.looks {
            let verdict = text::verdict(lang, finding.verdict);
            let name = text::look(lang, *look);
            lines.push(format!("{verdict:<14}{name:<14}{}", finding.observed));
            if let Some(meaning) = &finding.meaning {
                lines.push(format!("{:28}{meaning}", ""));
            }
            if let Some(remedy) = &finding.remedy {
                lines.push(format!("{:28}{}", "", text::to_do(lang, remedy)));
            }
        }
        let count = |verdict| {
            let found = self.looks.iter().filter(|it| it.finding.verdict == verdict);
            found.count()
        };
        let untested = count(Verdict::CouldNotTest);
        lines.push(String::new());
        lines.push(match count(Verdict::Problem) {
            0 => text::no_problem(lang, untested),
            problems => text::problems(lang, problems, untested),
        });
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks() -> Vec<Looked> {
        let trouble = Trouble {
            observed: "nothing answers".into(),
            meaning: "no tunnel".into(),
            remedy: "open the port".into(),
        };
        vec![
            Finding::could_not_test("disk-unknown", "no folder".into()).of(Look::Disk),
            Finding::problem("udp-silent", trouble).of(Look::Udp),
            Finding::ok("agent-online", "it runs".into()).of(Look::Agent),
        ]
    }

    #[test]
    fn only_a_problem_is_no_health() {
        assert!(!Report::new(looks()).healthy);
        let mut others = looks();
        others.remove(1);
        assert!(Report::new(others).healthy);
    }

    #[test]
    fn the_page_says_what_was_seen_what_it_means_and_what_to_do() {
        let page = Report::new(looks()).page(Lang::En);
        let lines: Vec<&str> = page.lines().map(str::trim).collect();
        assert!(
            lines[0].starts_with("ok") && lines[0].ends_with("it runs"),
            "{page}"
        );
        assert!(
            lines[1].starts_with("PROBLEM") && lines[1].ends_with("nothing answers"),
            "{page}"
        );
        assert_eq!(lines[2], "no tunnel");
        assert!(lines[3].ends_with("open the port"), "{page}");
        assert!(lines[4].starts_with("not tested"), "{page}");
        assert!(lines.last().unwrap().starts_with("Problems: 1;"), "{page}");
    }

    #[test]
    fn the_document_is_flat_and_has_a_word_for_everything() {
        let json = serde_json::to_value(Report::new(looks())).unwrap();
        assert_eq!(json["healthy"], false);
        assert_eq!(json["looks"][1]["look"], "udp");
        assert_eq!(json["looks"][1]["verdict"], "problem");
        assert_eq!(json["looks"][1]["code"], "udp-silent");
        assert_eq!(json["looks"][1]["remedy"], "open the port");
        assert_eq!(json["looks"][2]["verdict"], "could-not-test");
        assert!(json["looks"][0].get("remedy").is_none());
    }
}
