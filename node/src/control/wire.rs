//! Frames on one stream, whatever carries it. A broken frame ends it.

use std::net::SocketAddr;
use std::time::Duration;

use malha_proto::{
    FRAME_PATIENCE_MS, FrameDecoder, FrameError, MAX_FRAME_TO_CONTROLLER_BYTES,
    MAX_FRAME_TO_NODE_BYTES, ToController, ToNode, encode_frame,
};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::quic::LAST_WORDS_LIMIT;
use super::tcp::Secured;
use super::{LinkError, LinkFault};

/// An open connection to a controller.
pub struct Wire {
    reader: WireReader,
    writer: WireWriter,
    remote: Option<SocketAddr>,
}

pub struct WireReader {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    decoder: FrameDecoder,
    piece: Box<[u8]>,
    came_bytes: u64,
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
        let remote = Some(connection.remote_address());
        let writer = WireWriter(Outgoing::Quic {
            stream: writer,
            connection,
            endpoint,
        });
        let reader = WireReader::new(reader);
        Self {
            reader,
            writer,
            remote,
        }
    }

    pub(super) fn tcp(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        remote: Option<SocketAddr>,
    ) -> Self {
        Self {
            reader: WireReader::new(reader),
            writer: WireWriter(Outgoing::Tcp(Box::new(writer))),
            remote,
        }
    }

    /// Where the controller was reached; `None` by a proxy.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    #[must_use]
    pub fn split(self) -> (WireReader, WireWriter) {
        (self.reader, self.writer)
    }

    /// One question, one answer; the connection ends with it. The answer may take as long as any frame, [`FRAME_PATIENCE_MS`], if it
    /// is never silent for [`ANSWER_SILENCE`].
    ///
    /// # Errors
    /// [`LinkFault::Silent`] after these times, with how much had come; else as the link breaks.
    pub async fn ask(mut self, question: &ToController) -> Result<ToNode, LinkError> {
        let asked = timeout(ANSWER_LIMIT, self.exchange(question)).await;
        let answer = asked.unwrap_or_else(|_| Err(self.reader.too_slow()));
        self.writer.close().await;
        answer
    }

    async fn exchange(&mut self, question: &ToController) -> Result<ToNode, LinkError> {
        let sent = timeout(ANSWER_SILENCE, self.writer.send(question)).await;
        sent.map_err(|_| self.reader.silent())??;
        loop {
            let received = timeout(ANSWER_SILENCE, self.reader.receive()).await;
            match received.map_err(|_| self.reader.silent())?? {
                Received::Message(answer) => return Ok(*answer),
                Received::Part => {}
            }
        }
    }
}

impl From<Secured> for Wire {
    fn from(connected: Secured) -> Self {
        let (reader, writer) = tokio::io::split(connected.stream);
        Self::tcp(reader, writer, connected.remote)
    }
}

impl WireReader {
    fn new(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            decoder: FrameDecoder::new(MAX_FRAME_TO_NODE_BYTES),
            piece: vec![0; PIECE_BYTES].into(),
            came_bytes: 0,
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
            Ok(bytes) => {
                self.decoder.push(&self.piece[..bytes]);
                self.came_bytes += bytes as u64;
            }
            Err(error) => return Err(LinkError::new(LinkFault::Closed, error)),
        }
        let message = self.take()?;
        Ok(message.map_or(Received::Part, Received::Message))
    }

    fn silent(&self) -> LinkError {
        let limit_s = ANSWER_SILENCE.as_secs();
        let detail = match self.came_bytes {
            0 => format!("connected, but no answer came within {limit_s} s"),
            bytes => format!("{bytes} bytes of the answer came, and then nothing for {limit_s} s"),
        };
        LinkError::new(LinkFault::Silent, detail)
    }

    fn too_slow(&self) -> LinkError {
        let (bytes, limit_s) = (self.came_bytes, ANSWER_LIMIT.as_secs());
        let detail = format!("no more than {bytes} bytes of the answer came within {limit_s} s");
        LinkError::new(LinkFault::Silent, detail)
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
/// As long as the controller keeps at it.
const ANSWER_LIMIT: Duration = Duration::from_millis(FRAME_PATIENCE_MS);
/// The controller writes to its disk before it answers, and others may be before us.
const ANSWER_SILENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use malha_proto::FarewellReason;
    use tokio::io::{DuplexStream, duplex, split};
    use tokio::task::JoinHandle;
    use tokio::time::advance;

    use super::*;
    use crate::testbed::netmap;

    const QUESTION: ToController = ToController::Farewell {
        reason: FarewellReason::Stopped,
    };
    const DROP_PAUSE: Duration = Duration::from_secs(10);

    /// A question under way, and the controller's end of it.
    async fn asked() -> (JoinHandle<Result<ToNode, LinkError>>, DuplexStream) {
        let (near, mut far) = duplex(64 * 1024);
        let (read, write) = split(near);
        let asked = tokio::spawn(Wire::tcp(read, write, None).ask(&QUESTION));
        let mut question = encode_frame(&QUESTION, MAX_FRAME_TO_CONTROLLER_BYTES).unwrap();
        far.read_exact(&mut question).await.unwrap();
        (asked, far)
    }

    fn answer() -> (ToNode, Vec<u8>) {
        let answer = ToNode::Snapshot(Box::new(netmap(10)));
        let frame = encode_frame(&answer, MAX_FRAME_TO_NODE_BYTES).unwrap();
        (answer, frame)
    }

    /// Byte by byte, with a pause after each.
    async fn drip(far: &mut DuplexStream, bytes: &[u8]) {
        for byte in bytes {
            far.write_all(&[*byte]).await.unwrap();
            advance(DROP_PAUSE).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_long_is_waited_for_while_it_comes() {
        let (asked, mut far) = asked().await;
        let (answer, frame) = answer();
        let (slow, rest) = frame.split_at(8);
        drip(&mut far, slow).await;
        far.write_all(rest).await.unwrap();
        assert_eq!(asked.await.unwrap(), Ok(answer));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stops_is_given_up_with_a_word_of_how_much_came() {
        let (asked, mut far) = asked().await;
        drip(&mut far, &answer().1[..3]).await;
        let error = asked.await.unwrap().unwrap_err();
        let words = "3 bytes of the answer came, and then nothing for 15 s";
        assert_eq!(error, LinkError::new(LinkFault::Silent, words));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_ends_is_given_up() {
        let (asked, mut far) = asked().await;
        drip(&mut far, &answer().1[..11]).await;
        far.write_all(&[0]).await.unwrap();
        let error = asked.await.unwrap().unwrap_err();
        let words = "no more than 12 bytes of the answer came within 120 s";
        assert_eq!(error, LinkError::new(LinkFault::Silent, words));
    }
}
