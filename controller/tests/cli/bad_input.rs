//! What is wrong ends with its exit code and a clear word, and stores nothing.

use serde_json::Value;

use crate::rig::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_ends_with_its_code_a_clear_word_and_nothing_stored() {
    let stage = Stage::new().await;
    stage.json("org add sefaz");
    let before = stage.revision();
    let long = "a".repeat(65_536);
    let hostile = [
        "..",
        "../../etc/passwd",
        "a\u{1b}[2J",
        "a\u{202e}b",
        "раураl",
        "A",
        "-a-",
        "a\nb",
        &long,
    ];
    let templates = [
        "org add %",
        "site add sefaz/%",
        "site add %/a",
        "token add % --profile garage",
        "service add % web --port 80 --target 127.0.0.1:1",
        "service add n1 % --port 80 --target 127.0.0.1:1",
        "route add % --service a/b/c/web",
        "grant add --from % --to profile:edge --ports 1",
        "zone add %",
        "record put % www A 192.0.2.1",
        "operator add % --role auditor",
        "key add % --scope read",
        "node show %",
        "node remove %",
        "node rename % a",
        "node replace %",
        "token revoke %",
        "zone remove %",
    ];
    for template in templates {
        // In DNS a capital is the same letter.
        for text in hostile
            .into_iter()
            .filter(|text| !(*text == "A" && template.starts_with("zone")))
        {
            let mut words: Vec<String> = template
                .split(' ')
                .map(|word| word.replace('%', text))
                .collect();
            // What starts with a hyphen is taken for a flag, which is an error too.
            words.extend(["--api".to_owned(), stage.api.url.clone()]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = stage.place.malha(&words);
            let shown: String = text.chars().take(20).collect();
            assert!(
                (2..=5).contains(&ended.code),
                "{template} {shown:?}: {} {}",
                ended.code,
                ended.stderr
            );
            assert!(
                ended.stdout.is_empty(),
                "{template} {shown:?}: {}",
                ended.stdout
            );
            let raw = ended
                .stderr
                .chars()
                .any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
            assert!(
                !raw || ended.code == 2,
                "{template} {shown:?}: {:?}",
                ended.stderr
            );
            assert!(
                ended.code == 2 || ended.stderr.len() < 2_000,
                "{template} {shown:?}"
            );
            assert_eq!(stage.revision(), before, "{template} {shown:?}");
        }
    }
    for (line, code) in [
        ("org add sefaz", 5),
        ("org show none", 4),
        ("org remove o999", 4),
        ("site add sefaz", 2),
        ("token add sefaz/none --profile garage", 4),
        ("token add none --profile garage --ttl 1s", 4),
        (
            "grant add --from profile:edge --to profile:edge --ports 9-1",
            3,
        ),
        ("grant add --from profile:edge --to profile:edge", 2),
        ("zone add .", 3),
        ("key add x --scope king", 3),
    ] {
        let ended = stage.run(line);
        assert_eq!(ended.code, code, "{line}: {}", ended.stderr);
        assert_eq!(stage.revision(), before, "{line}");
    }
    let problem: Value = serde_json::from_str(&stage.run("org show none --json").stderr).unwrap();
    assert_eq!(problem["status"], 404);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_would_be_right_and_nothing_of_the_json_between() {
    let stage = Stage::new().await;
    for (line, pt, en) in [
        (
            "service add n1 web --port 80 --target localhost:80",
            "malha: target: Escreva endereço e porta, como 127.0.0.1:8080",
            "malha: target: write an address and a port, like 127.0.0.1:8080",
        ),
        (
            "org add Sefaz",
            "malha: name: “Sefaz” tem o caractere “S”",
            "malha: name: \"Sefaz\" has 'S'",
        ),
        (
            "site add sefaz",
            "malha: escreva ORG/LOCAL",
            "malha: write ORG/SITE",
        ),
        ("zone show no.example", "malha zone list", "malha zone list"),
    ] {
        for (lang, said) in [("pt-BR", pt), ("en", en)] {
            let ended = stage.run(&format!("{line} --lang {lang}"));
            assert!(
                ended.code > 1 && ended.stderr.contains(said),
                "{}",
                ended.stderr
            );
            assert!(!ended.stderr.contains("column"), "{}", ended.stderr);
        }
    }
    stage.api.finish().await;
}
