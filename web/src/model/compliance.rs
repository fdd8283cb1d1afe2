//! Compliance: what checks found at each organization, with the evidence, and what could not be tested.

use time::OffsetDateTime;

use super::Listing;
use crate::language::Bilingual;
use crate::untrusted::Untrusted;

/// An organization in the list.
#[derive(Clone, Debug)]
pub struct ComplianceRow {
    /// Its name, one DNS label.
    pub organization: String,
    pub display_name: Untrusted,
    /// Whether it has declared anything to compare with.
    pub is_declared: bool,
    pub standing: CheckStanding,
    pub newest: Option<CheckRun>,
}

/// Whether a check is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckStanding {
    #[default]
    Idle,
    /// It was asked for and comes after others.
    Waiting,
    Running {
        since: OffsetDateTime,
    },
}

/// One run, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRun {
    /// Names the run among those of its organization.
    pub number: u64,
    pub started: OffsetDateTime,
    pub took_s: u64,
    /// Who asked for it; `None` is the schedule.
    pub by: Option<Untrusted>,
    pub ok: usize,
    pub findings: usize,
    pub could_not_test: usize,
    /// Why nobody looked from outside, if nobody did.
    pub no_outside: Option<Bilingual>,
}

/// An organization with one of its runs.
#[derive(Clone, Debug)]
pub struct ComplianceDetail {
    pub organization: String,
    pub display_name: Untrusted,
    /// When it was declared, and by whom.
    pub declared: Option<(OffsetDateTime, Untrusted)>,
    pub standing: CheckStanding,
    /// Why the last one came to nothing.
    pub failure: Option<Bilingual>,
    /// The run that is shown.
    pub run: Option<CheckRun>,
    /// Worst first.
    pub findings: Listing<FindingRow>,
    pub untested: Listing<UntestedRow>,
    pub passed: Listing<PassedRow>,
    /// Newest first.
    pub runs: Listing<CheckRun>,
}

/// How much a finding presses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingLevel {
    Serious,
    Warning,
    Notice,
}

/// What is declared is not what is there.
#[derive(Clone, Debug)]
pub struct FindingRow {
    pub check: Untrusted,
    pub level: FindingLevel,
    pub what: Bilingual,
    pub declared: Bilingual,
    pub observed: Bilingual,
    pub evidence: Vec<EvidenceRow>,
}

/// One observation in a line.
#[derive(Clone, Debug)]
pub struct EvidenceRow {
    pub at: OffsetDateTime,
    pub vantage: Bilingual,
    pub address: Untrusted,
    pub observed: Bilingual,
}

/// A check of which nothing is known.
#[derive(Clone, Debug)]
pub struct UntestedRow {
    pub check: Untrusted,
    pub vantage: Bilingual,
    pub why: Bilingual,
    pub detail: Untrusted,
}

/// A check that holds.
#[derive(Clone, Debug)]
pub struct PassedRow {
    pub check: Untrusted,
    pub vantage: Bilingual,
    pub observed: Bilingual,
}

/// A run's evidence, for an auditor.
#[derive(Clone, Debug)]
pub struct EvidenceFile {
    /// Letters, digits, `-`, `_` and `.`.
    pub name: String,
    pub bytes: Vec<u8>,
}
