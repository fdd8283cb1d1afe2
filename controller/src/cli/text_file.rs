//! Texts that a command is given as a file. It never reads more than it may.

use std::io::Read;
use std::path::Path;

use crate::cli::exit::{Exit, Failure};

/// A file's text, or with `-` that of standard input.
pub(super) fn read(file: &Path, max_bytes: usize) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = u64::try_from(max_bytes).map_or(u64::MAX, |bytes| bytes.saturating_add(1));
    let taken = if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|it| it.take(limit).read_to_string(&mut text))
    };
    let taken = taken.map_err(|error| Failure::file(file, &error))?;
    if taken <= max_bytes {
        return Ok(text);
    }
    let problem = format!("{}: more than {max_bytes} bytes", file.display());
    Err(Failure::new(Exit::Refused, problem))
}
