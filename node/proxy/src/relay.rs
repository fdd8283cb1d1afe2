//! Bodies on their way through the edge, frame by frame. Never holds more than the frame it is passing on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::activity::OpenRequest;
use crate::origin::Lease;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("the sender of the body stopped for longer than the idle limit")]
    Stalled,
    #[error("the sender of the body broke off: {0}")]
    Broken(hyper::Error),
}

/// A request body from the client to the origin.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Option<Incoming>,
    gate: Option<Gate>,
    idle: Idle,
    progress: Arc<UploadProgress>,
}

/// How far an upload is, for the clock that waits for the response.
#[derive(Debug)]
pub(crate) struct UploadProgress {
    base: Instant,
    last_ms: AtomicU64,
    waits_for_client: AtomicBool,
    failed: AtomicBool,
}

/// Holds a body back until the origin says `100 Continue`, or until patience ends.
#[derive(Debug)]
struct Gate {
    opened: oneshot::Receiver<()>,
    patience: Pin<Box<Sleep>>,
}

impl Upload {
    pub(crate) fn new(body: Incoming, idle: Duration) -> Self {
        let empty = body.is_end_stream();
        Self {
            body: (!empty).then_some(body),
            gate: None,
            idle: Idle::new(idle),
            progress: UploadProgress::new(),
        }
    }

    pub(crate) fn empty() -> Self {
        Self {
            body: None,
            gate: None,
            idle: Idle::new(Duration::MAX),
            progress: UploadProgress::new(),
        }
    }

    /// Sends nothing until the returned sender fires, or for `patience`.
    pub(crate) fn hold_back(&mut self, patience: Duration) -> oneshot::Sender<()> {
        let (open, opened) = oneshot::channel();
        self.gate = Some(Gate {
            opened,
            patience: Box::pin(sleep(patience)),
        });
        open
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    pub(crate) fn progress(&self) -> Arc<UploadProgress> {
        Arc::clone(&self.progress)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let this = &mut *self;
        if let Some(gate) = &mut this.gate {
            ready!(gate.poll_open(cx));
            this.gate = None;
        }
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = this.idle.poll_body(body, cx);
        this.progress.record(&frame);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl UploadProgress {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            last_ms: AtomicU64::new(0),
            waits_for_client: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        })
    }

    /// Whether the client broke off or stalled, which makes the missing response its own fault.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Starts the clock of the origin.
    pub(crate) fn begin(&self) {
        self.touch();
    }

    /// Ends when the origin had the request, or would not take more of it, for `limit`.
    pub(crate) async fn origin_silent_for(&self, limit: Duration) {
        loop {
            let waits_for_client = self.waits_for_client.load(Ordering::Relaxed);
            let last = self.base + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            if !waits_for_client && last.elapsed() >= limit {
                return;
            }
            let wake = if waits_for_client {
                Instant::now() + limit
            } else {
                last + limit
            };
            sleep_until(wake).await;
        }
    }

    fn record(&self, frame: &Poll<Option<Result<Frame<Bytes>, RelayError>>>) {
        self.touch();
        let pending = frame.is_pending();
        self.waits_for_client.store(pending, Ordering::Relaxed);
        if matches!(frame, Poll::Ready(Some(Err(_)))) {
            self.failed.store(true, Ordering::Relaxed);
        }
    }

    fn touch(&self) {
        let now_ms = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Gate {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if Pin::new(&mut self.opened).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.patience.as_mut().poll(cx)
    }
}

/// A response body from the origin to the client.
#[derive(Debug)]
pub(crate) struct Download {
    body: Incoming,
    idle: Idle,
    /// Goes back to the pool when the body is complete; a body dropped early closes the origin connection.
    lease: Option<Lease>,
    _open: OpenRequest,
}

impl Download {
    pub(crate) fn new(body: Incoming, lease: Lease, idle: Duration, open: OpenRequest) -> Self {
        let mut download = Self {
            body,
            idle: Idle::new(idle),
            lease: Some(lease),
            _open: open,
        };
        download.give_back_when_complete();
        download
    }

    fn give_back_when_complete(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let this = &mut *self;
        let frame = ready!(this.idle.poll_body(&mut this.body, cx));
        match &frame {
            Some(Ok(_)) => this.give_back_when_complete(),
            Some(Err(_)) => this.lease = None,
            None => {
                if let Some(lease) = this.lease.take() {
                    lease.give_back();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends a body whose next frame takes too long. The timer exists only while a frame is awaited.
#[derive(Debug)]
struct Idle {
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting: None,
        }
    }

    fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(RelayError::Broken)));
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Some(Err(RelayError::Stalled)))
    }
}
