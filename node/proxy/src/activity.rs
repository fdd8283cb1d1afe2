//! Tells when a connection has fallen silent: it counts bytes and requests as they pass. Never changes a byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::SetOnce;
use tokio::time::{Instant, sleep_until};

use crate::counters::EdgeCounters;

/// When bytes last moved, and how many requests are open.
#[derive(Debug)]
pub(crate) struct Activity {
    base: Instant,
    last_ms: AtomicU64,
    requests: AtomicUsize,
    /// Set with the first request.
    asked: SetOnce<()>,
}

/// An open request; dropping it ends it.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<Activity>);

/// How a connection fell silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// No request was open.
    Unused,
    /// A request was open and nothing moved.
    Stalled,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            last_ms: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            asked: SetOnce::new(),
        })
    }

    pub(crate) fn touch(&self) {
        let now_ms = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn open_request(self: &Arc<Self>) -> OpenRequest {
        self.touch();
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !self.asked.initialized() {
            // Somebody else was first: requests of HTTP/2 come side by side.
            let _ = self.asked.set(());
        }
        OpenRequest(Arc::clone(self))
    }

    /// Ends once there has been a request.
    pub(crate) async fn asked(&self) {
        self.asked.wait().await;
    }

    /// Ends when nothing moved for `unused` without an open request, or for `stalled` with one.
    pub(crate) async fn silence(&self, unused: Duration, stalled: Duration) -> Silence {
        loop {
            let (limit, silence) = match self.requests.load(Ordering::Relaxed) {
                0 => (unused, Silence::Unused),
                _ => (stalled, Silence::Stalled),
            };
            let last = self.base + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            if last.elapsed() >= limit {
                return silence;
            }
            // A request may open or close meanwhile, so never sleep past the shorter limit.
            let again = Instant::now() + unused.min(stalled);
            sleep_until(again.min(last + limit)).await;
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.touch();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose bytes are seen by an [`Activity`] and counted.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    inner: T,
    activity: Arc<Activity>,
    counters: Option<Arc<EdgeCounters>>,
}

impl<T> Watched<T> {
    pub(crate) fn new(inner: T, activity: Arc<Activity>) -> Self {
        let counters = None;
        Self {
            inner,
            activity,
            counters,
        }
    }

    /// Counts bytes read as from the client, bytes written as to the client.
    pub(crate) fn counted(mut self, counters: Arc<EdgeCounters>) -> Self {
        self.counters = Some(counters);
        self
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count @ 1..)) = result {
            self.activity.touch();
            if let Some(counters) = &self.counters {
                counters.bytes_out.add(*count as u64);
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.activity.touch();
            if let Some(counters) = &self.counters {
                counters.bytes_in.add(count as u64);
            }
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNUSED: Duration = Duration::from_secs(60);
    const STALLED: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_unused_after_the_short_limit() {
        let activity = Activity::new();
        let start = Instant::now();
        assert_eq!(activity.silence(UNUSED, STALLED).await, Silence::Unused);
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_request_has_the_long_limit_and_its_end_starts_the_short_one() {
        let activity = Activity::new();
        let start = Instant::now();
        let request = activity.open_request();
        assert_eq!(activity.silence(UNUSED, STALLED).await, Silence::Stalled);
        assert_eq!(start.elapsed().as_secs(), 300);
        drop(request);
        assert_eq!(activity.silence(UNUSED, STALLED).await, Silence::Unused);
        assert_eq!(start.elapsed().as_secs(), 360);
    }
}
