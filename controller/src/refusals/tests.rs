//! The catalogue is complete: every refusal has a code, and words of its own in both languages.

use std::collections::BTreeSet;

use malha_core::{Leading, Noun, Plenty, Reason, User};
use malha_zone::ZoneError;

use super::*;

/// One of every kind, and of every cause.
fn every() -> Vec<Rejection> {
    let mut every: Vec<Rejection> = Reason::each()
        .into_iter()
        .map(|reason| Rejection::Invalid {
            field: "field",
            reason,
        })
        .collect();
    for what in Noun::ALL.iter().copied() {
        let name = "abc".to_owned();
        every.extend([
            Rejection::NotFound {
                what,
                name: name.clone(),
            },
            Rejection::Exists {
                what,
                name: name.clone(),
            },
            Rejection::InUse {
                what,
                name: name.clone(),
                by: User::Thing(what, name),
            },
        ]);
    }
    every.extend(Plenty::ALL.iter().map(|what| Rejection::Limit {
        what: *what,
        limit: 7,
    }));
    every.extend([
        Rejection::OtherRequest,
        Rejection::Zone(ZoneError::CnameAtApex),
        Rejection::InUse {
            what: Noun::Operator,
            name: "ana".to_owned(),
            by: User::LastOwner,
        },
        Rejection::InUse {
            what: Noun::Node,
            name: "ss-1".to_owned(),
            by: User::Leading(vec![Leading {
                what: Noun::Balancer,
                name: "sefaz/producao/bal-1/xroad".to_owned(),
                alone: true,
            }]),
        },
        Rejection::Refused {
            code: RefusalCode::PoolExhausted,
            text: "the pool is full".to_owned(),
        },
    ]);
    every
}

#[test]
fn every_refusal_is_said_in_two_languages() {
    let mut portuguese = BTreeSet::new();
    for it in every() {
        let words = rejection(&it);
        let code = code(&it);
        for text in [&words.pt, &words.en] {
            assert!(text.ends_with('.') && text.len() > 8, "{code}: {text}");
        }
        assert_ne!(words.pt, words.en, "{code}");
        let english = [" the ", " is ", " not ", " and "];
        let foreign = english.iter().find(|word| words.pt.contains(**word));
        assert_eq!(foreign, None, "{code}: {}", words.pt);
        assert!(
            portuguese.insert(words.pt.clone()),
            "{code} says the same: {}",
            words.pt
        );
    }
}

/// What quotes another's words in English has those alone.
#[test]
fn every_cause_of_the_api_has_a_code_of_its_own_and_is_said_in_two_languages() {
    let (mut codes, mut portuguese) = (BTreeSet::new(), BTreeSet::new());
    for it in Refusal::each() {
        let (code, words) = (it.code(), it.words());
        assert!(codes.insert(code), "{code} stands twice");
        assert!(words.pt.ends_with('.'), "{code}: {}", words.pt);
        assert_ne!(words.pt, words.en, "{code}");
        let english = [" the ", " is ", " not ", " and ", " too "];
        let foreign = english.iter().find(|word| words.pt.contains(**word));
        assert_eq!(foreign, None, "{code}: {}", words.pt);
        assert!(portuguese.insert(words.pt), "{code} says the same");
    }
}

#[test]
fn why_a_check_did_not_take_place_is_said_in_two_languages() {
    use crate::checks::{CheckError, HistoryError};
    let path = std::path::PathBuf::from("/checks/o7");
    let broken = || std::io::Error::other("disk");
    let json = serde_json::from_str::<u8>("x").unwrap_err();
    for error in [
        CheckError::NotDeclared("sedec".to_owned()),
        CheckError::Busy,
        CheckError::History(HistoryError::Io {
            path: path.clone(),
            source: broken(),
        }),
        CheckError::History(HistoryError::Content { path, source: json }),
        CheckError::Evidence(malha_check::EvidenceError::Unsigned("no key".to_owned())),
        CheckError::Gone,
        CheckError::Interrupted,
    ] {
        let words = check(&error);
        assert_ne!(words.pt, words.en);
        assert!(words.pt.ends_with('.') && words.en.ends_with('.'));
    }
}

#[test]
fn a_text_names_its_line_and_field_in_both_languages() {
    let error = malha_core::policy::Policy::parse(
        "version = 1\n[[grant]]\nname = \"a\"\nfrom = []\nto = [\"edge\"]\n",
    );
    let words = text(&error.unwrap_err());
    assert_eq!(
        words.pt,
        "Linha 4, coluna 8: grant a: from: A lista está vazia; escreva ao menos um."
    );
    assert_eq!(
        words.en,
        "Line 4, column 8: grant a: from: The list is empty; name at least one."
    );
}

#[test]
fn a_field_that_does_not_exist_is_named_in_both_languages() {
    let error = malha_core::policy::Policy::parse("version = 1\ngrants = []\n").unwrap_err();
    let words = text(&error);
    assert!(
        words.pt.contains("O campo `grants` não existe aqui"),
        "{}",
        words.pt
    );
    assert!(words.pt.contains("`grant`"), "{}", words.pt);
    assert!(words.en.contains("Unknown field"), "{}", words.en);
}

#[test]
fn long_input_is_cut_and_an_error_becomes_a_sentence() {
    assert_eq!(
        quoted(&"x".repeat(65_536)).chars().count(),
        MAX_QUOTED_CHARS + 3
    );
    assert_eq!(sentence("the name is empty"), "The name is empty.");
}
