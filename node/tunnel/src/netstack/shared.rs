//! A connection that its stack and its stream share under a lock, and the memory of its buffers. It knows nothing of TCP.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{Advice, MmapMut};
use self_cell::{MutBorrow, self_cell};

use super::connection::Connection;

#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Held>>);

self_cell!(
    struct Held {
        owner: MutBorrow<MmapMut>,

        #[not_covariant]
        dependent: Connection,
    }
);

impl Shared {
    /// A connection with two buffers of this size. They are pages of their own: the allocator would keep and clear them for others,
    /// so that a connection held all of its buffers, and this way it holds the pages in which bytes have waited.
    pub(crate) fn new(
        buffer_bytes: usize,
        connection: impl for<'a> FnOnce(&'a mut [u8], &'a mut [u8]) -> io::Result<Connection<'a>>,
    ) -> io::Result<Self> {
        let pages = MmapMut::map_anon(2 * buffer_bytes)?;
        // A huge page would be a whole buffer. A kernel that has none refuses.
        let _ = pages.advise(Advice::NoHugePage);
        let held = Held::try_new(MutBorrow::new(pages), |pages| {
            let (received, sent) = pages.borrow_mut().split_at_mut(buffer_bytes);
            connection(received, sent)
        })?;
        Ok(Self(Arc::new(Mutex::new(held))))
    }

    /// The lock is held for this one act, and never across an await.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Connection<'_>) -> T) -> T {
        // A panic elsewhere leaves a connection that at worst times out.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.with_dependent_mut(|_, connection| act(connection))
    }
}
