//! The engine that keeps everything in memory, for tests and throw-away runs. It never touches the disk.

use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imbl::OrdMap;

use super::{Engine, EngineError, View, Visit, Writes};

type Content = OrdMap<Vec<u8>, Arc<[u8]>>;

/// Shares its tree with each view, so a view costs nothing and a commit copies only what it changes.
#[derive(Default)]
pub(crate) struct MemoryEngine {
    // None once closed. The lock is held only to swap the root of the tree.
    content: Mutex<Option<Content>>,
}

impl MemoryEngine {
    pub(crate) fn new() -> Self {
        Self {
            content: Mutex::new(Some(Content::new())),
        }
    }

    fn content(&self) -> MutexGuard<'_, Option<Content>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn view(&self) -> Result<Arc<dyn View>, EngineError> {
        let content = self.content().clone().ok_or(EngineError::Closed)?;
        Ok(Arc::new(MemoryView(content)))
    }

    fn commit(&self, writes: &Writes) -> Result<(), EngineError> {
        let mut content = self.content();
        let content = content.as_mut().ok_or(EngineError::Closed)?;
        for (key, value) in writes {
            match value {
                Some(value) => content.insert(key.clone(), Arc::from(value.as_slice())),
                None => content.remove(key),
            };
        }
        Ok(())
    }

    fn reopen(&self) -> Result<(), EngineError> {
        match *self.content() {
            Some(_) => Ok(()),
            None => Err(EngineError::Closed),
        }
    }

    fn close(&self) -> Result<(), EngineError> {
        *self.content() = None;
        Ok(())
    }

    fn file_bytes(&self) -> Option<u64> {
        None
    }
}

struct MemoryView(Content);

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.0.get(key).map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        until: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError> {
        for (key, value) in self.0.range::<_, [u8]>((from, Bound::Excluded(until))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
