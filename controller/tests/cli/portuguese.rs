//! What goes wrong with a folder, a backup, a key or the audit log, as who reads Portuguese is told it.

use std::os::unix::fs::PermissionsExt;

use crate::rig::{Place, Stage};

/// The program's own words in Portuguese; its exit code is that of the English ones.
fn told(place: &Place, words: &[&str]) -> String {
    let portuguese = place.malha(&[words, &["--lang", "pt-BR"]].concat());
    let english = place.malha(&[words, &["--lang", "en"]].concat());
    assert_ne!(english.code, 0, "{words:?}");
    assert_eq!(portuguese.code, english.code, "{words:?}");
    assert_ne!(portuguese.stderr, english.stderr, "{words:?}");
    let foreign = [" the ", " is ", " not ", " and ", "No such", "with `"];
    let found = foreign.iter().find(|it| portuguese.stderr.contains(**it));
    assert_eq!(found, None, "{words:?}: {}", portuguese.stderr);
    portuguese.stderr
}

#[test]
fn what_is_not_there_or_is_in_the_way_is_said_in_portuguese() {
    let place = Place::new();
    place.init().ok();
    std::fs::write(place.path("taken"), "anything else, and long enough").unwrap();
    for (words, said) in [
        (&["backup", "verify", "none"][..], "não existe"),
        (&["backup", "verify", "taken"], "não é um backup da Malha"),
        (&["backup", "taken", "--data", "data"], "taken já existe"),
        (&["backup", "out", "--data", "none"], "malha init"),
        (&["backup", "none/out", "--data", "data"], "não existe"),
        (&["restore", "taken", "--data", "other"], "nada foi gravado"),
        (&["restore", "none", "--data", "other"], "não existe"),
        (
            &["store", "check", "--data", "none"],
            "não há armazenamento",
        ),
        (&["audit", "verify", "--data", "none"], "malha restore"),
        (
            &["serve", "--config", "none.toml"],
            "crie uma com `malha init`",
        ),
        (
            &[
                "init",
                "--host",
                "hub.example.com",
                "--address",
                "192.0.2.1",
            ],
            "não é sobrescrito",
        ),
        (&["init", "--config", "none.toml"], "informe --host NOME"),
        (&["status", "--key-file", "none"], "não existe"),
    ] {
        let told = told(&place, words);
        assert!(told.contains(said), "{words:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_backup_a_wrong_key_and_a_changed_log_are_said_in_portuguese() {
    let stage = Stage::new().await;
    stage.json("org add sefaz");
    stage.json("backup out.backup");
    let place = &stage.place;
    let in_use = told(place, &["backup", "late.backup", "--data", "data"]);
    assert!(in_use.contains("em uso por outro malha serve"), "{in_use}");
    let Stage { place, api } = stage;
    api.finish().await;

    let bytes = std::fs::read(place.path("out.backup")).unwrap();
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    std::fs::write(place.path("half.backup"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(place.path("changed.backup"), changed).unwrap();
    let half = told(&place, &["restore", "half.backup", "--data", "other"]);
    assert!(
        half.contains("ele termina no meio; nada foi gravado"),
        "{half}"
    );
    let changed = told(&place, &["backup", "verify", "changed.backup"]);
    assert!(changed.contains("soma de verificação"), "{changed}");
    let full = told(&place, &["restore", "out.backup", "--data", "data"]);
    assert!(full.contains("já há um armazenamento aqui"), "{full}");

    let log = place.data().join("audit/audit-00000001.jsonl");
    let right = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, right.replacen("sefaz", "sedec", 1)).unwrap();
    let forged = told(&place, &["audit", "verify"]);
    assert!(forged.contains("alterado por fora da malha"), "{forged}");
    std::fs::write(&log, right).unwrap();

    let key = place.data().join("master.key");
    let kept = std::fs::read_to_string(&key).unwrap();
    let other = kept.trim_end().rsplit_once(' ').unwrap().0.to_owned() + " " + &"00".repeat(32);
    for (text, mode, said) in [
        (kept.as_str(), 0o644, "chmod 600"),
        ("nothing\n", 0o600, "não tem uma chave mestra"),
        (&other, 0o600, "não é a chave mestra"),
    ] {
        std::fs::write(&key, text).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let told = told(&place, &["key", "recover"]);
        assert!(told.contains(said), "{told}");
    }
    std::fs::remove_file(&key).unwrap();
    let missing = told(&place, &["key", "recover"]);
    assert!(
        missing.contains("master.key: o arquivo ou a pasta não existe"),
        "{missing}"
    );
}
