//! Who may ask: passwords and keys, a wrong key, and nobody there to ask.

use crate::rig::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_keys_are_printed_once_and_never_taken_as_arguments() {
    let stage = Stage::new().await;
    let made = stage.run("operator add ana --role operator").ok();
    assert!(made.stdout.trim().len() >= 20);
    stage
        .run_reading(
            "operator add bia --role auditor --password-stdin",
            "correct horse battery\n",
        )
        .ok();
    assert_eq!(
        stage
            .run_reading("operator password bia --password-stdin", "short\n")
            .code,
        3
    );
    assert_eq!(
        stage
            .run_reading("operator password bia --password-stdin", "")
            .code,
        3
    );
    let reset = stage.json("operator password bia");
    assert!(reset["password"].as_str().unwrap().len() >= 20);

    let key = stage.run("key add script --scope read --ttl 1h").ok();
    std::fs::write(stage.place.path("script.key"), key.stdout).unwrap();
    stage.run("org list --key-file script.key").ok();
    let refused = stage.run("org add a --key-file script.key");
    assert_eq!(refused.code, 7);
    assert!(
        refused.stderr.contains("malha key add"),
        "{}",
        refused.stderr
    );
    stage.json("key remove script");
    assert_eq!(stage.run("org list --key-file script.key").code, 7);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_and_a_wrong_key_are_told_apart() {
    let stage = Stage::new().await;
    std::fs::write(
        stage.place.path("wrong.key"),
        format!("malha_key_{}", "A".repeat(43)),
    )
    .unwrap();
    assert_eq!(stage.run("status --key-file wrong.key").code, 7);
    let url = stage.api.url.clone();
    let Stage { place, api } = stage;
    api.finish().await;
    let ended = place.malha(&["status", "--api", &url, "--lang", "pt-BR"]);
    assert_eq!(ended.code, 6);
    assert!(ended.stderr.contains("malha serve"), "{}", ended.stderr);
    assert_eq!(
        place
            .malha(&["status", "--api", "http://192.0.2.1:8480"])
            .code,
        2
    );
}
