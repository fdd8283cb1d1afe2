//! The machine may be busy with other work: the benchmark's session goes first while it runs.

use std::fs;

/// Given back when dropped.
pub(super) struct Priority {
    before: Option<String>,
}

impl Priority {
    /// The scheduler shares a processor between sessions (sched(7), autogroup), so a nice value counts only among the
    /// session's own processes; the session has one of its own.
    pub(super) fn raise() -> Self {
        let text = fs::read_to_string(SESSION).unwrap_or_default();
        let before = text.trim().rsplit(' ').next().map(str::to_owned);
        let raised = fs::write(SESSION, HIGHEST).is_ok();
        Self {
            before: before.filter(|_| raised),
        }
    }

    pub(super) fn note(&self) -> &'static str {
        match self.before {
            Some(_) => "priority: the benchmark's session goes before others on this machine",
            None => "priority: as any other program's on this machine",
        }
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // It is only a wish.
            let _ = fs::write(SESSION, before);
        }
    }
}

const SESSION: &str = "/proc/self/autogroup";
const HIGHEST: &str = "-19";
