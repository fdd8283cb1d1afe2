//! Speaks HTTP/1.1 and HTTP/2 with clients, one connection at a time, until it ends, falls silent or the edge stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::{Silence, Watched};
use crate::config::EdgeLimits;
use crate::gateway::{ClientLink, Gateway};
use crate::target::{MAX_HEADERS_BYTES, MAX_TARGET_BYTES};

/// Serves HTTP on streams that are ready for it.
pub(crate) struct HttpDoor {
    http1: auto::Builder<Tracked>,
    http2: auto::Builder<Tracked>,
    limits: EdgeLimits,
    stop: Stop,
}

/// The two steps of stopping.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// Finish what is under way, begin nothing.
    pub(crate) drain: CancellationToken,
    /// End now.
    pub(crate) cut: CancellationToken,
}

/// Runs hyper's tasks among ours, so that they are awaited and end with the edge.
#[derive(Clone)]
pub(crate) struct Tracked {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl Stop {
    /// Ends when what is under way has come, or does not come soon, after the edge has begun to stop: who connects and says
    /// nothing is not waited for.
    pub(crate) async fn patience(&self, under_way: impl Future<Output = ()>) {
        self.drain.cancelled().await;
        let _ = timeout(STEP_LIMIT, under_way).await;
    }
}

impl HttpDoor {
    pub(crate) fn new(limits: EdgeLimits, tasks: TaskTracker, stop: Stop) -> Self {
        let cut = stop.cut.clone();
        let mut builder = auto::Builder::new(Tracked { tasks, cut });
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read)
            .max_buf_size(MAX_TARGET_BYTES + MAX_HEADERS_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .max_header_list_size(HTTP2_HEADER_LIST_BYTES)
            .enable_connect_protocol();
        Self {
            http1: builder.clone().http1_only(),
            http2: builder.http2_only(),
            limits,
            stop,
        }
    }

    /// ALPN has settled the version, so a client can't switch to the other by what it sends.
    pub(crate) async fn serve<T>(
        &self,
        stream: T,
        http2: bool,
        link: Arc<ClientLink>,
        gateway: Arc<Gateway>,
    ) where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let activity = Arc::clone(&link.activity);
        let stream = Watched::new(stream, Arc::clone(&activity));
        let stream = stream.counted(Arc::clone(&gateway.counters));
        let service = service_fn(move |request| {
            let (gateway, link) = (Arc::clone(&gateway), Arc::clone(&link));
            async move { Ok::<_, Infallible>(gateway.answer(request, &link).await) }
        });
        let builder = if http2 { &self.http2 } else { &self.http1 };
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut leaving = false;
        loop {
            tokio::select! {
                // The client's errors end its connection and nothing else.
                _ = connection.as_mut() => return,
                () = self.stop.cut.cancelled() => return,
                // Not before its first request, if that comes soon.
                () = self.stop.patience(activity.asked()), if !leaving => {}
                silence = activity.silence(self.limits.unused, self.limits.stalled()) => {
                    if leaving || silence == Silence::Stalled {
                        return;
                    }
                    activity.touch();
                }
            }
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let cut = self.cut.clone();
        self.tasks.spawn(cut.run_until_cancelled_owned(future));
    }
}

/// For the handshake, and then for the first request, of a client that has just connected when the edge stops.
const STEP_LIMIT: Duration = Duration::from_secs(1);
const HTTP2_HEADER_LIST_BYTES: u32 = (MAX_TARGET_BYTES + MAX_HEADERS_BYTES) as u32;
