//! Frames on one stream, whatever carries it. A broken frame ends it.

use malha_proto::{
    FrameDecoder, FrameError, MAX_FRAME_TO_CONTROLLER_BYTES, MAX_FRAME_TO_NODE_BYTES, ToController,
    ToNode, encode_frame,
};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::quic::LAST_WORDS_LIMIT;
use super::{LinkError, LinkFault};

/// An open connection to a controller.
pub struct Wire {
    reader: WireReader,
    writer: WireWriter,
}

pub struct WireReader {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    decoder: FrameDecoder,
    piece: Box<[u8]>,
}

/// What came over the stream.
#[derive(Debug, PartialEq)]
pub enum Received {
    Message(Box<ToNode>),
    /// Bytes that end no message.
    Part,
}

pub struct WireWriter(Outgoing);

enum Outgoing {
    Quic {
        stream: SendStream,
        connection: Connection,
        endpoint: Endpoint,
    },
    Tcp(Box<dyn AsyncWrite + Send + Unpin>),
}

impl Wire {
    pub(super) fn quic(
        endpoint: Endpoint,
        connection: Connection,
        writer: SendStream,
        reader: RecvStream,
    ) -> Self {
        let writer = WireWriter(Outgoing::Quic {
            stream: writer,
            connection,
            endpoint,
        });
        let reader = WireReader::new(reader);
        Self { reader, writer }
    }

    pub(super) fn tcp(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self {
            reader: WireReader::new(reader),
            writer: WireWriter(Outgoing::Tcp(Box::new(writer))),
        }
    }

    #[must_use]
    pub fn split(self) -> (WireReader, WireWriter) {
        (self.reader, self.writer)
    }

    /// One question, one answer; the connection ends with it.
    pub async fn ask(mut self, question: &ToController) -> Result<ToNode, LinkError> {
        self.writer.send(question).await?;
        let answer = loop {
            match self.reader.receive().await {
                Ok(Received::Message(answer)) => break Ok(*answer),
                Ok(Received::Part) => {}
                Err(error) => break Err(error),
            }
        };
        self.writer.close().await;
        answer
    }
}

impl WireReader {
    fn new(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            decoder: FrameDecoder::new(MAX_FRAME_TO_NODE_BYTES),
            piece: vec![0; PIECE_BYTES].into(),
        }
    }

    /// The next message, or a part of it; messages of a newer protocol are only parts. Cancel safe.
    pub async fn receive(&mut self) -> Result<Received, LinkError> {
        if let Some(message) = self.take()? {
            return Ok(Received::Message(message));
        }
        match self.stream.read(&mut self.piece).await {
            Ok(0) => {
                let detail = "the controller closed the connection";
                return Err(LinkError::new(LinkFault::Closed, detail));
            }
            Ok(bytes) => self.decoder.push(&self.piece[..bytes]),
            Err(error) => return Err(LinkError::new(LinkFault::Closed, error)),
        }
        let message = self.take()?;
        Ok(message.map_or(Received::Part, Received::Message))
    }

    fn take(&mut self) -> Result<Option<Box<ToNode>>, LinkError> {
        loop {
            match self.decoder.next_message() {
                Ok(message) => return Ok(message.map(Box::new)),
                Err(FrameError::Unknown) => {}
                Err(error) => return Err(LinkError::new(LinkFault::Protocol, error)),
            }
        }
    }
}

impl WireWriter {
    pub async fn send(&mut self, message: &ToController) -> Result<(), LinkError> {
        let frame = encode_frame(message, MAX_FRAME_TO_CONTROLLER_BYTES)
            .map_err(|error| LinkError::new(LinkFault::Protocol, error))?;
        let sent = match &mut self.0 {
            Outgoing::Quic { stream, .. } => {
                stream.write_all(&frame).await.map_err(std::io::Error::from)
            }
            Outgoing::Tcp(stream) => match stream.write_all(&frame).await {
                Ok(()) => stream.flush().await,
                Err(error) => Err(error),
            },
        };
        sent.map_err(|error| LinkError::new(LinkFault::Closed, error))
    }

    /// Ends the connection in order, so that what was sent arrives. It has a short time for it; a peer that is gone gets
    /// nothing anyway.
    pub async fn close(self) {
        let _ = timeout(LAST_WORDS_LIMIT, async {
            match self.0 {
                Outgoing::Quic {
                    mut stream,
                    connection,
                    endpoint,
                } => {
                    let _ = stream.finish();
                    let _ = stream.stopped().await;
                    connection.close(0_u32.into(), b"");
                    endpoint.wait_idle().await;
                }
                Outgoing::Tcp(mut stream) => {
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await;
    }
}

const PIECE_BYTES: usize = 16 * 1024;
