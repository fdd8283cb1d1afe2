//! How source files look: what each says of itself, how long it is, what it is called, and that none is unsafe.

use crate::tree::{File, read, rust_files};

#[test]
fn every_file_says_what_it_is_for() {
    let opens = |text: &str| {
        let first = text
            .lines()
            .find(|line| !line.starts_with("#![") && !line.is_empty());
        first.is_some_and(|line| line.starts_with("//!"))
    };
    let silent = rust_files().into_iter().filter(|file| !opens(&text(file)));
    let silent: Vec<String> = silent.map(|file| file.path).collect();
    assert!(
        silent.is_empty(),
        "files that don't open with //!: {silent:#?}"
    );
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let files = rust_files();
    let roots = files.iter().filter(|file| {
        let path = &file.path;
        let is_binary = path.contains("/src/bin/") && path.matches('/').count() == 3;
        path.ends_with("src/lib.rs") || path.ends_with("src/main.rs") || is_binary
    });
    let roots: Vec<&File> = roots.collect();
    assert!(roots.len() >= 12, "only {} crate roots", roots.len());
    for root in roots {
        let forbids = text(root)
            .lines()
            .any(|line| line == "#![forbid(unsafe_code)]");
        assert!(forbids, "{} does not forbid unsafe code", root.path);
    }
}

#[test]
fn no_file_holds_more_than_one_noun() {
    let long = rust_files().into_iter().filter_map(|file| {
        let lines = text(&file).lines().count();
        (lines > LONGEST_FILE_LINES).then(|| format!("{}: {lines} lines", file.path))
    });
    let long: Vec<String> = long.collect();
    assert!(
        long.is_empty(),
        "more than {LONGEST_FILE_LINES} lines: {long:#?}"
    );
}

#[test]
fn nothing_has_a_name_that_says_nothing() {
    for file in rust_files() {
        let nameless = file
            .names()
            .find(|name| EMPTY_NAMES.contains(&name.trim_end_matches(".rs")));
        assert_eq!(nameless, None, "{}: name it for what it holds", file.path);
        for (at, line) in text(&file).lines().enumerate() {
            let line = line.trim_start();
            let module = line
                .strip_prefix("pub ")
                .unwrap_or(line)
                .strip_prefix("mod ");
            let module = module.map(|rest| rest.trim_end_matches([';', '{', ' ']));
            let is_empty = module.is_some_and(|name| EMPTY_NAMES.contains(&name));
            assert!(
                !is_empty,
                "{}:{}: name it for what it holds",
                file.path,
                at + 1
            );
            let is_getter = line.contains(GETTER) && !line.contains(&format!("\"{GETTER}"));
            assert!(
                !is_getter,
                "{}:{}: a getter is called like what it gives",
                file.path,
                at + 1
            );
        }
    }
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_for_later() {
    for file in rust_files() {
        for (at, line) in text(&file).lines().enumerate() {
            let line = line.trim_start();
            let off = OFF.into_iter().find(|mark| line.starts_with(mark));
            assert_eq!(off, None, "{}:{}", file.path, at + 1);
        }
    }
}

#[test]
fn every_workspace_room_has_the_lints_of_the_house() {
    let workspace = read("Cargo.toml");
    let members = workspace
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
    let members: Vec<&str> = members.collect();
    assert!(members.len() >= 12, "only {} members", members.len());
    for member in members {
        let manifest = read(&format!("{member}/Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{member}/Cargo.toml"
        );
    }
}

fn text(file: &File) -> String {
    file.text()
        .unwrap_or_else(|| panic!("{} is not UTF-8", file.path))
}

const LONGEST_FILE_LINES: usize = 500;
const EMPTY_NAMES: [&str; 8] = [
    "common", "helper", "helpers", "manager", "misc", "types", "util", "utils",
];
const GETTER: &str = "fn get_";
const OFF: [&str; 4] = ["#[ignore", "todo!(", "unimplemented!(", "dbg!("];
