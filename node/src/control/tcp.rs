//! One TLS connection over TCP, for networks that drop UDP; through the HTTP proxy where there is one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::CONTROLLER_TLS_NAME;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::proxy::Proxy;
use super::{LinkError, LinkFault, address, unreachable};

/// A connection to a controller.
pub(super) struct Secured {
    pub(super) stream: TlsStream<TcpStream>,
    /// The controller's address; `None` by a proxy.
    pub(super) remote: Option<SocketAddr>,
}

/// Connects to `controller` (`host:port`), which must choose the application protocol `alpn`.
pub(super) async fn connect(
    controller: &str,
    config: Arc<ClientConfig>,
    alpn: &[u8],
) -> Result<Secured, LinkError> {
    if let Some(proxy) = Proxy::of_environment(controller)? {
        let plain = proxy.connect(controller).await?;
        return secure_behind(&proxy, plain, controller, config, alpn).await;
    }
    let direct = |to: SocketAddr| {
        let config = config.clone();
        async move {
            let plain = TcpStream::connect(to)
                .await
                .map_err(|error| unreachable(format!("{to}/tcp: {error}")))?;
            // Without it a report may wait for the acknowledgement of the one before; it works all the same.
            let _ = plain.set_nodelay(true);
            let stream = secure(plain, &to.to_string(), config, alpn).await?;
            Ok(Secured {
                stream,
                remote: Some(to),
            })
        }
    };
    address::reach(controller, direct).await
}

/// TLS over a way that a proxy says it has opened.
pub(super) async fn secure_behind(
    proxy: &Proxy,
    plain: TcpStream,
    controller: &str,
    config: Arc<ClientConfig>,
    alpn: &[u8],
) -> Result<Secured, LinkError> {
    let secured = timeout(BEHIND_PROXY_LIMIT, secure(plain, controller, config, alpn)).await;
    let secured = secured.unwrap_or_else(|_| Err(proxy.lets_nothing_through(controller)));
    secured.map(|stream| Secured {
        stream,
        remote: None,
    })
}

async fn secure(
    plain: TcpStream,
    to: &str,
    config: Arc<ClientConfig>,
    alpn: &[u8],
) -> Result<TlsStream<TcpStream>, LinkError> {
    let tls_failed = |why: String| LinkError::new(LinkFault::Tls, format!("{to}/tcp: {why}"));
    let name =
        ServerName::try_from(CONTROLLER_TLS_NAME).map_err(|error| tls_failed(error.to_string()))?;
    let stream = TlsConnector::from(config)
        .connect(name, plain)
        .await
        .map_err(|error| tls_failed(error.to_string()))?;
    if stream.get_ref().1.alpn_protocol() != Some(alpn) {
        return Err(tls_failed("it does not speak this protocol".into()));
    }
    Ok(stream)
}

/// For TLS through a proxy that has answered: a few round trips.
const BEHIND_PROXY_LIMIT: Duration = Duration::from_secs(5);
