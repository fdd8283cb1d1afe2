//! What works on this machine alone: a new controller's folder, documents, and what is said without a controller.

use serde_json::json;

use crate::rig::{Place, mode};

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_a_private_folder_shows_one_password_and_overwrites_nothing() {
    let place = Place::new();
    let made = place.init().json();
    let password = made["password"].as_str().unwrap();
    assert!(password.len() >= 20, "{password}");
    assert_eq!(mode(&place.data()), 0o700);
    for file in ["admin.key", "master.key", "hub.key"] {
        assert_eq!(mode(&place.data().join(file)), 0o600, "{file}");
    }
    let config = std::fs::read_to_string(place.path("malha.toml")).unwrap();
    assert!(!config.contains(password) && config.contains("hub.example.com"));
    let again = place.init();
    assert_eq!(again.code, 5, "{}", again.stderr);
    let as_it_is = place.malha(&["init"]);
    assert_eq!(as_it_is.code, 5, "{}", as_it_is.stderr);
    assert_eq!(
        std::fs::read_to_string(place.path("malha.toml")).unwrap(),
        config
    );
    place.malha(&["serve", "--check"]).ok();
    place.malha(&["store", "check"]).ok();
    let audit = place.malha(&["audit", "verify", "--json"]).json();
    assert_eq!(
        (&audit["lines"], &audit["compared_with_store"]),
        (&json!(2), &json!(true))
    );
}

#[test]
fn a_failed_init_leaves_no_configuration_in_the_way() {
    let place = Place::new();
    std::fs::write(place.path("file"), "").unwrap();
    let words = [
        "init",
        "--data",
        "file",
        "--host",
        "hub.example.com",
        "--address",
        "192.0.2.1",
    ];
    assert_ne!(place.malha(&words).code, 0);
    assert!(!place.path("malha.toml").exists());
    assert_eq!(place.malha(&["init"]).code, 2);
}

#[test]
fn without_a_controller_every_local_command_says_what_is_missing() {
    let place = Place::new();
    for (words, code) in [
        (&["serve"][..], 4),
        (&["serve", "--config", "none.toml"], 4),
        (&["store", "check", "--data", "none"], 4),
        (&["audit", "verify", "--data", "none"], 4),
        (&["backup", "verify", "none"], 4),
        (&["backup", "out", "--data", "none"], 4),
        (&["restore", "none", "--data", "here"], 4),
        (&["status"], 7),
        (&["status", "--key-file", "none"], 7),
    ] {
        let ended = place.malha(words);
        assert_eq!(ended.code, code, "{words:?}: {}", ended.stderr);
        assert!(
            ended.stdout.is_empty() && !ended.stderr.is_empty(),
            "{words:?}"
        );
    }
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_its_line_on_one_line() {
    let place = Place::new();
    place.init().ok();
    let file = place.path("malha.toml");
    let right = std::fs::read_to_string(&file).unwrap();
    for (wrong, message) in [
        ("mtu = 1280", "unknown field `mtu`, expected one of"),
        ("mtu_bytes = \"much\"", "invalid type: string \"much\""),
    ] {
        std::fs::write(&file, right.replace("mtu_bytes = 1280", wrong)).unwrap();
        let line = right.lines().position(|line| line == "mtu_bytes = 1280");
        let line = line.unwrap() + 1;
        let ended = place.malha(&["serve", "--check"]);
        let start = format!("malha: malha.toml: line {line}: {message}");
        assert_eq!(ended.code, 3);
        assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
        assert!(!ended.stderr.contains("\\u"), "{}", ended.stderr);
    }
}

#[test]
fn completions_manuals_and_documents_come_out() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            place
                .malha(&["completions", shell])
                .ok()
                .stdout
                .contains("malha")
        );
    }
    place.malha(&["man", "man"]).ok();
    assert!(place.path("man/malha-node-replace.1").exists());
    let help = place.malha(&["--help"]).ok().stdout;
    assert!(help.contains("Exit codes:") && !help.contains("demo-node"));
}
