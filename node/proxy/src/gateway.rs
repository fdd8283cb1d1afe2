//! Answers one request: finds its route, relays it to a backend or says why not. Holds no socket of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, HOST, LOCATION, STRICT_TRANSPORT_SECURITY, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::{Activity, OpenRequest};
use crate::admission::Admitted;
use crate::answer::{RequestId, X_MALHA_HOP, X_REQUEST_ID, answer};
use crate::candidates::Canaries;
use crate::config::{EdgeConfig, InternalHosts};
use crate::counters::EdgeCounters;
use crate::exchange::{Exchange, Received, Unanswered};
use crate::failure::{Failure, Fault};
use crate::forwarded::{self, Origin};
use crate::headers::{has_token, join_cookies, strip_hop_by_hop};
use crate::host::HostName;
use crate::origin::Upstream;
use crate::preference::Preference;
use crate::relay::{Download, Upload};
use crate::route::{BackendSpec, Found, Route, RouteTable};
use crate::target::Target;
use crate::upgrade::{Held, Upgrade, splice};

/// Body of every response: relayed, or made by the edge.
pub(crate) type Reply = Either<Download, Full<Bytes>>;

/// What all requests of an edge share.
pub(crate) struct Gateway {
    pub(crate) config: EdgeConfig,
    pub(crate) routes: watch::Receiver<Arc<RouteTable>>,
    pub(crate) internal: InternalHosts,
    pub(crate) canaries: Canaries,
    pub(crate) exchange: Exchange,
    pub(crate) counters: Arc<EdgeCounters>,
    pub(crate) tasks: TaskTracker,
    pub(crate) drain: CancellationToken,
}

/// What all requests of one client connection share.
#[derive(Debug)]
pub(crate) struct ClientLink {
    pub(crate) peer: SocketAddr,
    pub(crate) scheme: Scheme,
    pub(crate) activity: Arc<Activity>,
    /// Held as long as any request or upgraded connection of the link lives.
    pub(crate) _place: Admitted,
}

#[derive(Clone, Debug)]
pub(crate) enum Scheme {
    /// Redirects only.
    Http,
    Https {
        server_name: Option<String>,
    },
}

enum Destination {
    Internal(SocketAddr),
    Route(Arc<Route>),
}

/// A request on its way, apart from what goes to the origin.
struct Passage {
    upgrade: Option<Upgrade>,
    open: OpenRequest,
    link: Arc<ClientLink>,
    head: bool,
}

impl Gateway {
    /// Never fails: what goes wrong becomes a response that says whose fault it was.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        link: &Arc<ClientLink>,
    ) -> Response<Reply> {
        let started = Instant::now();
        let id = RequestId::random();
        let preference = Preference::of(request.headers());
        let method = request.method().clone();
        let target = Target::read(&request);
        let result = match (&target, &link.scheme) {
            (Err(fault), _) => Err((*fault).into()),
            (Ok(target), Scheme::Http) => self.redirect(target),
            (Ok(target), Scheme::Https { server_name }) => {
                let name = server_name.as_deref();
                self.serve(request, target, name, link, &id).await
            }
        };
        let hop = result.as_ref().err().map(|failure| failure.fault.hop());
        let mut response = result.unwrap_or_else(|failure| {
            let offset = self.config.page_utc_offset_min;
            answer(&failure, preference, &id, offset).map(Either::Right)
        });
        if let (Some(max_age_s), Scheme::Https { .. }) = (self.config.hsts_max_age_s, &link.scheme)
        {
            let value = HeaderValue::try_from(format!("max-age={max_age_s}"));
            let value = value.expect("a number is a header value");
            response
                .headers_mut()
                .insert(STRICT_TRANSPORT_SECURITY, value);
        }
        self.counters.count_response(response.status());
        if let Some(hop) = hop {
            self.counters.count_failure(hop);
        }
        let target = target.as_ref().ok();
        tracing::debug!(
            target: "malha_proxy::access",
            id = id.as_str(),
            peer = %link.peer,
            %method,
            host = target.map(|target| target.host.as_str()),
            path = target.map(Target::path),
            status = response.status().as_u16(),
            hop = hop.map(crate::hop::Hop::as_str),
            elapsed_ms = started.elapsed().as_millis(),
            "request"
        );
        response
    }

    /// 308 keeps method and body. Only hosts that are served here are redirected, so the edge is no open redirector.
    fn redirect(&self, target: &Target) -> Result<Response<Reply>, Failure> {
        let routes = Arc::clone(&self.routes.borrow());
        if self.internal.find(&target.host).is_none() && !routes.knows(&target.host) {
            return Err(Fault::UnknownHost.into());
        }
        let port = match self.config.public_https_port {
            443 => String::new(),
            port => format!(":{port}"),
        };
        // `OPTIONS *` has no place in a URL.
        let path = match &target.origin_form.path_and_query() {
            Some(path) if path.as_str().starts_with('/') => path.as_str(),
            _ => "/",
        };
        let location = format!("https://{}{port}{path}", target.host);
        let location = HeaderValue::try_from(location).map_err(|_| Fault::BadRequest)?;
        let mut response = Response::new(Either::Right(Full::default()));
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        response.headers_mut().insert(LOCATION, location);
        Ok(response)
    }

    async fn serve(
        &self,
        mut request: Request<Incoming>,
        target: &Target,
        server_name: Option<&str>,
        link: &Arc<ClientLink>,
        id: &RequestId,
    ) -> Result<Response<Reply>, Failure> {
        let destination = self.find(target, server_name)?;
        let passage = Passage {
            upgrade: Upgrade::take(&mut request),
            open: link.activity.open_request(),
            link: Arc::clone(link),
            head: request.method() == Method::HEAD,
        };
        let request = self.outgoing(request, target, &passage, id);
        let received = match &destination {
            Destination::Internal(address) => {
                let upstream = Upstream::Beside(*address);
                let received = self.exchange.run(upstream, request).await;
                received.map_err(|unanswered| beside_the_edge(unanswered).into())
            }
            Destination::Route(route) => self.try_backends(route, request).await,
        }?;
        self.returning(received, passage)
    }

    fn find(&self, target: &Target, server_name: Option<&str>) -> Result<Destination, Fault> {
        if let Some(address) = self.internal.find(&target.host) {
            return Ok(Destination::Internal(address));
        }
        let routes = Arc::clone(&self.routes.borrow());
        match routes.find(&target.host, target.path()) {
            Found::Route(route) => Ok(Destination::Route(route)),
            Found::NoPath => Err(Fault::NoRoute),
            // RFC 9110 §15.5.20: the client reused a connection that was made for another host.
            Found::UnknownHost => match server_name.map(HostName::parse) {
                Some(Ok(name)) if name != target.host => Err(Fault::Misdirected),
                _ => Err(Fault::UnknownHost),
            },
        }
    }

    /// The next backend is tried only when the one before could not be connected to.
    async fn try_backends(
        &self,
        route: &Route,
        request: Request<Upload>,
    ) -> Result<Received, Failure> {
        let candidates = self.canaries.candidates(route, Instant::now())?;
        if candidates.canary {
            self.counters.canaries.add(1);
        }
        let mut request = Box::new(request);
        let mut last: Failure = Fault::EdgeDown.into();
        for backend in candidates.backends {
            let upstream = Upstream::Overlay(backend.address);
            let received = match candidates.canary {
                true => self.exchange.run_fresh(upstream, *request).await,
                false => self.exchange.run(upstream, *request).await,
            };
            let well = received
                .as_ref()
                .is_ok_and(|received| !received.response.status().is_server_error());
            self.canaries.went(route.id, backend, well);
            match received {
                Ok(received) => return Ok(received),
                Err(Unanswered::Failed(fault)) => return Err(blamed(fault, backend)),
                Err(Unanswered::Unreached {
                    fault,
                    request: unharmed,
                }) => {
                    last = blamed(fault, backend);
                    request = unharmed;
                }
            }
        }
        Err(last)
    }

    fn outgoing(
        &self,
        request: Request<Incoming>,
        target: &Target,
        passage: &Passage,
        id: &RequestId,
    ) -> Request<Upload> {
        let (parts, body) = request.into_parts();
        let (mut method, mut headers) = (parts.method, parts.headers);
        let wants_trailers = has_token(&headers, &TE, "trailers");
        let unknown_length = !body.is_end_stream() && body.size_hint().exact().is_none();
        strip_hop_by_hop(&mut headers);
        if wants_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        // The body itself says its length to hyper, except that hyper sends no chunks with GET unless told to.
        headers.remove(CONTENT_LENGTH);
        if unknown_length {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if parts.version == Version::HTTP_2 {
            join_cookies(&mut headers);
        }
        headers.insert(HOST, target.authority.clone());
        headers.insert(X_REQUEST_ID, id.header());
        let origin = Origin {
            peer: passage.link.peer,
            host: &target.authority,
            port: self.config.public_https_port,
            trusted: &self.config.trusted_proxies,
        };
        forwarded::apply(&mut headers, origin);
        if let Some(upgrade) = &passage.upgrade {
            upgrade.ask(&mut method, &mut headers);
        }
        let mut outgoing = Request::new(Upload::new(body, self.config.limits.idle));
        *outgoing.method_mut() = method;
        *outgoing.uri_mut() = target.origin_form.clone();
        *outgoing.headers_mut() = headers;
        outgoing
    }

    fn returning(&self, received: Received, passage: Passage) -> Result<Response<Reply>, Failure> {
        let Received {
            mut response,
            lease,
        } = received;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let upgrade = passage.upgrade.ok_or(Fault::OriginBroken)?;
            let origin = hyper::upgrade::on(&mut response);
            let held = (lease, passage.open, passage.link);
            return Ok(self.switch(response.into_parts().0, upgrade, origin, held));
        }
        let accepts = |upgrade: &Upgrade| upgrade.success_means_accepted();
        if status.is_success() && passage.upgrade.as_ref().is_some_and(accepts) {
            return Err(Fault::OriginBroken.into());
        }
        let (mut parts, body) = response.into_parts();
        let declared = parts.headers.get(CONTENT_LENGTH).cloned();
        let chunked = parts.headers.contains_key(TRANSFER_ENCODING);
        clean_response(&mut parts.headers);
        // Exactly one length, and none that the framing contradicts.
        let exact = body.size_hint().exact().map(HeaderValue::from);
        let bodiless = passage.head || status == StatusCode::NOT_MODIFIED;
        let length = match declared {
            Some(declared) if bodiless && !chunked => Some(declared),
            Some(_) if !chunked && !bodiless && status != StatusCode::NO_CONTENT => exact,
            _ => None,
        };
        if let Some(length) = length {
            parts.headers.insert(CONTENT_LENGTH, length);
        }
        let idle = self.config.limits.idle;
        let download = Download::new(body, lease, idle, passage.open);
        let mut response = Response::new(Either::Left(download));
        *response.status_mut() = status;
        *response.headers_mut() = parts.headers;
        Ok(response)
    }

    fn switch(
        &self,
        parts: http::response::Parts,
        upgrade: Upgrade,
        origin: OnUpgrade,
        held: Held,
    ) -> Response<Reply> {
        let mut headers = parts.headers;
        let agreed = headers.get(UPGRADE).cloned();
        clean_response(&mut headers);
        let status = upgrade.accept(agreed, &mut headers);
        self.counters.upgrades.add(1);
        let limits = self.config.limits.clone();
        // Its end can't be waited for: nobody knows when it comes.
        let end = self.drain.clone();
        self.tasks
            .spawn(splice(upgrade.client, origin, held, limits, end));
        let mut response = Response::new(Either::Right(Full::default()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Also removes what only the edge may say.
fn clean_response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    headers.remove(CONTENT_LENGTH);
    headers.remove(X_MALHA_HOP);
}

/// The edge itself is at fault when a process beside it fails.
fn beside_the_edge(unanswered: Unanswered) -> Fault {
    match unanswered {
        Unanswered::Unreached { fault, .. } | Unanswered::Failed(fault) => match fault {
            Fault::UploadStalled | Fault::EdgeBusy => fault,
            _ => Fault::EdgeDown,
        },
    }
}

/// A failure to which the backend's place belongs, unless the client or the edge itself was at fault.
fn blamed(fault: Fault, backend: &BackendSpec) -> Failure {
    match fault.hop() {
        crate::hop::Hop::Client => fault.into(),
        _ => Failure::at(fault, backend),
    }
}
