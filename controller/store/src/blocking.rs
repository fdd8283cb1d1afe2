//! Runs engine reads where blocking on the disk stops no other task.

use crate::error::StoreError;

/// Runs `read` on the runtime's blocking threads; [`StoreError::Closed`] if the runtime is shutting down.
pub(crate) async fn read_off_runtime<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Closed),
    }
}
