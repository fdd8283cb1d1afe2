//! The runs of one organization side by side: each evidence file names the one before by its hash, so that a run that was taken
//! out, exchanged or put elsewhere shows. It looks at files that [`super::verify`] found sound, and at nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{EvidenceError, Verified};
use crate::text::Lang;

/// A run's place among those of its organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLink {
    /// From 1, one more for each run.
    pub sequence: u64,
    /// SHA-256 of the evidence file of the run before, whole, in hexadecimal; zeros in the first.
    pub previous: String,
}

impl RunLink {
    /// Of the first run.
    #[must_use]
    pub fn first() -> Self {
        Self {
            sequence: 1,
            previous: NO_RUN.to_owned(),
        }
    }

    /// Of the run after the one with this number, whose evidence file has this hash.
    #[must_use]
    pub fn after(sequence: u64, sha256: String) -> Self {
        Self {
            sequence: sequence.saturating_add(1),
            previous: sha256,
        }
    }

    /// What the next run names of an evidence file.
    #[must_use]
    pub fn sha256_of(evidence: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(&Sha256::digest(evidence))
    }

    /// That the first run, and no other, has none before it.
    pub(super) fn check(&self) -> Result<(), EvidenceError> {
        let is_hash = self.previous.len() == NO_RUN.len()
            && self.previous.bytes().all(|it| it.is_ascii_hexdigit());
        let is_first = self.previous == NO_RUN;
        if is_hash && self.sequence > 0 && is_first == (self.sequence == 1) {
            return Ok(());
        }
        Err(EvidenceError::BadLink {
            sequence: self.sequence,
            previous: self.previous.chars().take(NO_RUN.len()).collect(),
        })
    }
}

/// What counts of a sound evidence file beside others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainedRun {
    /// The file, as it is named to people.
    pub file: String,
    pub organization: String,
    pub link: RunLink,
    pub sha256: String,
    pub started: OffsetDateTime,
}

impl ChainedRun {
    #[must_use]
    pub fn new(file: String, verified: &Verified) -> Self {
        Self {
            file,
            organization: verified.organization.clone(),
            link: verified.link.clone(),
            sha256: verified.sha256.clone(),
            started: verified.started,
        }
    }

    /// When the run began by the file's name, where a controller named it: `1795348800000.evidence`.
    fn named_ms(&self) -> Option<i128> {
        let name = self.file.rsplit('/').next()?;
        name.strip_suffix(".evidence")?.parse().ok()
    }
}

/// How the files of one organization hang together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub organization: String,
    /// The number of the oldest run that is here. If it is not 1, those before it are elsewhere: forgotten by the controller, which
    /// keeps a stated number of runs, or not among the files.
    pub first: u64,
    pub last: u64,
    /// Different runs.
    pub runs: usize,
    /// None: nothing between the first and the last was removed, exchanged or changed.
    pub faults: Vec<ChainFault>,
}

/// What is wrong between files that are sound each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainFault {
    /// Runs between two others are not here.
    Missing { from: u64, to: u64 },
    /// Two different runs have one number: a controller went back to an older copy of itself, or somebody signed twice.
    Twice {
        sequence: u64,
        files: (String, String),
    },
    /// The run was written after another file than the one that is here with the number before it.
    Replaced { sequence: u64, file: String },
    /// The run says that it began before the one before it.
    Backwards { sequence: u64 },
    /// The file has the name of another run.
    Misnamed { file: String, sequence: u64 },
}

impl ChainFault {
    /// For people.
    #[must_use]
    pub fn words(&self, lang: Lang) -> String {
        match (self, lang) {
            (Self::Missing { from, to }, Lang::Pt) => match from == to {
                true => format!("falta a rodada {from}"),
                false => format!("faltam as rodadas {from} a {to}"),
            },
            (Self::Missing { from, to }, Lang::En) => match from == to {
                true => format!("run {from} is missing"),
                false => format!("runs {from} to {to} are missing"),
            },
            (
                Self::Twice {
                    sequence,
                    files: (one, other),
                },
                Lang::Pt,
            ) => format!(
                "há duas rodadas {sequence} diferentes, {one} e {other}: o controlador voltou a uma cópia antiga, ou alguém assinou duas vezes"
            ),
            (
                Self::Twice {
                    sequence,
                    files: (one, other),
                },
                Lang::En,
            ) => format!(
                "there are two different runs {sequence}, {one} and {other}: the controller went back to an old copy, or somebody signed twice"
            ),
            (Self::Replaced { sequence, file }, Lang::Pt) => format!(
                "a rodada {sequence} foi escrita depois de outro arquivo que não {file}: ele foi trocado"
            ),
            (Self::Replaced { sequence, file }, Lang::En) => format!(
                "run {sequence} was written after another file than {file}: that one was exchanged"
            ),
            (Self::Backwards { sequence }, Lang::Pt) => format!(
                "a rodada {sequence} diz que começou antes da anterior: o relógio do controlador voltou, ou a ordem foi trocada"
            ),
            (Self::Backwards { sequence }, Lang::En) => format!(
                "run {sequence} says that it began before the one before it: the controller's clock went back, or the order was changed"
            ),
            (Self::Misnamed { file, sequence }, Lang::Pt) => {
                format!("{file} tem o nome de outra rodada: contém a rodada {sequence}")
            }
            (Self::Misnamed { file, sequence }, Lang::En) => {
                format!("{file} has the name of another run: it holds run {sequence}")
            }
        }
    }
}

/// The chain of each organization that the files are about, by name. The order in which the files are given does not matter, and a
/// file that is given twice counts once.
#[must_use]
pub fn chains(runs: &[ChainedRun]) -> Vec<Chain> {
    let mut of_organization: BTreeMap<&str, Vec<&ChainedRun>> = BTreeMap::new();
    for run in runs {
        of_organization
            .entry(&run.organization)
            .or_default()
            .push(run);
    }
    let each = of_organization.into_iter();
    each.map(|(organization, runs)| chain(organization, runs))
        .collect()
}

fn chain(organization: &str, mut runs: Vec<&ChainedRun>) -> Chain {
    runs.sort_by(|a, b| (a.link.sequence, &a.sha256).cmp(&(b.link.sequence, &b.sha256)));
    let mut faults: Vec<ChainFault> = runs.iter().filter_map(|it| misnamed(it)).collect();
    runs.dedup_by(|a, b| a.sha256 == b.sha256);
    let links = runs.windows(2).filter_map(|pair| between(pair[0], pair[1]));
    faults.extend(links);
    Chain {
        organization: organization.to_owned(),
        first: runs.first().map_or(0, |it| it.link.sequence),
        last: runs.last().map_or(0, |it| it.link.sequence),
        runs: runs.len(),
        faults,
    }
}

fn misnamed(run: &ChainedRun) -> Option<ChainFault> {
    let started_ms = run.started.unix_timestamp_nanos() / 1_000_000;
    let named_ms = run.named_ms()?;
    (named_ms != started_ms).then(|| ChainFault::Misnamed {
        file: run.file.clone(),
        sequence: run.link.sequence,
    })
}

fn between(before: &ChainedRun, run: &ChainedRun) -> Option<ChainFault> {
    let (earlier, sequence) = (before.link.sequence, run.link.sequence);
    if sequence == earlier {
        let files = (before.file.clone(), run.file.clone());
        return Some(ChainFault::Twice { sequence, files });
    }
    if sequence - earlier > 1 {
        return Some(ChainFault::Missing {
            from: earlier + 1,
            to: sequence - 1,
        });
    }
    if run.link.previous != before.sha256 {
        let file = before.file.clone();
        return Some(ChainFault::Replaced { sequence, file });
    }
    (run.started < before.started).then_some(ChainFault::Backwards { sequence })
}

/// In the place of the run before the first.
const NO_RUN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    /// Runs 1 to `count`, as a controller names their files, an hour apart.
    fn whole(count: u64) -> Vec<ChainedRun> {
        let mut link = RunLink::first();
        let mut runs = Vec::new();
        let mut started = datetime!(2026-11-22 12:00 UTC);
        for _ in 0..count {
            let sha256 = RunLink::sha256_of(format!("{link:?}").as_bytes());
            let started_ms = started.unix_timestamp() * 1_000;
            runs.push(ChainedRun {
                file: format!("checks/o7/{started_ms}.evidence"),
                organization: "sedec".to_owned(),
                link: link.clone(),
                sha256: sha256.clone(),
                started,
            });
            link = RunLink::after(link.sequence, sha256);
            started += Duration::HOUR;
        }
        runs
    }

    fn faults(runs: &[ChainedRun]) -> Vec<ChainFault> {
        let [chain] = &chains(runs)[..] else {
            panic!("one organization");
        };
        chain.faults.clone()
    }

    #[test]
    fn a_whole_history_hangs_together_in_whatever_order_its_files_come() {
        let mut runs = whole(5);
        runs.reverse();
        runs.push(runs[2].clone());
        let found = chains(&runs);
        assert_eq!((found[0].first, found[0].last, found[0].runs), (1, 5, 5));
        assert!(found[0].faults.is_empty(), "{:?}", found[0].faults);
    }

    #[test]
    fn a_pruned_history_begins_later_and_is_told_apart_from_a_first_run() {
        let pruned = chains(&whole(5)[2..]);
        assert_eq!((pruned[0].first, pruned[0].runs), (3, 3));
        assert!(pruned[0].faults.is_empty());
    }

    #[test]
    fn a_run_that_was_taken_out_is_named() {
        let mut runs = whole(6);
        runs.drain(2..4);
        assert_eq!(faults(&runs), [ChainFault::Missing { from: 3, to: 4 }]);
    }

    #[test]
    fn a_run_that_was_written_again_does_not_fit_the_one_after_it() {
        let mut runs = whole(4);
        runs[1].sha256 = RunLink::sha256_of(b"another");
        let file = runs[1].file.clone();
        assert_eq!(faults(&runs), [ChainFault::Replaced { sequence: 3, file }]);
    }

    #[test]
    fn files_whose_names_were_exchanged_are_named() {
        let mut runs = whole(3);
        let (one, other) = (runs[0].file.clone(), runs[1].file.clone());
        (runs[0].file, runs[1].file) = (other.clone(), one.clone());
        let misnamed = |file, sequence| ChainFault::Misnamed { file, sequence };
        assert_eq!(faults(&runs), [misnamed(other, 1), misnamed(one, 2)]);
        runs[0].file = "novembro.jsonl".to_owned();
        runs[1].file = "dezembro.jsonl".to_owned();
        assert!(faults(&runs).is_empty());
    }

    #[test]
    fn two_runs_with_one_number_and_a_clock_that_went_back_are_found() {
        let mut runs = whole(3);
        let mut other = runs[2].clone();
        other.sha256 = RunLink::sha256_of(b"after a restore");
        runs.push(other);
        assert!(matches!(
            faults(&runs)[..],
            [ChainFault::Twice { sequence: 3, .. }]
        ));
        let mut runs = whole(3);
        for run in &mut runs {
            run.file = "a".to_owned();
        }
        runs[2].started -= Duration::hours(3);
        assert_eq!(faults(&runs), [ChainFault::Backwards { sequence: 3 }]);
    }

    #[test]
    fn each_organization_has_its_own() {
        let mut runs = whole(2);
        let mut others = whole(3);
        for run in &mut others {
            run.organization = "sefaz".to_owned();
        }
        others.remove(1);
        runs.extend(others);
        let found = chains(&runs);
        assert!(found[0].faults.is_empty());
        assert_eq!(found[1].faults, [ChainFault::Missing { from: 2, to: 2 }]);
    }

    #[test]
    fn every_fault_has_words_in_both_languages() {
        let file = || "f".to_owned();
        for fault in [
            ChainFault::Missing { from: 2, to: 2 },
            ChainFault::Missing { from: 2, to: 4 },
            ChainFault::Twice {
                sequence: 2,
                files: (file(), file()),
            },
            ChainFault::Replaced {
                sequence: 2,
                file: file(),
            },
            ChainFault::Backwards { sequence: 2 },
            ChainFault::Misnamed {
                file: file(),
                sequence: 2,
            },
        ] {
            let (pt, en) = (fault.words(Lang::Pt), fault.words(Lang::En));
            assert!(
                pt.contains('2') && en.contains('2') && pt != en,
                "{pt} {en}"
            );
        }
    }
}
