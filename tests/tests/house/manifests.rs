//! What cargo says of the rooms and of everything that they use.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;

use crate::spdx;
use crate::tree::{files, read, root};

#[test]
fn the_rooms_use_each_other_as_the_map_says() {
    let map = map_of_rooms();
    let metadata = metadata(&["--no-deps"]);
    let real: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|room| room.name.as_str())
        .collect();
    let mapped: BTreeSet<&str> = map.keys().map(String::as_str).collect();
    assert_eq!(
        mapped, real,
        "docs/ARCHITECTURE.md and the workspace know different rooms"
    );
    for room in &metadata.packages {
        let (folder, uses) = &map[&room.name];
        let manifest = root().join(folder).join("Cargo.toml");
        assert_eq!(
            manifest.to_str(),
            Some(room.manifest_path.as_str()),
            "the folder of {}",
            room.name
        );
        let Some(uses) = uses else { continue };
        let edges = room
            .dependencies
            .iter()
            .filter(|it| it.path.is_some() && it.kind.is_none());
        let edges: BTreeSet<String> = edges.map(|edge| edge.name.clone()).collect();
        assert_eq!(
            &edges, uses,
            "docs/ARCHITECTURE.md on what {} uses",
            room.name
        );
    }
}

#[test]
fn nobody_uses_the_tests_and_the_pure_floor_uses_no_system() {
    for room in &metadata(&["--no-deps"]).packages {
        let uses = |name: &str| {
            room.dependencies
                .iter()
                .any(|it| it.name == name && it.kind.is_none())
        };
        assert!(!uses("malha-tests"), "{} uses the tests", room.name);
        if PURE.contains(&room.name.as_str()) {
            let system = SYSTEM.into_iter().find(|name| uses(name));
            assert_eq!(system, None, "{} is pure", room.name);
        }
    }
}

#[test]
fn every_dependency_has_a_licence_that_goes_with_ours() {
    let packages = everything_linked();
    let wrong = packages.iter().filter(|it| {
        let licence = it.license.as_deref().unwrap_or_default();
        !spdx::allows(licence, &LICENCES)
    });
    let wrong: Vec<_> = wrong
        .map(|it| (&it.name, &it.version, &it.license))
        .collect();
    assert!(
        wrong.is_empty(),
        "licences that nobody has looked at: {wrong:?}"
    );
}

/// A doubled dependency costs build time and size, and two versions of a type don't fit: each one is known and looked at.
#[test]
fn every_doubled_dependency_is_on_the_list() {
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for package in everything_linked() {
        versions
            .entry(package.name)
            .or_default()
            .insert(series(&package.version));
    }
    versions.retain(|_, series| series.len() > 1);
    let found: Vec<String> = versions
        .iter()
        .map(|(name, series)| {
            let series: Vec<&str> = series.iter().map(String::as_str).collect();
            format!("{name} {}", series.join(" "))
        })
        .collect();
    let list = read("tests/duplicate-versions.txt");
    let listed: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let new: Vec<&String> = found
        .iter()
        .filter(|it| !listed.contains(&it.as_str()))
        .collect();
    let gone: Vec<&&str> = listed
        .iter()
        .filter(|it| !found.iter().any(|f| f == **it))
        .collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "tests/duplicate-versions.txt: add {new:?} if they can't be avoided, remove {gone:?}"
    );
}

#[test]
fn locked_packages_come_from_the_public_registries() {
    for file in files() {
        let text = || file.text().unwrap_or_default();
        let name = file.names().last().unwrap_or_default();
        let (mark, source) = match name {
            "Cargo.lock" => (
                "source = \"",
                "registry+https://github.com/rust-lang/crates.io-index\"",
            ),
            "package-lock.json" => ("\"resolved\": \"", "https://registry.npmjs.org/"),
            _ => continue,
        };
        for line in text().lines() {
            if let Some((_, from)) = line.split_once(mark) {
                assert!(from.starts_with(source), "{}: {line}", file.path);
            }
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// All packages that this machine's build may link: of the lock file, those for its platform.
fn everything_linked() -> Vec<Package> {
    let rustc = Command::new("rustc")
        .arg("-vV")
        .output()
        .expect("rustc runs");
    let about = String::from_utf8(rustc.stdout).expect("rustc speaks UTF-8");
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc knows its host");
    let packages = metadata(&["--locked", "--filter-platform", host]).packages;
    assert!(packages.len() > 100, "only {} packages", packages.len());
    packages
}

fn metadata(options: &[&str]) -> Metadata {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root())
        .args(["metadata", "--offline", "--format-version", "1"])
        .args(options);
    let output = cargo.output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo metadata {options:?}: {errors}"
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Each room's folder and the rooms that it may use; None: any.
fn map_of_rooms() -> BTreeMap<String, (String, Option<BTreeSet<String>>)> {
    let map = read("docs/ARCHITECTURE.md");
    let rows = map.lines().filter_map(|line| {
        let cells: Vec<&str> = line
            .strip_prefix('|')?
            .strip_suffix('|')?
            .split('|')
            .collect();
        let [room, folder, uses] = cells[..] else {
            return None;
        };
        let (room, folder, uses) = (room.trim(), folder.trim(), uses.trim());
        // The crate that stands in another's place has its name.
        if !room.starts_with("malha") && room != "x25519-dalek" {
            return None;
        }
        let names = uses
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let uses = (uses != "any").then(|| names.map(str::to_owned).collect());
        Some((room.to_owned(), (folder.to_owned(), uses)))
    });
    rows.collect()
}

/// What must stay the same for two versions to be the same to cargo.
fn series(version: &str) -> String {
    let mut parts = version.split('.');
    match (parts.next(), parts.next()) {
        (Some("0"), Some(minor)) => format!("0.{minor}"),
        (major, _) => major.unwrap_or_default().to_owned(),
    }
}

const PURE: [&str; 3] = ["malha-core", "malha-proto", "malha-zone"];
const SYSTEM: [&str; 8] = [
    "tokio",
    "getrandom",
    "rand",
    "quinn",
    "rustls",
    "hyper",
    "socket2",
    "tracing",
];

/// Permissive ones, and MPL 2.0, which binds only the files under it.
const LICENCES: [&str; 16] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "MPL-2.0+",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
