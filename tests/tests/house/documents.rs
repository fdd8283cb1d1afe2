//! Documents, and what may stand in no file at all.

use std::collections::BTreeMap;

use crate::tree::{files, read};

#[test]
fn both_languages_tell_the_same() {
    let shape = |path: &str| -> Vec<usize> {
        let text = read(path);
        let headings = text
            .lines()
            .filter(|line| line.starts_with('#') && line.contains(' '));
        headings
            .map(|line| line.chars().take_while(|c| *c == '#').count())
            .collect()
    };
    let english = shape("README.md");
    assert!(
        english.len() > 3,
        "README.md has only {} headings",
        english.len()
    );
    assert_eq!(
        english,
        shape("LEIAME.md"),
        "the headings of README.md and LEIAME.md"
    );
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    for file in files() {
        let Some(text) = file.text() else { continue };
        for (at, line) in text.lines().enumerate() {
            let wrong = MACHINE
                .iter()
                .map(|parts| parts.concat())
                .find(|mark| line.contains(mark));
            assert_eq!(wrong, None, "{}:{}", file.path, at + 1);
        }
    }
}

#[test]
fn what_the_documents_point_at_is_there() {
    let files = files();
    let documents = files.iter().filter(|file| file.has_extension("md"));
    for document in documents {
        let text = document.text().unwrap_or_default();
        let folder = document
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = crate::tree::root().join(folder).join(target);
            assert!(path.exists(), "{}: {link} leads nowhere", document.path);
        }
    }
}

/// A path is written whole, or its end after the path before it.
#[test]
fn the_paths_of_the_code_map_are_there() {
    let paths: Vec<String> = files().into_iter().map(|file| file.path).collect();
    let leads_somewhere = |name: &str| {
        let mut before = paths.iter().filter_map(|path| path.split_once(name));
        before.any(|(before, _)| before.is_empty() || before.ends_with('/'))
    };
    let map = read("docs/ARCHITECTURE.md");
    let spans = map
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    let named = spans.filter(|span| span.contains('/') || span.ends_with(".rs"));
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 50, "only {} paths", named.len());
    for name in named {
        assert!(leads_somewhere(name), "docs/ARCHITECTURE.md: {name}");
    }
}

#[test]
fn every_fuzz_target_starts_from_a_committed_corpus() {
    let mut inputs = BTreeMap::<String, usize>::new();
    for file in files() {
        let mut names = file.path.split("/corpus/");
        if let (Some(room), Some(rest), None) = (names.next(), names.next(), names.next())
            && let Some((corpus, _)) = rest.split_once('/')
        {
            *inputs.entry(format!("{room}/corpus/{corpus}")).or_default() += 1;
        }
    }
    for corpus in CORPORA {
        let count = inputs.remove(corpus).unwrap_or(0);
        assert!(count >= 3, "{corpus} has {count} inputs");
    }
    assert!(inputs.is_empty(), "corpora of no target: {inputs:?}");
}

const CORPORA: [&str; 17] = [
    "controller/check/corpus/answer",
    "controller/core/corpus/text",
    "controller/pki/corpus/certificate",
    "controller/proto/corpus/frame",
    "controller/proto/corpus/token",
    "dns/zone/corpus/edit",
    "dns/zone/corpus/message",
    "node/corpus/names",
    "node/proxy/corpus/request",
    "node/tunnel/corpus/carrier",
    "node/tunnel/corpus/datagram",
    "node/tunnel/corpus/filter",
    "node/tunnel/corpus/packet",
    "node/tunnel/corpus/relay_frame",
    "node/tunnel/corpus/relay_story",
    "node/tunnel/corpus/segments",
    "node/tunnel/corpus/tun_frame",
];

/// In pieces, so that this file does not have them.
const MACHINE: [[&str; 2]; 6] = [
    ["/wo", "rk/"],
    ["/ro", "ot/"],
    ["/home", "/user"],
    ["/tmp/", "brief"],
    ["replace-", "with ="],
    ["spa", "rse+http"],
];
