//! The control channel as a node speaks it, without the node: QUIC with the pinned authority, frames on one stream. Many
//! machines share a few sockets here, each socket with an address of its own, as machines behind many NATs have.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use malha_proto::{
    ALPN, CONTROLLER_TLS_NAME, FrameDecoder, FrameError, MAX_FRAME_TO_CONTROLLER_BYTES,
    MAX_FRAME_TO_NODE_BYTES, ToController, ToNode, encode_frame,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Sockets on addresses of 127.0.1.0/24.
pub(super) struct Underlay(Vec<Endpoint>);

impl Underlay {
    pub(super) fn new(sources: u8) -> Result<Self> {
        let bind =
            |last: u8| Endpoint::client(SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0)));
        Ok(Self(
            (1..=sources).map(bind).collect::<std::io::Result<_>>()?,
        ))
    }

    /// The socket of the machine with this number.
    pub(super) fn of(&self, machine: usize) -> &Endpoint {
        &self.0[machine % self.0.len()]
    }
}

/// Whom machines trust, and who one of them is once it is enrolled.
pub(super) fn credentials(
    authority: &CertificateDer<'static>,
    node: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
    let mut tls = match node {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key)?,
    };
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(0_u32.into())
        .max_concurrent_uni_streams(0_u32.into());
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// One stream to a controller.
pub(super) struct Link {
    connection: Connection,
    write: SendStream,
    read: RecvStream,
    decoder: FrameDecoder,
    piece: Vec<u8>,
}

impl Link {
    pub(super) async fn open(
        from: &Endpoint,
        to: SocketAddr,
        config: ClientConfig,
    ) -> Result<Self> {
        let connection = from
            .connect_with(config, to, CONTROLLER_TLS_NAME)?
            .await
            .context("connecting")?;
        let (write, read) = connection.open_bi().await?;
        let decoder = FrameDecoder::new(MAX_FRAME_TO_NODE_BYTES);
        Ok(Self {
            connection,
            write,
            read,
            decoder,
            piece: vec![0; PIECE_BYTES],
        })
    }

    pub(super) async fn send(&mut self, message: &ToController) -> Result<()> {
        let frame = encode_frame(message, MAX_FRAME_TO_CONTROLLER_BYTES)?;
        Ok(self.write.write_all(&frame).await?)
    }

    /// The next message. Cancel safe.
    pub(super) async fn receive(&mut self) -> Result<ToNode> {
        loop {
            match self.decoder.next_message() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(FrameError::Unknown) => continue,
                Err(error) => bail!("the controller sent {error}"),
            }
            let read = self
                .read
                .read(&mut self.piece)
                .await?
                .context("the controller closed the stream")?;
            self.decoder.push(&self.piece[..read]);
        }
    }

    /// Ends the connection at once.
    pub(super) fn close(self) {
        self.connection.close(0_u32.into(), b"");
    }
}

const PIECE_BYTES: usize = 4 * 1024;
