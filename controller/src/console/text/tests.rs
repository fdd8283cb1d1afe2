//! The catalogue's words: complete, short, and with examples that hold.

use malha_zone::RecordData;

use super::*;

#[test]
fn every_example_is_a_value_of_its_type() {
    for rtype in RecordType::ALL {
        assert!(RecordData::parse(rtype, example(rtype)).is_ok(), "{rtype}");
    }
}

#[test]
fn long_input_is_cut_and_an_error_becomes_a_sentence() {
    assert_eq!(
        quoted(&"x".repeat(65_536)).chars().count(),
        MAX_QUOTED_CHARS + 3
    );
    assert_eq!(sentence("the name is empty"), "The name is empty.");
}

#[test]
fn no_refusal_code_leaves_portuguese_speakers_with_english_words() {
    let rejection = Rejection::Refused {
        code: RefusalCode::PoolExhausted,
        text: "the pool is full".to_owned(),
    };
    let words = submit(&SubmitError::Rejected(rejection));
    assert_eq!(words.pt, "Não há mais endereços livres na malha.");
    assert_eq!(words.en, "The pool is full.");
}
