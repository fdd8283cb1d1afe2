//! Why something was dropped: what operators read of it is what the programs count.

use std::collections::{BTreeMap, BTreeSet};

use malha_node::status::{DropStatus, TunnelDropStatus};
use serde::Serialize;

use crate::tree::read;

/// What a row says of a reason beside its meaning.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    /// As `malha-node status` calls it, in English and Portuguese.
    words: String,
    counted: BTreeSet<String>,
}

#[test]
fn the_table_of_drops_has_every_reason_and_no_other() {
    let mut expected = BTreeMap::<String, Row>::new();
    let catalogue = read("node/src/text/drops.rs");
    for (place, reasons) in [
        ("node", fields(&TunnelDropStatus::default())),
        ("peer", fields(&DropStatus::default())),
        ("hub", reasons_of_the_metric()),
    ] {
        assert!(reasons.len() > 8, "{place}: {reasons:?}");
        for reason in reasons {
            let row = expected.entry(reason.clone()).or_default();
            row.counted.insert(place.to_owned());
            if place != "hub" {
                row.words = words(&catalogue, &reason);
            }
        }
    }
    assert_eq!(table(), expected);
}

/// The rows of the document, each of which says what it means and what to do.
fn table() -> BTreeMap<String, Row> {
    let text = read("docs/OPERATING.md");
    let (_, section) = text
        .split_once("\n## What is dropped, and why\n")
        .expect("docs/OPERATING.md has the section");
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let mut table = BTreeMap::new();
    for line in rows {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, reason, words, counted, meaning, cure, _] = cells[..] else {
            panic!("{line}");
        };
        assert!(!meaning.is_empty() && !cure.is_empty(), "{line}");
        let row = Row {
            words: words.to_owned(),
            counted: counted.split(", ").map(str::to_owned).collect(),
        };
        let before = table.insert(reason.trim_matches('`').to_owned(), row);
        assert_eq!(before, None, "{line}");
    }
    table
}

fn fields(counts: &impl Serialize) -> Vec<String> {
    let counts = serde_json::to_value(counts).expect("counts are JSON");
    let counts = counts.as_object().expect("counts have names");
    counts.keys().cloned().collect()
}

/// The labels of `malha_hub_dropped_total`.
fn reasons_of_the_metric() -> Vec<String> {
    let source = read("controller/src/metrics.rs");
    let (_, room) = source
        .split_once("fn hub_dropped(")
        .expect("the metric is counted there");
    let (labels, _) = room.split_once("] {").expect("it names its reasons");
    let labels = labels.split("(\"").skip(1);
    labels
        .filter_map(|label| Some(label.split_once('"')?.0.to_owned()))
        .collect()
}

fn words(catalogue: &str, reason: &str) -> String {
    let (_, entry) = catalogue
        .split_once(&format!(" {reason}() {{"))
        .unwrap_or_else(|| panic!("{reason} has no words"));
    let texts: Vec<&str> = entry.split('"').skip(1).step_by(2).take(2).collect();
    format!("{} / {}", texts[1], texts[0])
}
