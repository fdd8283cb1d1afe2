//! What texts say, and how wrong ones are refused.

use super::*;

const SEDEC: &str = r#"version = 1
central = ["central.xvia.mt.gov.br"]
peers = ["xvia.sefaz.mt.gov.br", "203.0.113.7"]
ocsp = ["http://ocsp.xvia.mt.gov.br:8888/"]
time_stamps = ["http://tsa.xvia.mt.gov.br:8899/"]
name_servers = ["ns1.mt.gov.br", "192.0.2.53:5353"]
issuers = ["""
-----BEGIN CERTIFICATE-----
TUFMSEE=
-----END CERTIFICATE-----
"""]

[production]
site = "producao"
names = ["xvia.sedec.mt.gov.br"]
addresses = ["203.0.113.10", "2001:db8::10"]
urls = ["https://xvia.sedec.mt.gov.br/"]

[development]
names = ["xvia-dev.sedec.mt.gov.br"]
addresses = ["203.0.113.11"]

[ports]
from_outside = [4000, 9011, 2080]
to_outside = [80, 443, 4001, 5500, 5577, 8888, 8899]
"#;

fn refusal(from: &str, to: &str) -> TextError {
    let text = SEDEC.replacen(from, to, 1);
    assert_ne!(text, SEDEC, "{from} is not in the example");
    Statement::parse(&text).unwrap_err()
}

#[test]
fn a_text_says_what_stands_in_it() {
    let said = Statement::parse(SEDEC).unwrap();
    let production = said.stage(Stage::Production).unwrap();
    assert_eq!(production.site.as_str(), "producao");
    assert_eq!(production.addresses.len(), 2);
    let development = said.stage(Stage::Development).unwrap();
    assert_eq!(development.site.as_str(), "development");
    assert!(development.urls.is_empty());
    assert_eq!(said.ports.from_outside, [4_000, 9_011, 2_080]);
    assert_eq!(said.name_servers[1].port, 5_353);
    assert_eq!(said.ocsp[0].port, 8_888);
}

#[test]
fn what_a_program_writes_reads_back_the_same() {
    let said = Statement::parse(SEDEC).unwrap();
    assert_eq!(Statement::parse(&said.to_text()), Ok(said));
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (from, to, line, words) in [
        ("version = 1", "version = 2", 1, "version 1"),
        (
            "\"203.0.113.10\"",
            "\"203.0.113\"",
            16,
            "production: addresses",
        ),
        (
            "\"203.0.113.10\"",
            "\"127.0.0.1\"",
            16,
            "production: addresses",
        ),
        (
            "[\"xvia.sedec.mt.gov.br\"]",
            "[\"*.sedec.mt.gov.br\"]",
            15,
            "wildcard",
        ),
        (
            "[\"xvia.sedec.mt.gov.br\"]",
            "[\"203.0.113.9\"]",
            15,
            "host name",
        ),
        ("names = [\"xvia-dev", "nomes = [\"xvia-dev", 20, "nomes"),
        ("9011", "4000", 24, "ports: from_outside: 4000 stands twice"),
        ("9011", "0", 24, "1 to 65535"),
        ("9011", "90110", 24, "90110"),
        ("TUFMSEE=", "não", 7, "issuers"),
        ("http://ocsp", "ldap://ocsp", 4, "ocsp"),
        (
            "\"203.0.113.7\"",
            "\"xvia.sefaz.mt.gov.br\"",
            3,
            "stands twice",
        ),
        ("producao", "Produção", 14, "production: site"),
    ] {
        let error = refusal(from, to);
        assert_eq!(error.line, line, "{from} -> {to}: {error}");
        assert!(error.to_string().contains(words), "{from} -> {to}: {error}");
    }
}

#[test]
fn a_text_without_an_environment_or_without_end_is_refused() {
    let none = Statement::parse("version = 1\n").unwrap_err();
    assert!(none.to_string().contains("[production]"), "{none}");
    let long = format!("{SEDEC}\n#{}", "x".repeat(MAX_DECLARATION_BYTES));
    assert!(
        Statement::parse(&long)
            .unwrap_err()
            .to_string()
            .contains("bytes")
    );
    let many: Vec<String> = (0..=MAX_DECLARED)
        .map(|n| format!("\"p{n}.example.br\""))
        .collect();
    let error = refusal("\"203.0.113.7\"", &many.join(","));
    assert!(error.to_string().contains("at most"), "{error}");
}
