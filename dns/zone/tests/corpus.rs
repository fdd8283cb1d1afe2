//! Replays the committed fuzz corpus and random bytes through the fuzz entry points.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::Path;

use malha_zone::{fuzz_answer, fuzz_edit};
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn every_message_of_the_corpus_keeps_the_invariants() {
    replay("message", fuzz_answer);
}

#[test]
fn every_edit_of_the_corpus_keeps_the_invariants() {
    replay("edit", fuzz_edit);
}

fn replay(folder: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(folder);
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        target(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 10, "only {files} corpus files");
}

fn label() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "example", "org", "net", "www", "sub", "*", "loop-a", "ns", "ent", "_tcp",
    ];
    prop_oneof![
        6 => proptest::sample::select(known.to_vec()).prop_map(|label| label.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..64),
    ]
}

/// A message with a plausible header and question, then anything.
fn plausible_message() -> impl Strategy<Value = Vec<u8>> {
    let qtype = prop_oneof![
        proptest::sample::select(vec![1_u16, 2, 5, 6, 15, 16, 28, 33, 41, 43, 252, 255, 257]),
        any::<u16>(),
    ];
    let tail = prop_oneof![
        Just(vec![]),
        (any::<u16>(), any::<u32>()).prop_map(|(payload, ttl)| {
            let mut opt = vec![0, 0, 41];
            opt.extend(payload.to_be_bytes());
            opt.extend(ttl.to_be_bytes());
            opt.extend([0, 0]);
            opt
        }),
        vec(any::<u8>(), 0..40),
    ];
    (any::<[u8; 2]>(), vec(label(), 0..6), qtype, tail).prop_map(|(id, labels, qtype, tail)| {
        let mut message = id.to_vec();
        message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!tail.is_empty())]);
        for label in labels {
            message.push(label.len() as u8);
            message.extend(label);
        }
        message.push(0);
        message.extend(qtype.to_be_bytes());
        message.extend([0, 1]);
        message.extend(tail);
        message
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_bytes_are_answered_in_form_or_not_at_all(data in vec(any::<u8>(), 0..300)) {
        fuzz_answer(&data);
    }

    #[test]
    fn any_plausible_message_is_answered_in_form(data in plausible_message()) {
        fuzz_answer(&data);
    }

    #[test]
    fn any_text_is_a_valid_history_or_refused(
        lines in vec("(route )?(put|del) (@|www|sub|\\*|a\\.sub|x) (A|NS|TXT|CNAME) 60 (192\\.0\\.2\\.[1-9]|a\\.b\\.)", 0..8)
    ) {
        fuzz_edit(lines.join("\n").as_bytes());
    }
}
