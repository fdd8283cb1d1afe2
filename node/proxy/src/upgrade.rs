//! Connections that stop being HTTP: WebSocket and other upgrades, from HTTP/1.1 and HTTP/2. Never reads what passes.

use std::sync::Arc;

use data_encoding::BASE64;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio_util::sync::CancellationToken;

use crate::activity::{Activity, OpenRequest, Watched};
use crate::answer::random_bytes;
use crate::config::EdgeLimits;
use crate::gateway::ClientLink;
use crate::headers::has_token;
use crate::origin::Lease;

/// A client's wish to leave HTTP.
pub(crate) struct Upgrade {
    pub(crate) client: OnUpgrade,
    form: Form,
}

enum Form {
    /// RFC 9110 §7.8.
    Http1 { protocols: HeaderValue },
    /// RFC 8441.
    Http2 { protocol: HeaderValue },
}

impl Upgrade {
    /// Takes the wish out of a request. An upgrade with a body, or to another HTTP, is treated as a plain request.
    pub(crate) fn take(request: &mut Request<Incoming>) -> Option<Self> {
        let form = if request.version() == Version::HTTP_2 {
            let protocol = request.extensions().get::<hyper::ext::Protocol>()?;
            let protocol = HeaderValue::from_str(protocol.as_str()).ok()?;
            Form::Http2 { protocol }
        } else {
            let headers = request.headers();
            let asks = has_token(headers, &CONNECTION, "upgrade");
            let protocols = headers.get(UPGRADE)?.clone();
            let http = has_token(headers, &UPGRADE, "h2c");
            if !asks || http || !request.body().is_end_stream() {
                return None;
            }
            Form::Http1 { protocols }
        };
        let client = hyper::upgrade::on(request);
        Some(Self { client, form })
    }

    /// Makes the request to the origin an HTTP/1.1 upgrade.
    pub(crate) fn ask(&self, method: &mut Method, headers: &mut HeaderMap) {
        let protocols = match &self.form {
            Form::Http1 { protocols } => protocols.clone(),
            Form::Http2 { protocol } => {
                *method = Method::GET;
                let key = HeaderValue::try_from(BASE64.encode(&random_bytes()));
                headers.insert(SEC_WEBSOCKET_KEY, key.expect("base64 is a header value"));
                let version = HeaderValue::from_static("13");
                headers.entry(SEC_WEBSOCKET_VERSION).or_insert(version);
                protocol.clone()
            }
        };
        headers.insert(UPGRADE, protocols);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }

    /// Whether a 2xx to this client would mean that the upgrade was accepted.
    pub(crate) fn success_means_accepted(&self) -> bool {
        matches!(self.form, Form::Http2 { .. })
    }

    /// Turns the origin's 101 into the client's form; `agreed` is the origin's `Upgrade`.
    pub(crate) fn accept(
        &self,
        agreed: Option<HeaderValue>,
        headers: &mut HeaderMap,
    ) -> http::StatusCode {
        match &self.form {
            Form::Http1 { protocols } => {
                headers.insert(UPGRADE, agreed.unwrap_or_else(|| protocols.clone()));
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                http::StatusCode::SWITCHING_PROTOCOLS
            }
            Form::Http2 { .. } => {
                headers.remove(SEC_WEBSOCKET_ACCEPT);
                http::StatusCode::OK
            }
        }
    }
}

/// What an upgraded connection still occupies: its slot at the origin, its request, its place among the connections.
pub(crate) type Held = (Lease, OpenRequest, Arc<ClientLink>);

/// Copies both ways until both ends are done, nothing moves for the idle limit, or the edge begins to stop.
pub(crate) async fn splice(
    client: OnUpgrade,
    origin: OnUpgrade,
    held: Held,
    limits: EdgeLimits,
    end: CancellationToken,
) {
    let both = async { tokio::try_join!(client, origin) };
    let upgraded = tokio::select! {
        upgraded = tokio::time::timeout(limits.dial, both) => upgraded,
        () = end.cancelled() => return,
    };
    let Ok(Ok((client, origin))) = upgraded else {
        return;
    };
    let activity = Activity::new();
    let mut client = Watched::new(TokioIo::new(client), Arc::clone(&activity));
    let mut origin = Watched::new(TokioIo::new(origin), Arc::clone(&activity));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut origin) => {}
        _ = activity.silence(limits.idle, limits.idle) => {}
        () = end.cancelled() => {}
    }
    drop(held);
}
