//! A client of the HTTP API: sends one request, gives the answer or says whose fault it was that there is none. It never
//! sends a key in clear over a network, and reads no answer without a limit.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::api::ProblemDocument;

/// A connection to one controller's API.
pub struct Client {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Scheme, host and port.
    base: String,
    authorization: HeaderValue,
    /// What the people before this client speak.
    language: Option<HeaderValue>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The caller's address can't be used.
    #[error("{url}: {problem}")]
    Address { url: String, problem: String },
    /// The caller's CA file can't be used.
    #[error("{}: {problem}", .path.display())]
    Authority { path: PathBuf, problem: String },
    /// The key is not one.
    #[error("the API key has characters that no key has; copy it again, on one line")]
    Key,
    /// Nobody answered.
    #[error("{url} can't be reached: {problem}")]
    Unreachable { url: String, problem: String },
    /// Something was sent, and no answer came.
    #[error(
        "{url} broke the connection before its answer ({problem}); what was asked may have happened: look before you \
         ask again"
    )]
    Broken { url: String, problem: String },
    #[error("{url} gave no whole answer within {} s", TIMEOUT.as_secs())]
    TimedOut { url: String },
    /// The controller said no.
    #[error("{}", .0.detail)]
    Problem(Box<ProblemDocument>),
    /// Somebody answered who is no controller of ours.
    #[error("{url} answered {status}, which is not Malha's API: {problem}")]
    Strange {
        url: String,
        status: u16,
        problem: String,
    },
    /// The answer could not be put where it should go.
    #[error("writing the answer: {0}")]
    Write(std::io::Error),
}

impl Client {
    /// A client for `http://127.0.0.1:8480` or `https://host`; nothing is sent yet. `ca` is a PEM file with the authority
    /// that signed the server's certificate, needed for `https`.
    pub fn new(url: &str, key: &str, ca: Option<&Path>) -> Result<Self, ClientError> {
        let base = base(url)?;
        if base.starts_with("https") && ca.is_none() {
            let problem = "name the authority of its certificate with --ca FILE".to_owned();
            return Err(ClientError::Address {
                url: url.to_owned(),
                problem,
            });
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
            .map_err(|_| ClientError::Key)?;
        authorization.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(ca)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self {
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
            base,
            authorization,
            language: None,
        })
    }

    /// The same client, whose refusals are in this language (a tag like `pt-BR`) where the controller has words for them.
    #[must_use]
    pub fn speaking(mut self, language: &'static str) -> Self {
        self.language = Some(HeaderValue::from_static(language));
        self
    }

    /// Reads a resource.
    pub async fn read(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::GET, path, None::<&()>).await
    }

    /// Sends a request below `/api/v1`, with a JSON body if there is one.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Value, ClientError> {
        self.answer(method, path, body, None).await
    }

    /// Creates something. If the connection breaks, the same is asked again under the same `Idempotency-Key`, so that it
    /// happens once.
    pub async fn create(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| self.address(error.to_string()))?;
        let key = HeaderValue::from_str(&HEXLOWER.encode(&random)).ok();
        let mut pauses = REPETITION_PAUSES.into_iter();
        let mut sent = false;
        loop {
            let answer = self.answer(Method::POST, path, Some(body), key.as_ref());
            let error = match answer.await {
                Err(error @ ClientError::Broken { .. }) => error,
                // It went down with what was asked before.
                Err(ClientError::Unreachable { url, problem }) if sent => {
                    ClientError::Broken { url, problem }
                }
                other => return other,
            };
            sent = true;
            let Some(pause) = pauses.next() else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        key: Option<&HeaderValue>,
    ) -> Result<Value, ClientError> {
        let response = self.request(method, path, body, key).await?;
        let status = response.status();
        let whole = tokio::time::timeout(
            TIMEOUT,
            Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect(),
        )
        .await;
        let bytes = match whole {
            Ok(Ok(whole)) => whole.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(self.strange(
                    status,
                    format!("it is longer than {MAX_ANSWER_BYTES} bytes"),
                ));
            }
            Ok(Err(error)) => return Err(self.broken(&*error)),
            Err(_) => {
                return Err(ClientError::TimedOut {
                    url: self.base.clone(),
                });
            }
        };
        if status.is_success() {
            serde_json::from_slice(&bytes).map_err(|error| self.strange(status, error.to_string()))
        } else {
            Err(self.refused(status, &bytes))
        }
    }

    /// Reads a resource of any length into `writer`; gives the number of bytes.
    pub async fn download(
        &self,
        path: &str,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, ClientError> {
        let response = self.request(Method::GET, path, None::<&()>, None).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let problem = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let bytes = problem.map(|whole| whole.to_bytes()).unwrap_or_default();
            return Err(self.refused(status, &bytes));
        }
        let mut bytes = 0;
        loop {
            let frame = tokio::time::timeout(TIMEOUT, body.frame()).await;
            let frame = frame.map_err(|_| ClientError::TimedOut {
                url: self.base.clone(),
            })?;
            let Some(frame) = frame else { break };
            if let Ok(data) = frame.map_err(|error| self.broken(&error))?.into_data() {
                writer.write_all(&data).await.map_err(ClientError::Write)?;
                bytes += data.len() as u64;
            }
        }
        writer.flush().await.map_err(ClientError::Write)?;
        Ok(bytes)
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        key: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, ClientError> {
        let url = format!("{}/api/v1{path}", self.base);
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(AUTHORIZATION, &self.authorization);
        if let Some(language) = &self.language {
            request = request.header(ACCEPT_LANGUAGE, language);
        }
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                let bytes =
                    serde_json::to_vec(body).map_err(|error| self.address(error.to_string()))?;
                Full::from(bytes)
            }
            None => Full::default(),
        };
        let request = request
            .body(body)
            .map_err(|error| self.address(error.to_string()))?;
        match tokio::time::timeout(TIMEOUT, self.http.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => Err(ClientError::Unreachable {
                url: self.base.clone(),
                problem: innermost(&error),
            }),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(ClientError::TimedOut {
                url: self.base.clone(),
            }),
        }
    }

    fn refused(&self, status: StatusCode, bytes: &[u8]) -> ClientError {
        match serde_json::from_slice(bytes) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => self.strange(status, "its answer is no problem document".to_owned()),
        }
    }

    fn strange(&self, status: StatusCode, problem: String) -> ClientError {
        ClientError::Strange {
            url: self.base.clone(),
            status: status.as_u16(),
            problem,
        }
    }

    fn address(&self, problem: String) -> ClientError {
        ClientError::Address {
            url: self.base.clone(),
            problem,
        }
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> ClientError {
        ClientError::Broken {
            url: self.base.clone(),
            problem: innermost(error),
        }
    }
}

/// The innermost cause says what happened; the outer ones only that something did.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A part of a path, percent-encoded so that `org/site` is one part.
#[must_use]
pub fn part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            // A part that is only dots would be taken for a step up.
            b'.' if text.bytes().any(|b| b != b'.') => out.push('.'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn base(url: &str) -> Result<String, ClientError> {
    let refuse = |problem: &str| ClientError::Address {
        url: url.to_owned(),
        problem: problem.to_owned(),
    };
    let uri: Uri = url
        .parse()
        .map_err(|_| refuse("write it like http://127.0.0.1:8480 or https://hub.example"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(refuse(
            "write it like http://127.0.0.1:8480 or https://hub.example",
        ));
    };
    if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
        return Err(refuse("give scheme, host and port only"));
    }
    // `Uri` takes every number for a port, and then says that there is none.
    let port = authority.as_str().strip_prefix(authority.host());
    let port = port.unwrap_or_default();
    if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        let problem = format!("{port:?} is no port; write :1 to :65535, or nothing");
        return Err(refuse(&problem));
    }
    match scheme {
        "https" => {}
        "http" if is_this_machine(authority.host()) => {}
        "http" => {
            return Err(refuse(
                "plain http would show the API key to the network; use https with --ca FILE",
            ));
        }
        _ => return Err(refuse("only http and https are spoken")),
    }
    Ok(format!("{scheme}://{authority}"))
}

fn is_this_machine(host: &str) -> bool {
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let refuse = |problem: String| ClientError::Authority {
            path: path.to_owned(),
            problem,
        };
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| refuse(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(refuse("it holds no certificate in PEM form".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| ClientError::Address {
        url: "https".to_owned(),
        problem: error.to_string(),
    })?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Before a creation is asked for again: long enough together for a controller that starts anew.
const REPETITION_PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// Longer than the controller gives itself.
const TIMEOUT: Duration = Duration::from_secs(65);
/// A page of a thousand nodes is about two.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests;
