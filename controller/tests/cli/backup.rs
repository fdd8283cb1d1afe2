//! Backups, and what comes back from them: the state, and the chain of the evidence.

use std::os::unix::fs::{MetadataExt, chown};

use malha::folder;

use crate::rig::{Api, Stage, mode};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_out_is_verified_and_comes_back_elsewhere() {
    let stage = Stage::new().await;
    stage.json("org add sefaz");
    let taken = stage.json("backup out.backup");
    assert_eq!(mode(&stage.place.path("out.backup")), 0o600);
    assert_eq!(stage.run("backup out.backup").code, 5);
    assert_eq!(
        stage.json("backup verify out.backup")["sha256"],
        taken["sha256"]
    );
    assert_eq!(
        stage.run("backup offline.backup --data data").code,
        5,
        "the folder is in use"
    );
    assert!(
        !stage.place.path("offline.backup").exists()
            && !stage.place.path("offline.backup.partial").exists()
    );

    let Stage { place, api } = stage;
    api.finish().await;
    place
        .malha(&["backup", "offline.backup", "--data", "data"])
        .ok();
    let bytes = std::fs::read(place.path("out.backup")).unwrap();
    std::fs::write(place.path("half.backup"), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(place.malha(&["backup", "verify", "half.backup"]).code, 8);
    assert_eq!(
        place
            .malha(&["restore", "half.backup", "--data", "other"])
            .code,
        8
    );
    assert_eq!(
        place
            .malha(&["restore", "out.backup", "--data", "data"])
            .code,
        5
    );
    place
        .malha(&["restore", "out.backup", "--data", "other"])
        .ok();
    place.malha(&["store", "check", "--data", "other"]).ok();
    let restored = folder::open(&place.path("other"), &place.data().join("master.key"))
        .await
        .unwrap();
    assert!(restored.state.organization_by_name("sefaz").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_restored_folder_and_its_master_key_gets_back_in() {
    let stage = Stage::new().await;
    let taken = stage.run("backup out.backup");
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert_eq!(
        stage.run("key recover").code,
        5,
        "a running one is left alone"
    );
    let Stage { place, api } = stage;
    api.finish().await;
    let (data, kept) = (place.data(), place.path("kept"));
    std::fs::rename(&data, &kept).unwrap();
    place
        .malha(&["restore", "out.backup", "--data", "data"])
        .ok();
    let without = place.malha(&["key", "recover"]);
    assert_eq!(without.code, 4, "{}", without.stderr);
    let named = without.stderr.contains("master.key: No such file");
    assert!(named, "{}", without.stderr);
    std::fs::copy(kept.join("master.key"), data.join("master.key")).unwrap();
    // Twice: what the first time left is not in the way.
    for _ in 0..2 {
        place.malha(&["key", "recover"]).ok();
    }
    assert_eq!(mode(&data.join("admin.key")), 0o600);
    let stage = Stage {
        api: Api::start(&place).await,
        place,
    };
    let password = stage.run("operator password admin").ok().stdout;
    assert!(password.trim().len() >= 20);
    let former = stage.run("status --key-file kept/admin.key");
    assert_eq!(former.code, 7, "{}", former.stderr);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_root_restores_belongs_to_the_owner_of_the_folder() {
    let stage = Stage::new().await;
    stage.json("org add sedec");
    stage.run("backup out.backup").ok();
    let Stage { place, api } = stage;
    api.finish().await;
    let data = place.path("other");
    std::fs::create_dir(&data).unwrap();
    if chown(&data, Some(SERVICE), Some(SERVICE)).is_err() {
        println!("skip: only root can give a folder away");
        return;
    }
    place
        .malha(&["restore", "out.backup", "--data", "other"])
        .ok();
    for file in ["store", "store/store.redb", "store/lock"] {
        let owner = std::fs::symlink_metadata(data.join(file)).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (SERVICE, SERVICE), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_controller_goes_on_with_the_chain_of_its_evidence() {
    let stage = Stage::new().await;
    stage.json("org add sedec");
    stage.json("site add sedec/production");
    std::fs::write(stage.place.path("declaration.toml"), DECLARATION).unwrap();
    stage.run("check declare sedec declaration.toml").ok();
    for _ in 0..2 {
        assert_eq!(stage.run("check sedec").code, 11, "something is untested");
    }
    let taken = stage.json("backup out.backup");
    assert_eq!(taken["files"], 5, "two runs, and their index");

    let Stage { place, api } = stage;
    api.finish().await;
    let (data, kept) = (place.data(), place.path("kept"));
    std::fs::rename(&data, &kept).unwrap();
    place
        .malha(&["restore", "out.backup", "--data", "data"])
        .ok();
    for secret in ["master.key", "admin.key"] {
        std::fs::copy(kept.join(secret), data.join(secret)).unwrap();
    }
    let checks = data.join("checks");
    assert_eq!(mode(&checks), 0o700);
    let stage = Stage {
        api: Api::start(&place).await,
        place,
    };
    assert_eq!(stage.run("check sedec").code, 11);
    let history = stage.json("check history sedec");
    let runs = history["runs"].as_array().unwrap();
    let sequences: Vec<_> = runs.iter().map(|run| run["sequence"].as_u64()).collect();
    assert_eq!(sequences, [Some(3), Some(2), Some(1)]);

    let mut folders = std::fs::read_dir(&checks).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    let verify = || {
        let (folder, authority) = (folder.to_str().unwrap(), "data/overlay-ca.pem");
        let words = ["check", "verify", folder, "--authority", authority];
        stage.place.malha(&[&words[..], &["--json"]].concat())
    };
    let whole = verify().json();
    let words = [
        "check",
        "verify",
        "data/checks",
        "--authority",
        "data/overlay-ca.pem",
        "--lang",
        "pt",
    ];
    let all = stage.place.malha(&words).ok();
    assert!(
        all.stderr.contains("sedec: rodadas 1 a 3, nada removido"),
        "{}",
        all.stderr
    );
    let empty = stage.place.malha(&[
        "check",
        "verify",
        "kept/store",
        "--authority",
        "data/overlay-ca.pem",
    ]);
    assert_eq!(empty.code, 4, "{}", empty.stderr);
    let chain = &whole["chains"][0];
    assert_eq!((&chain["first"], &chain["last"]), (&1.into(), &3.into()));
    assert_eq!(chain["faults"], serde_json::json!([]), "{whole}");
    let second = folder.join(format!("{}.evidence", runs[1]["run"]));
    std::fs::rename(&second, stage.place.path("second.evidence")).unwrap();
    let broken = verify();
    assert_eq!(broken.code, 8);
    assert!(
        broken.stdout.contains("run 2 is missing"),
        "{}",
        broken.stdout
    );
    let text = std::fs::read_to_string(stage.place.path("second.evidence")).unwrap();
    std::fs::write(&second, text.replacen("203.0.113.10", "203.0.113.11", 1)).unwrap();
    let changed = verify();
    assert_eq!(changed.code, 8);
    assert!(changed.stdout.contains("was changed"), "{}", changed.stdout);
    let told = stage.place.malha(&words);
    assert_eq!(told.code, 8);
    assert!(told.stderr.contains("foi alterada"), "{}", told.stderr);
    stage.api.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_beside_a_history_of_checks_leaves_it_as_it_is() {
    let stage = Stage::new().await;
    stage.json("org add sedec");
    std::fs::write(stage.place.path("declaration.toml"), DECLARATION).unwrap();
    stage.json("site add sedec/production");
    stage.run("check declare sedec declaration.toml").ok();
    assert_eq!(stage.run("check sedec").code, 11);
    stage.json("backup out.backup");
    let Stage { place, api } = stage;
    api.finish().await;
    let checks = place.path("other").join("checks");
    std::fs::create_dir_all(&checks).unwrap();
    let words = ["restore", "out.backup", "--data", "other", "--json"];
    let restored = place.malha(&words).json();
    assert_eq!(restored["checks_kept"], true);
    assert_eq!(std::fs::read_dir(&checks).unwrap().count(), 0);
}

const DECLARATION: &str =
    "version = 1\n[production]\nsite = \"production\"\naddresses = [\"203.0.113.10\"]\n";

/// A user of no name, as the service's own would be.
const SERVICE: u32 = 61_234;
