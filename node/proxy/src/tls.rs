//! TLS of the HTTPS port: looks at the ClientHello, gives the control channel its own, serves the rest. Speaks no HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{Acceptor, ResolvesServerCert};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::config::{CONTROL_ALPN, CONTROL_SERVER_NAME, ControlHandoff};
use crate::counters::EdgeCounters;

/// Both TLS faces of the HTTPS port.
pub(crate) struct TlsDoor {
    certs: Arc<dyn ResolvesServerCert>,
    web: Arc<ServerConfig>,
    control: Option<ControlHandoff>,
    counters: Arc<EdgeCounters>,
}

/// A TLS connection that wants to speak HTTP.
pub(crate) struct WebStream {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) server_name: Option<String>,
    pub(crate) http2: bool,
}

impl TlsDoor {
    pub(crate) fn new(
        certs: Arc<dyn ResolvesServerCert>,
        control: Option<ControlHandoff>,
        counters: Arc<EdgeCounters>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut web = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certs));
        web.alpn_protocols = vec![HTTP2_ALPN.to_vec(), b"http/1.1".to_vec()];
        web.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self {
            certs,
            web: Arc::new(web),
            control,
            counters,
        })
    }

    /// `None` when the connection was given to the control channel.
    pub(crate) async fn open(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<Option<WebStream>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        if let Some(control) = &self.control
            && is_for_control(&start)
        {
            let stream = start.into_stream(Arc::clone(&control.config)).await?;
            self.hand_over(control, stream, peer);
            return Ok(None);
        }
        let hello = start.client_hello();
        let server_name = hello.server_name().map(str::to_owned);
        if self.certs.resolve(hello).is_none() {
            return refuse_name(start.io).await;
        }
        let stream = start.into_stream(Arc::clone(&self.web)).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2_ALPN);
        Ok(Some(WebStream {
            stream,
            server_name,
            http2,
        }))
    }

    fn hand_over(&self, control: &ControlHandoff, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        match control.streams.try_send((stream, peer)) {
            Ok(()) => self.counters.control_handoffs.add(1),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counters.control_dropped.add(1);
                tracing::warn!("the control channel takes no more connections; dropped one");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => self.counters.control_dropped.add(1),
        }
    }
}

fn is_for_control(start: &StartHandshake<TcpStream>) -> bool {
    let hello = start.client_hello();
    let offers = hello
        .alpn()
        .is_some_and(|mut offered| offered.any(|name| name == CONTROL_ALPN));
    offers || hello.server_name() == Some(CONTROL_SERVER_NAME)
}

/// rustls would say `access_denied`; RFC 6066 §3 has a word of its own for a name that is not served here.
async fn refuse_name(mut tcp: TcpStream) -> io::Result<Option<WebStream>> {
    tcp.write_all(&UNRECOGNIZED_NAME_ALERT).await?;
    tcp.shutdown().await?;
    let reason = "no certificate for the server name";
    Err(io::Error::new(io::ErrorKind::NotFound, reason))
}

const HTTP2_ALPN: &[u8] = b"h2";
/// A TLS record (RFC 8446 §5.1) with one fatal alert, `unrecognized_name` (112).
const UNRECOGNIZED_NAME_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
