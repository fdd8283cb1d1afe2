//! One control stream as messages: frames out of bytes and back, with a deadline on each write. The same for QUIC and TLS.

use std::net::SocketAddr;
use std::time::Duration;

use malha_proto::{
    Fingerprint, FrameDecoder, FrameError, MAX_FRAME_TO_CONTROLLER_BYTES, MAX_FRAME_TO_NODE_BYTES,
    NodeId, ToController, ToNode, encode_frame,
};
use serde::Serialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Quic,
    Tls,
}

/// Who TLS says the other side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    pub node: NodeId,
    /// SHA-256 of its public key (SubjectPublicKeyInfo).
    pub key: Fingerprint,
}

/// Where the other side is.
#[derive(Debug)]
pub enum Remote {
    Fixed(SocketAddr),
    /// A QUIC connection goes on when the node's address changes.
    Path(quinn::Connection),
}

/// Why a channel ended.
#[derive(Debug, Error)]
pub enum ChannelError {
    #[error("the node closed the session")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the node sent {0}")]
    Frame(#[from] FrameError),
    #[error("the node takes nothing for {} s", WRITE_TIMEOUT.as_secs())]
    Stalled,
}

/// A control stream. Reading is cancel-safe.
pub struct Channel {
    read: Box<dyn AsyncRead + Send + Unpin>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    decoder: FrameDecoder,
    buffer: Box<[u8; READ_BYTES]>,
    remote: Remote,
    pub transport: Transport,
    pub certificate: Option<PeerCertificate>,
}

impl Channel {
    pub fn new(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        remote: Remote,
        transport: Transport,
        certificate: Option<PeerCertificate>,
    ) -> Self {
        Self {
            read: Box::new(read),
            write: Box::new(write),
            decoder: FrameDecoder::new(MAX_FRAME_TO_CONTROLLER_BYTES),
            buffer: Box::new([0; READ_BYTES]),
            remote,
            transport,
            certificate,
        }
    }

    /// The node's address and port now.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        match &self.remote {
            Remote::Fixed(address) => *address,
            Remote::Path(connection) => connection.remote_address(),
        }
    }

    /// The next message. Messages of a newer protocol are skipped.
    pub async fn receive(&mut self) -> Result<ToController, ChannelError> {
        loop {
            match self.decoder.next_message() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(FrameError::Unknown) => continue,
                Err(error) => return Err(error.into()),
            }
            match self.read.read(&mut self.buffer[..]).await? {
                0 => return Err(ChannelError::Closed),
                read => self.decoder.push(&self.buffer[..read]),
            }
        }
    }

    /// Sends one message whole.
    pub async fn send(&mut self, message: &ToNode) -> Result<(), ChannelError> {
        let frame = encode_frame(message, MAX_FRAME_TO_NODE_BYTES)?;
        let write = async {
            self.write.write_all(&frame).await?;
            self.write.flush().await
        };
        tokio::time::timeout(WRITE_TIMEOUT, write)
            .await
            .map_err(|_| ChannelError::Stalled)??;
        Ok(())
    }

    /// Sends a last message and waits until the node has read the stream to its end, at most [`LINGER`]: an answer must not
    /// be lost because the connection closes behind it.
    pub async fn finish(mut self, message: &ToNode) {
        if self.send(message).await.is_err() || self.write.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            while matches!(self.read.read(&mut self.buffer[..]).await, Ok(read) if read > 0) {}
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }
}

const READ_BYTES: usize = 4 * 1024;
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(2);
