//! One control stream as messages: frames out of bytes and back, with a bound on each wait for its reader. The same for QUIC and TLS.

use std::net::SocketAddr;
use std::time::Duration;

use malha_proto::{
    FRAME_PATIENCE_MS, Fingerprint, FrameDecoder, FrameError, MAX_FRAME_TO_CONTROLLER_BYTES,
    MAX_FRAME_TO_NODE_BYTES, NodeId, ToController, ToNode, encode_frame,
};
use serde::Serialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

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
    #[error("a message for the node does not fit: {0}")]
    Unsendable(FrameError),
    #[error("the node takes nothing for {} s", STALL_LIMIT.as_secs())]
    Stalled,
    #[error("the node did not take a message within {} s", SEND_LIMIT.as_secs())]
    Slow,
    #[error("the session must not go on")]
    Revoked,
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

    /// Sends one message whole, however slowly its reader takes it, within [`SEND_LIMIT`]. After an error, or cancelled, the stream
    /// carries nothing any more.
    pub async fn send(&mut self, message: &ToNode) -> Result<(), ChannelError> {
        let frame = encode_frame(message, MAX_FRAME_TO_NODE_BYTES).map_err(|error| {
            let node = self.certificate.map(|it| it.node);
            tracing::warn!(?node, %error, "a message does not fit into a frame");
            ChannelError::Unsendable(error)
        })?;
        self.send_frame(&frame).await
    }

    /// Sends a last message and waits until the node has read the stream to its end, at most [`LINGER`] and the time that so long
    /// a message may be on its way: an answer must not be lost because the connection closes behind it.
    pub async fn finish(mut self, message: &ToNode) {
        let Ok(frame) = encode_frame(message, MAX_FRAME_TO_NODE_BYTES) else {
            return;
        };
        if self.send_frame(&frame).await.is_err() {
            return;
        }
        let share = frame.len() as f64 / MAX_FRAME_TO_NODE_BYTES as f64;
        let read_to_its_end = async {
            if self.write.shutdown().await.is_ok() {
                while matches!(self.read.read(&mut self.buffer[..]).await, Ok(read) if read > 0) {}
            }
        };
        let _ = timeout(LINGER + SEND_LIMIT.mul_f64(share), read_to_its_end).await;
    }

    async fn send_frame(&mut self, frame: &[u8]) -> Result<(), ChannelError> {
        let whole = async {
            let mut rest = frame;
            while !rest.is_empty() {
                match in_time(self.write.write(rest)).await? {
                    0 => return Err(ChannelError::Closed),
                    written => rest = &rest[written..],
                }
            }
            in_time(self.write.flush()).await
        };
        let sent = timeout(SEND_LIMIT, whole).await;
        sent.unwrap_or(Err(ChannelError::Slow))
    }
}

/// One step of a message on its way.
async fn in_time<T>(step: impl Future<Output = std::io::Result<T>>) -> Result<T, ChannelError> {
    let done = timeout(STALL_LIMIT, step).await;
    Ok(done.map_err(|_| ChannelError::Stalled)??)
}

const READ_BYTES: usize = 4 * 1024;
/// Without a byte taken.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// As long as the node waits for a frame that comes in parts.
const SEND_LIMIT: Duration = Duration::from_millis(FRAME_PATIENCE_MS);
const LINGER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
