//! What the benchmark of the data plane found: a table of contenders, figures of Malha alone, goals. It judges only by
//! what was measured in this run.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::super::report::{columns, rounded};
use super::goal::{Goal, Verdict};
use super::series::Series;

/// The result of one run.
#[derive(Debug, Default, Serialize)]
pub struct Sheet {
    bench: &'static str,
    /// By measure and contender.
    compared: BTreeMap<Measure, BTreeMap<&'static str, Series>>,
    /// What only Malha was measured for, in the order of measuring.
    alone: Vec<Alone>,
    goals: Vec<Verdict>,
    notes: Vec<String>,
}

/// One figure without a peer; the unit is in the name.
#[derive(Debug, Serialize)]
struct Alone {
    name: &'static str,
    values: Series,
}

/// What is measured of every contender, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Measure {
    Tcp1,
    Tcp1Processor,
    Tcp4,
    Tcp4Processor,
    NetstackSends,
    NetstackSendsProcessor,
    Flood,
    FloodProcessor,
    Lost50,
    Lost100,
    PingIdle,
    PingLoaded,
    Resident,
}

impl Measure {
    fn title(self) -> &'static str {
        match self {
            Self::Tcp1 => "TCP, 1 stream, Gbit/s",
            Self::Tcp1Processor => "- processor, s/GB",
            Self::Tcp4 => "TCP, 4 streams, Gbit/s",
            Self::Tcp4Processor => "- processor, s/GB (4)",
            Self::NetstackSends => "netstack sends, Gbit/s",
            Self::NetstackSendsProcessor => "- processor, s/GB (sends)",
            Self::Flood => "UDP 64 B flood, kpps received",
            Self::FloodProcessor => "- processor, us/datagram",
            Self::Lost50 => "UDP 64 B at 50 kpps, % lost",
            Self::Lost100 => "UDP 64 B at 100 kpps, % lost",
            Self::PingIdle => "ping, idle, ms",
            Self::PingLoaded => "ping, under one stream, ms",
            Self::Resident => "memory of an end, MiB",
        }
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.title().trim_start_matches("- "))
    }
}

impl Sheet {
    pub(super) fn new() -> Self {
        Self {
            bench: "dataplane",
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, contender: &'static str, measure: Measure, value: f64) {
        let row = self.compared.entry(measure).or_default();
        row.entry(contender).or_default().push(value);
    }

    /// Adds a figure that has no peer.
    pub(super) fn add_alone(&mut self, name: &'static str, value: f64) {
        match self.alone.iter_mut().find(|alone| alone.name == name) {
            Some(alone) => alone.values.push(value),
            None => self.alone.push(Alone {
                name,
                values: value.into(),
            }),
        }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(super) fn median(&self, contender: &str, measure: Measure) -> Option<f64> {
        self.compared.get(&measure)?.get(contender)?.median()
    }

    pub(super) fn median_alone(&self, name: &str) -> Option<f64> {
        let alone = self.alone.iter().find(|alone| alone.name == name)?;
        alone.values.median()
    }

    /// Judges goals by what has been measured so far.
    pub(super) fn judge(&mut self, goals: &[Goal]) {
        let verdicts = goals.iter().filter_map(|goal| goal.judge(self));
        self.goals = verdicts.collect();
    }

    /// One JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Tables as wide as their longest words.
    #[must_use]
    pub fn table(&self) -> String {
        let mut tables = Vec::new();
        if !self.compared.is_empty() {
            tables.push(columns(&self.comparison(), &[]));
        }
        if !self.alone.is_empty() {
            let head = ["Malha alone", "median (least-most)"]
                .map(str::to_owned)
                .to_vec();
            let rows = self.alone.iter();
            let rows = rows.map(|alone| vec![alone.name.to_owned(), text(&alone.values)]);
            tables.push(columns(
                &std::iter::once(head).chain(rows).collect::<Vec<_>>(),
                &[],
            ));
        }
        if !self.goals.is_empty() {
            let head = ["goal", "wanted", "measured", ""]
                .map(str::to_owned)
                .to_vec();
            let rows = self.goals.iter().map(Verdict::row);
            tables.push(columns(
                &std::iter::once(head).chain(rows).collect::<Vec<_>>(),
                &[],
            ));
        }
        let notes: Vec<_> = self.notes.iter().map(|note| format!("· {note}")).collect();
        tables.push(notes.join("\n"));
        tables.join("\n\n")
    }

    fn comparison(&self) -> Vec<Vec<String>> {
        let mut names: Vec<&'static str> = Vec::new();
        for name in self.compared.values().flat_map(BTreeMap::keys) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        names.sort_by_key(|name| super::contender::ORDER.iter().position(|it| it == name));
        let head = std::iter::once(String::new()).chain(names.iter().map(|it| (*it).to_owned()));
        let mut lines = vec![head.collect::<Vec<_>>()];
        for (measure, row) in &self.compared {
            let cells = names
                .iter()
                .map(|name| row.get(name).map_or("-".to_owned(), text));
            lines.push(
                std::iter::once(measure.title().to_owned())
                    .chain(cells)
                    .collect(),
            );
        }
        lines
    }
}

/// `median (least-most)`, or the value alone.
fn text(series: &Series) -> String {
    let (Some(median), Some(least), Some(most)) = (series.median(), series.least(), series.most())
    else {
        return "-".to_owned();
    };
    let [median, least, most] = [median, least, most].map(rounded);
    match series.count() {
        1 => median.to_string(),
        _ => format!("{median} ({least}-{most})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contender_that_did_not_measure_something_has_a_dash() {
        let mut sheet = Sheet::new();
        sheet.add("malha", Measure::Tcp1, 4.0);
        sheet.add("malha", Measure::Tcp1, 2.0);
        sheet.add("veth", Measure::Tcp1, 22.0);
        sheet.add("malha", Measure::Resident, 3.0);
        let table = sheet.table();
        let lines: Vec<_> = table.lines().collect();
        assert!(
            lines[1].contains("22") && lines[1].contains("3 (2-4)"),
            "{table}"
        );
        assert!(lines[2].contains('-') && lines[2].contains('3'), "{table}");
    }

    #[test]
    fn programs_find_measures_by_name() {
        let mut sheet = Sheet::new();
        sheet.add("malha", Measure::Tcp1, 4.0);
        let expected = r#""compared":{"TCP, 1 stream, Gbit/s":{"malha":[4.0]}}"#;
        assert!(sheet.json().unwrap().contains(expected));
    }
}
