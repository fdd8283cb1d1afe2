//! Names as operators write them, well and badly.

use super::*;

fn zone() -> ZoneName {
    "Example.org".parse().unwrap()
}

fn owner(text: &str) -> Result<RecordName, NameError> {
    text.parse()
}

#[test]
fn names_are_lower_cased_and_print_back() {
    assert_eq!(owner("WWW.Dev").unwrap().to_string(), "www.dev");
    assert_eq!(owner("@").unwrap().to_string(), "@");
    assert_eq!(
        owner("A.Example.ORG.").unwrap().to_string(),
        "a.example.org."
    );
    assert_eq!(zone().to_string(), "example.org");
    assert_eq!("example.org.".parse::<ZoneName>().unwrap(), zone());
    assert_eq!(
        "Mail.Example.".parse::<DomainName>().unwrap().to_string(),
        "mail.example."
    );
    assert_eq!(".".parse::<DomainName>().unwrap().to_string(), ".");
}

#[test]
fn a_name_outside_ascii_is_refused_with_its_a_label() {
    let error = owner("estação").unwrap_err().to_string();
    assert!(error.contains("`xn--estao-dra1a"), "{error}");
    let homograph = owner("раypal").unwrap_err();
    assert!(matches!(
        homograph,
        NameError::NotAscii {
            a_label: Some(_),
            ..
        }
    ));
}

#[test]
fn an_absolute_name_becomes_relative_to_its_zone() {
    let name = owner("www.dev.example.org.").unwrap();
    assert_eq!(name.relative_to(&zone()).unwrap().to_string(), "www.dev");
    assert!(
        owner("example.org.")
            .unwrap()
            .relative_to(&zone())
            .unwrap()
            .is_apex()
    );
}

#[test]
fn a_name_outside_its_zone_is_refused() {
    for text in ["www.example.net.", "badexample.org.", "org."] {
        let error = owner(text).unwrap().relative_to(&zone()).unwrap_err();
        assert!(
            matches!(error, NameError::OutsideZone { .. }),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_forgotten_final_dot_is_caught() {
    let error = owner("www.example.org")
        .unwrap()
        .relative_to(&zone())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`www.example.org` without a final dot would become `www.example.org.example.org`; \
         write `www` or `www.example.org.`"
    );
}

#[test]
fn wildcards_stand_only_in_front() {
    assert!(owner("*").unwrap().is_wildcard());
    assert!(owner("*.dev").unwrap().is_wildcard());
    for text in ["a.*", "*a", "a*.b", "**"] {
        assert!(
            matches!(owner(text), Err(NameError::MisplacedWildcard { .. })),
            "{text}"
        );
    }
    assert!("*.example.".parse::<DomainName>().is_err());
    assert!("*.example".parse::<ZoneName>().is_err());
}

#[test]
fn hostile_names_are_refused_and_shown_escaped() {
    for text in [
        "",
        ".",
        "a..b",
        ".a",
        "a b",
        "a\u{0}b",
        "../x",
        "a/b",
        "-a",
        "a-",
        "\u{1b}[2J",
    ] {
        assert!(owner(text).is_err(), "{text:?}");
    }
    let error = owner("a\u{1b}[31m").unwrap_err().to_string();
    assert!(!error.contains('\u{1b}'), "{error:?}");
    let error = owner(&"x".repeat(64 * 1024)).unwrap_err().to_string();
    assert!(error.len() < 300, "{}", error.len());
}

#[test]
fn lengths_are_limited_on_the_label_the_name_and_the_name_with_its_zone() {
    assert!(owner(&"a".repeat(63)).is_ok());
    assert!(matches!(
        owner(&"a".repeat(64)),
        Err(NameError::LabelTooLong { bytes: 64, .. })
    ));
    let longest_label = "a".repeat(60);
    let name = [longest_label.as_str(); 4].join(".");
    assert!(owner(&name).is_ok());
    let error = owner(&name).unwrap().relative_to(&zone()).unwrap_err();
    assert!(matches!(error, NameError::TooLong { .. }));
    assert!(
        format!("{name}.{longest_label}.")
            .parse::<DomainName>()
            .is_err()
    );
}

#[test]
fn a_target_says_its_full_name() {
    let error = "mail.example".parse::<DomainName>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`mail.example` does not end with a dot; write `mail.example.` if that is the full name"
    );
    assert!(matches!(
        "192.0.2.1.".parse::<DomainName>(),
        Err(NameError::Address { .. })
    ));
}
