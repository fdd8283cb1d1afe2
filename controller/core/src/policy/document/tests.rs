//! What a text may say, and how a wrong one is refused.

use super::*;

const GOOD: &str = r#"
version = 1

# Messages between security servers.
[[grant]]
name = "xroad"
from = ["profile:security-server", "org:sefaz"]
to = ["profile:security-server", "site:sefaz/producao", "node:sefaz/producao/ss-1", "tag:db", "edge", "operator"]
protocol = "tcp"
ports = ["5500", "8000-8010"]
schedule = { days = ["mon", "fri"], from = "08:00", to = "18:00", zone = "America/Cuiaba" }
expires = 2027-01-31T23:59:00-04:00

[[grant]]
name = "web"
from = ["edge"]
to = ["profile:garage"]
service = "web"

[[grant]]
name = "ping"
from = ["operator"]
to = ["profile:garage"]
protocol = "icmp"

[[test]]
name = "mensagens"
from = "profile:security-server"
to = "profile:security-server"
protocol = "tcp"
port = 5500
expect = "allow"
at = 2026-11-23T12:00:00Z
"#;

fn refusal(text: &str) -> TextError {
    Policy::parse(text).unwrap_err()
}

#[test]
fn a_whole_policy_is_read() {
    let policy = Policy::parse(GOOD).unwrap();
    let names: Vec<&str> = policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["xroad", "web", "ping"]);
    let rule = &policy.rules[0];
    let to: Vec<String> = rule.to.iter().map(ToString::to_string).collect();
    assert_eq!(to[4..], ["profile:edge", "tag:operator"]);
    assert_eq!((rule.line, rule.opens.len()), (6, 2));
    assert_eq!(rule.expires_ms, Some(1_801_454_340_000));
    assert!(policy.cases[0].allowed && policy.cases[0].line == 28);
}

/// A wrong line in the place of a good one, and what the refusal must say.
#[test]
fn every_refusal_names_the_place_the_field_and_what_would_be_right() {
    let wrong = [
        ("version = 1", "version = 2", 2, "version 1"),
        ("name = \"xroad\"", "name = \"x road\"", 6, "grant: name"),
        ("name = \"web\"", "name = \"xroad\"", 15, "name of its own"),
        ("\"org:sefaz\"]", "\"organization:sefaz\"]", 7, "org:NAME"),
        ("\"edge\", \"operator\"]", "\"edge:x\"]", 8, "\"edge\""),
        (
            "\"profile:security-server\", \"org",
            "\"profile:x\", \"org",
            7,
            "security-server",
        ),
        ("from = [\"edge\"]", "from = []", 16, "at least one"),
        (
            "from = [\"edge\"]",
            "from = [\"edge\", \"profile:edge\"]",
            16,
            "stands twice",
        ),
        ("\"5500\", ", "\"0\", ", 10, "like \"5500\""),
        ("\"8000-8010\"", "\"8010-8000\"", 10, "8000-8010"),
        (
            "protocol = \"tcp\"\nports",
            "protocol = \"sctp\"\nports",
            9,
            "tcp",
        ),
        (
            "service = \"web\"",
            "protocol = \"tcp\"",
            18,
            "ports: missing",
        ),
        (
            "service = \"web\"",
            "service = \"web\"\nports = [\"80\"]",
            18,
            "keep one",
        ),
        ("service = \"web\"", "", 15, "protocol: missing"),
        ("\"icmp\"", "\"icmp\"\nports = [\"1\"]", 25, "icmp has none"),
        ("[\"mon\", \"fri\"]", "[\"seg\"]", 11, "mon, tue"),
        ("\"18:00\"", "\"08:00\"", 11, "24:00"),
        ("America/Cuiaba", "Cuiaba", 11, "-04:00"),
        ("2027-01-31T23:59:00-04:00", "2027-01-31", 12, "offset"),
        ("expires =", "expire =", 12, "expires"),
        ("expect = \"allow\"", "expect = \"yes\"", 32, "\"deny\""),
        ("port = 5500\n", "", 30, "like 5500"),
        ("port = 5500", "port = 70000", 31, "70000"),
        (
            "[[grant]]\nname = \"ping\"",
            "[[grants]]\nname = \"ping\"",
            20,
            "grant",
        ),
        ("version = 1", "version = ", 2, ""),
    ];
    for (good, bad, line, says) in wrong {
        assert!(GOOD.contains(good), "{good}");
        let error = refusal(&GOOD.replacen(good, bad, 1));
        assert!(
            error.line == line && error.to_string().contains(says),
            "{bad}: {error}"
        );
    }
}

#[test]
fn a_text_that_is_too_much_is_refused() {
    let long = format!("version = 1\n#{}", "x".repeat(MAX_POLICY_BYTES));
    assert!(refusal(&long).to_string().contains("at most"));
    let orgs: Vec<String> = (0..101).map(|n| format!("\"org:o{n}\"")).collect();
    let orgs = orgs.join(", ");
    let wide = format!(
        "version = 1\n[[grant]]\nname = \"a\"\nfrom = [{orgs}]\nto = [{orgs}]\nprotocol = \"icmp\"\n"
    );
    assert!(refusal(&wide).to_string().contains("10201 grants"));
    let timed: String = (0..=MAX_POLICY_TEST_TIMES)
        .map(|n| {
            format!(
                "[[test]]\nfrom = \"edge\"\nto = \"edge\"\nprotocol = \"icmp\"\nexpect = \"deny\"\nat = 2027-01-01T00:00:{n:02}Z\n"
            )
        })
        .collect();
    let error = refusal(&format!("version = 1\n{timed}"));
    assert!(error.to_string().contains("different times"), "{error}");
}
