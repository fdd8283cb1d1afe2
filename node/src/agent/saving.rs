//! One thing on its way to the disk, of which only the newest counts: one write after the other, and after a refusal another in
//! time. What is written, and who waits for it, is somebody else's knowledge.

use super::Millis;

/// What the disk refused is written again after this time, milliseconds.
pub const SAVE_RETRY_MS: Millis = 5_000;

#[derive(Debug)]
pub(super) struct Saving<T> {
    /// What the disk shall have and was not given yet, or has refused.
    wanted: Option<T>,
    writing: Option<T>,
    retry_at: Option<Millis>,
    error: Option<String>,
}

impl<T> Default for Saving<T> {
    fn default() -> Self {
        Self {
            wanted: None,
            writing: None,
            retry_at: None,
            error: None,
        }
    }
}

impl<T: Clone> Saving<T> {
    /// The disk shall have this, in place of what it was to have before.
    pub(super) fn want(&mut self, newest: T) {
        self.wanted = Some(newest);
    }

    /// What the disk lacks needs it no more. A write that is under way goes on.
    pub(super) fn forget(&mut self) {
        (self.wanted, self.retry_at, self.error) = (None, None, None);
    }

    /// What to write now, answered with [`Saving::on_saved`].
    pub(super) fn due(&mut self, now: Millis) -> Option<T> {
        let waits = self.writing.is_some() || self.retry_at.is_some_and(|at| now < at);
        let newest = self.wanted.take_if(|_| !waits)?;
        self.retry_at = None;
        self.writing = Some(newest.clone());
        Some(newest)
    }

    /// What the disk has now, unless it refused.
    pub(super) fn on_saved(&mut self, result: Result<(), String>, now: Millis) -> Option<T> {
        let written = self.writing.take()?;
        self.error = result.err();
        if self.error.is_none() {
            return Some(written);
        }
        self.wanted.get_or_insert(written);
        self.retry_at = Some(now + SAVE_RETRY_MS);
        None
    }

    /// Whether nothing newer than what was saved last waits.
    pub(super) fn is_settled(&self) -> bool {
        self.wanted.is_none() && self.writing.is_none()
    }

    /// Why the disk refused the last write.
    pub(super) fn error(&self) -> Option<&String> {
        self.error.as_ref()
    }

    pub(super) fn timeout(&self) -> Option<Millis> {
        self.retry_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_during_a_write_is_written_after_it_and_only_the_newest() {
        let mut saving = Saving::default();
        saving.want(1);
        assert_eq!(saving.due(0), Some(1));
        saving.want(2);
        saving.want(3);
        assert_eq!(saving.due(0), None);
        assert_eq!(saving.on_saved(Ok(()), 0), Some(1));
        assert!(!saving.is_settled());
        assert_eq!(saving.due(0), Some(3));
        assert_eq!(saving.on_saved(Ok(()), 0), Some(3));
        assert_eq!(saving.due(0), None);
        assert!(saving.is_settled());
    }

    #[test]
    fn a_refused_write_is_repeated_in_time_and_not_before() {
        let mut saving = Saving::default();
        saving.want(1);
        saving.due(0);
        assert_eq!(saving.on_saved(Err("no space".into()), 1_000), None);
        saving.want(2);
        let at = saving.timeout().unwrap();
        assert_eq!(at, 1_000 + SAVE_RETRY_MS);
        assert_eq!(saving.due(at - 1), None);
        assert_eq!(saving.due(at), Some(2));
        assert_eq!(saving.timeout(), None);
        assert_eq!(saving.on_saved(Ok(()), at), Some(2));
        assert_eq!(saving.error(), None);
    }

    #[test]
    fn what_is_refused_while_something_newer_waits_is_not_written_again() {
        let mut saving = Saving::default();
        saving.want(1);
        saving.due(0);
        saving.want(2);
        saving.on_saved(Err("no space".into()), 0);
        assert_eq!(saving.due(SAVE_RETRY_MS), Some(2));
    }
}
