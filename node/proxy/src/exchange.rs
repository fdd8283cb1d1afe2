//! One request and its response over one origin connection, with the retry that a stale connection deserves.

use std::error::Error;
use std::io;
use std::sync::Arc;

use http::header::EXPECT;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio_util::sync::CancellationToken;

use crate::config::EdgeLimits;
use crate::counters::EdgeCounters;
use crate::failure::Fault;
use crate::origin::{Age, Lease, Pool, Upstream};
use crate::relay::{Upload, UploadProgress};

/// Sends requests to origins.
pub(crate) struct Exchange {
    pub(crate) pool: Arc<Pool>,
    pub(crate) limits: EdgeLimits,
    pub(crate) counters: Arc<EdgeCounters>,
    pub(crate) cut: CancellationToken,
}

/// A response head, with the connection that its body comes from.
pub(crate) struct Received {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

/// Why no response came.
pub(crate) enum Unanswered {
    /// No connection was had; the request is unharmed and may go elsewhere.
    Unreached {
        fault: Fault,
        request: Box<Request<Upload>>,
    },
    Failed(Fault),
}

struct SendFailure {
    fault: Fault,
    /// The connection may have been closed before the origin saw the request.
    perhaps_stale: bool,
    /// The request, when not a byte of it was sent.
    unsent: Option<Request<Upload>>,
}

impl Exchange {
    pub(crate) async fn run(
        &self,
        upstream: Upstream,
        request: Request<Upload>,
    ) -> Result<Received, Unanswered> {
        let leased = self.pool.lease(upstream).await;
        self.run_on(leased, upstream, request).await
    }

    /// For an upstream that is down: a kept connection would be silent for as long as an origin may think, a new one says
    /// soon whether anybody is there.
    pub(crate) async fn run_fresh(
        &self,
        upstream: Upstream,
        request: Request<Upload>,
    ) -> Result<Received, Unanswered> {
        let leased = self.pool.fresh(upstream).await;
        let leased = leased.map(|lease| (lease, Age::Fresh));
        self.run_on(leased, upstream, request).await
    }

    async fn run_on(
        &self,
        leased: Result<(Lease, Age), Fault>,
        upstream: Upstream,
        request: Request<Upload>,
    ) -> Result<Received, Unanswered> {
        let (lease, age) = match leased {
            Ok(leased) => leased,
            Err(fault) => {
                let request = Box::new(request);
                return Err(Unanswered::Unreached { fault, request });
            }
        };
        let replay = match age {
            Age::Kept => replay(&request),
            Age::Fresh => None,
        };
        let failure = match self.send(lease, request).await {
            Ok(received) => return Ok(received),
            Err(failure) => failure,
        };
        let again = failure.unsent.or(replay);
        let Some(again) = again.filter(|_| age == Age::Kept && failure.perhaps_stale) else {
            return Err(Unanswered::Failed(failure.fault));
        };
        self.counters.stale_retries.add(1);
        let lease = self.pool.fresh(upstream).await;
        let lease = lease.map_err(Unanswered::Failed)?;
        let sent = self.send(lease, again).await;
        sent.map_err(|failure| Unanswered::Failed(failure.fault))
    }

    async fn send(
        &self,
        mut lease: Lease,
        mut request: Request<Upload>,
    ) -> Result<Received, SendFailure> {
        self.pass_expectation(&mut request);
        let progress = request.body().progress();
        progress.begin();
        let sent = lease.sender.try_send_request(request);
        let sent = tokio::select! {
            sent = sent => sent,
            () = progress.origin_silent_for(self.limits.first_byte) => {
                return Err(SendFailure::certain(Fault::OriginSlow));
            }
        };
        match sent {
            Ok(response) => Ok(Received { response, lease }),
            Err(_) if self.cut.is_cancelled() => Err(SendFailure::certain(Fault::EdgeDown)),
            Err(error) => Err(SendFailure::of(error, &progress)),
        }
    }

    /// A client that waits for `100 Continue` gets it when the origin gives it: its body is not asked for earlier.
    fn pass_expectation(&self, request: &mut Request<Upload>) {
        let expects = request
            .headers()
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if !expects || request.body().is_empty() {
            return;
        }
        let open = request.body_mut().hold_back(self.limits.expect_continue);
        let open = std::sync::Mutex::new(Some(open));
        hyper::ext::on_informational(request, move |response| {
            if response.status() == http::StatusCode::CONTINUE
                && let Ok(mut open) = open.lock()
                && let Some(open) = open.take()
            {
                // A request that is already over has no gate left to open.
                let _ = open.send(());
            }
        });
    }
}

impl SendFailure {
    fn certain(fault: Fault) -> Self {
        Self {
            fault,
            perhaps_stale: false,
            unsent: None,
        }
    }

    fn of(mut error: TrySendError<Request<Upload>>, progress: &UploadProgress) -> Self {
        let unsent = error.take_message();
        let error = error.into_error();
        let spoke = error.is_parse() || error.is_user() || error.is_timeout();
        // The node accepts before its target does, and resets when that refuses.
        let refused = !spoke && (unsent.is_some() || is_reset(&error));
        let fault = match progress.failed() {
            true => Fault::UploadStalled,
            false if refused => Fault::OriginDown,
            false => Fault::OriginBroken,
        };
        Self {
            fault,
            perhaps_stale: !spoke,
            unsent,
        }
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::ConnectionReset)
}

/// A copy of a request that may be sent twice: without a body and idempotent (RFC 9110 §9.2.2).
fn replay(request: &Request<Upload>) -> Option<Request<Upload>> {
    if !request.body().is_empty() || !request.method().is_idempotent() {
        return None;
    }
    let mut copy = Request::new(Upload::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
