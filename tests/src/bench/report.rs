//! What a benchmark prints: a table for people, one JSON object for programs.

use serde::Serialize;

use super::figures::Samples;

/// The rows of one benchmark.
#[derive(Debug, Serialize)]
pub struct Report {
    bench: &'static str,
    rows: Vec<Row>,
    /// Why rows have no peer, and what the peers did otherwise.
    #[serde(skip)]
    notes: Vec<String>,
}

/// One figure, and the same of a peer where one ran.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    name: String,
    ours: f64,
    peer: Option<&'static str>,
    peer_value: Option<f64>,
    /// Ours divided by the peer's.
    ratio: Option<f64>,
    unit: &'static str,
}

impl Row {
    #[must_use]
    pub(super) fn new(name: impl Into<String>, ours: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            ours: rounded(ours),
            peer: None,
            peer_value: None,
            ratio: None,
            unit,
        }
    }

    /// The same row with what the peer did, if it ran.
    #[must_use]
    pub(super) fn beside(mut self, peer: &'static str, value: Option<f64>) -> Self {
        if let Some(value) = value.filter(|value| *value > 0.0) {
            self.peer = Some(peer);
            self.peer_value = Some(rounded(value));
            self.ratio = Some(rounded(self.ours / value));
        }
        self
    }
}

impl Report {
    #[must_use]
    pub(super) fn new(bench: &'static str) -> Self {
        Self {
            bench,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds the median and the 99th percentile of something timed.
    pub(super) fn add_times(
        &mut self,
        name: &str,
        ours: &Samples,
        peer: &'static str,
        theirs: Option<&Samples>,
    ) {
        for (mark, share) in [("p50", 0.5), ("p99", 0.99)] {
            let row = Row::new(format!("{name}, {mark}"), ours.at(share), "ms");
            self.add(row.beside(peer, theirs.map(|theirs| theirs.at(share))));
        }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// One JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// A table as wide as its longest words.
    #[must_use]
    pub fn table(&self) -> String {
        let none = || "-".to_owned();
        let head = ["", "ours", "unit", "peer", "peer's", "ours/peer's"].map(str::to_owned);
        let rows = self.rows.iter().map(|row| {
            vec![
                row.name.clone(),
                row.ours.to_string(),
                row.unit.to_owned(),
                row.peer.map_or_else(none, str::to_owned),
                row.peer_value.map_or_else(none, |value| value.to_string()),
                row.ratio.map_or_else(none, |ratio| ratio.to_string()),
            ]
        });
        let lines: Vec<_> = std::iter::once(head.to_vec()).chain(rows).collect();
        let notes = self.notes.iter().map(|note| format!("· {note}"));
        let table = std::iter::once(columns(&lines, &[1, 4, 5]));
        table.chain(notes).collect::<Vec<_>>().join("\n")
    }
}

/// Cells below each other, some columns flush right.
pub(super) fn columns(lines: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let count = lines.first().map_or(0, Vec::len);
    let widths: Vec<_> = (0..count)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let lines = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).enumerate();
        let cells: Vec<_> = cells
            .map(|(column, (cell, width))| {
                if right.contains(&column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Three significant digits: more would be noise.
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(SIGNIFICANT_DIGITS - 1 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

const SIGNIFICANT_DIGITS: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_peer_says_null_and_one_with_it_says_how_many_times() {
        let mut report = Report::new("x");
        report.add(Row::new("a", 2.0, "ms"));
        report.add(Row::new("b", 1234.6, "1/s").beside("etcd", Some(500.0)));
        let expected = r#"{"bench":"x","rows":[{"name":"a","ours":2.0,"peer":null,"peer_value":null,"ratio":null,"unit":"ms"},{"name":"b","ours":1230.0,"peer":"etcd","peer_value":500.0,"ratio":2.46,"unit":"1/s"}]}"#;
        assert_eq!(report.json().unwrap(), expected);
    }

    #[test]
    fn the_columns_of_the_table_stand_below_each_other() {
        let mut report = Report::new("x");
        report.add(Row::new("short", 2.0, "ms"));
        report.add(Row::new("much longer", 200.0, "ms").beside("etcd", Some(100.0)));
        let table = report.table();
        let at = |line: usize| table.lines().nth(line).and_then(|line| line.find("ms"));
        assert_eq!(at(1), at(2));
    }
}
