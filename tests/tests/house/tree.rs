//! The files of the repository, without what is built or installed into it.

use std::fs;
use std::path::{Path, PathBuf};

/// A file with its path from the root of the repository.
pub(crate) struct File {
    pub(crate) path: String,
    place: PathBuf,
}

impl File {
    /// None when it is not text.
    pub(crate) fn text(&self) -> Option<String> {
        let bytes = fs::read(&self.place).expect("a file of the tree can be read");
        String::from_utf8(bytes).ok()
    }

    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        self.place.extension().is_some_and(|it| it == extension)
    }

    /// The names of the folders that it is in, and its own.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.path.split('/')
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the repository")
}

/// All files, in order of their paths.
pub(crate) fn files() -> Vec<File> {
    let mut files = Vec::new();
    collect(root(), &mut files);
    files.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(
        files.len() > 300,
        "only {} files: is this the repository?",
        files.len()
    );
    files
}

pub(crate) fn rust_files() -> Vec<File> {
    files()
        .into_iter()
        .filter(|file| file.has_extension("rs"))
        .collect()
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn collect(folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder of the tree can be read") {
        let place = entry.expect("a folder of the tree can be read").path();
        let path = place.strip_prefix(root()).expect("it is below the root");
        let path = path.to_str().expect("paths here are plain").to_owned();
        let name = path.rsplit('/').next().unwrap_or_default();
        if place.is_symlink() || NOT_OURS.contains(&name) || NOT_OURS.contains(&path.as_str()) {
            continue;
        }
        if place.is_dir() {
            collect(&place, files);
        } else {
            files.push(File { path, place });
        }
    }
}

/// Built, installed or found on the way; none of it is committed.
const NOT_OURS: [&str; 6] = [
    ".git",
    "target",
    "node_modules",
    "tests/fuzz/corpus",
    "tests/fuzz/artifacts",
    "test-results",
];
