//! A browser's first visit: a new connection, TLS verified against the edge's authority, one GET.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Whoever reads public URLs at one edge.
#[derive(Clone)]
pub(super) struct Browser {
    edge: SocketAddr,
    tls: TlsConnector,
}

impl Browser {
    pub(super) fn new(edge: SocketAddr, authority: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let tls =
            rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        Ok(Self {
            edge,
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    /// The status of `https://host/`, after its whole body.
    pub(super) async fn visit(&self, host: &str) -> Result<StatusCode> {
        let tcp = TcpStream::connect(self.edge).await?;
        tcp.set_nodelay(true)?;
        let stream = self
            .tls
            .connect(ServerName::try_from(host.to_owned())?, tcp)
            .await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get("/")
            .header("host", host)
            .body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            response.into_body().collect().await?;
            Ok(status)
        };
        let connection = async {
            // How the connection ended, the exchange says better.
            let _ = connection.await;
        };
        tokio::pin!(connection);
        tokio::select! {
            status = exchange => status,
            () = &mut connection => anyhow::bail!("the edge hung up"),
        }
    }
}
