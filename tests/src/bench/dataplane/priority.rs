//! The machine may be busy with other work: the benchmark's session goes first while it runs.

use std::fs;
use std::sync::OnceLock;

/// Given back when dropped.
pub(super) struct Priority;

impl Priority {
    /// The scheduler shares a processor between sessions (sched(7), autogroup), so a nice value counts only among the
    /// session's own processes; the session has one of its own.
    pub(super) fn raise() -> Self {
        let text = fs::read_to_string(SESSION).unwrap_or_default();
        if let Some(before) = text.trim().rsplit(' ').next()
            && fs::write(SESSION, HIGHEST).is_ok()
        {
            // A run that was killed leaves the session as it was raised.
            let before = if before == HIGHEST { USUAL } else { before };
            let _ = BEFORE.set(before.to_owned());
        }
        Self
    }

    pub(super) fn note(&self) -> &'static str {
        match BEFORE.get() {
            Some(_) => "priority: the benchmark's session goes before others on this machine",
            None => "priority: as any other program's on this machine",
        }
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        give_back();
    }
}

/// For a process that ends without dropping anything.
pub(super) fn give_back() {
    if let Some(before) = BEFORE.get() {
        // It was only a wish.
        let _ = fs::write(SESSION, before);
    }
}

/// What the session had; the signal that ends the process may need it.
static BEFORE: OnceLock<String> = OnceLock::new();
const SESSION: &str = "/proc/self/autogroup";
const HIGHEST: &str = "-19";
const USUAL: &str = "0";
