//! What a balancer logs on the test's thread.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Level;

#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<u8>>>);

impl Journal {
    pub(crate) fn collects(&self) -> tracing::subscriber::DefaultGuard {
        let journal = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::INFO)
            .with_ansi(false)
            .with_writer(move || journal.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub(crate) fn count(&self, words: &str) -> usize {
        let text = self.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap().matches(words).count()
    }
}

impl io::Write for Journal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
