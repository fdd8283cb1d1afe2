//! Replays the fuzz corpus: every input that was ever interesting must still be judged without a panic.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

use std::path::Path;

#[test]
fn every_request_of_the_corpus_is_judged() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/request");
    let mut count = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        malha_proxy::fuzz::request(&std::fs::read(file.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(
        count >= 10,
        "{} holds only {count} inputs",
        folder.display()
    );
}
