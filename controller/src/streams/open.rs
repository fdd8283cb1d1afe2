//! Opens a stream to a node's service, and falls back to the tunnel at once when that fails.

use std::io::{self, ErrorKind::ConnectionRefused};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use malha_proto::{Family, NodeId, StreamAnswer};
use malha_proxy::BoxStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::line::Line;
use super::stream::QuicStream;
use super::{StreamOpen, Streams};

/// Why no stream came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unopened {
    /// Nothing listens: the tunnel would say the same.
    NothingListens,
    /// The tunnel may say otherwise, or it says the same in its own way.
    Refused,
    /// The connection does not work.
    Broken,
}

impl Streams {
    /// Dials `address` of `node` the way that is chosen for it: by a stream, or by `tunnel`, which does nothing before it is polled. A
    /// stream that is not there after [`HEAD_START`] or three round trips has a rival in the tunnel; the first that stands wins. A
    /// rival that fails otherwise than by a refusal of the node leaves the stream the rest of `limit`, and only then is its error the dial's.
    pub async fn dial(
        &self,
        node: NodeId,
        hub: NodeId,
        address: SocketAddr,
        limit: Duration,
        tunnel: impl Future<Output = io::Result<BoxStream>>,
    ) -> io::Result<BoxStream> {
        let Some(line) = self.taken(node) else {
            return tunnel.await;
        };
        let deadline = Instant::now() + limit;
        let connection = line.connection();
        let mut opening = pin!(open(&line, hub, address));
        let head_start = HEAD_START.max(connection.rtt() * HEAD_START_ROUND_TRIPS);
        let opened = match timeout(head_start, &mut opening).await {
            Ok(opened) => opened,
            Err(_) => {
                let mut rival = pin!(tunnel);
                return tokio::select! {
                    opened = &mut opening => match opened {
                        Ok(stream) => Ok(stream),
                        Err(_) => rival.await,
                    },
                    dialled = &mut rival => match dialled {
                        Ok(stream) => {
                            self.avoid(node, connection);
                            Ok(stream)
                        }
                        // The node says so itself, and it would by a stream.
                        Err(error) if error.kind() == ConnectionRefused => Err(error),
                        Err(error) => match timeout_at(deadline, opening).await {
                            Ok(Ok(stream)) => Ok(stream),
                            Ok(Err(Unopened::NothingListens | Unopened::Refused)) => Err(error),
                            Ok(Err(Unopened::Broken)) | Err(_) => {
                                self.avoid(node, connection);
                                Err(error)
                            }
                        },
                    },
                };
            }
        };
        match opened {
            Ok(stream) => Ok(stream),
            Err(Unopened::NothingListens) => Err(ConnectionRefused.into()),
            Err(Unopened::Refused) => tunnel.await,
            Err(Unopened::Broken) => {
                self.avoid(node, connection);
                tunnel.await
            }
        }
    }
}

async fn open(line: &Arc<Line>, hub: NodeId, address: SocketAddr) -> Result<BoxStream, Unopened> {
    let family = match address {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    };
    let open = StreamOpen {
        hub,
        family,
        port: address.port(),
    };
    let halves = line.connection().open_bi().await;
    let halves = halves.map_err(|_| Unopened::Broken)?;
    let mut stream = QuicStream::new(halves, line.clone());
    let sent = stream.write_all(&open.encode()).await;
    sent.map_err(|_| Unopened::Broken)?;
    let mut answer = [0];
    let read = stream.read_exact(&mut answer).await;
    read.map_err(|_| Unopened::Broken)?;
    match StreamAnswer::decode(answer[0]) {
        Some(StreamAnswer::Open) => Ok(Box::new(stream)),
        Some(StreamAnswer::NothingListens) => Err(Unopened::NothingListens),
        Some(StreamAnswer::NotAllowed | StreamAnswer::Busy) => Err(Unopened::Refused),
        None => Err(Unopened::Broken),
    }
}

/// Before the tunnel is tried as well.
const HEAD_START: Duration = Duration::from_millis(250);
const HEAD_START_ROUND_TRIPS: u32 = 3;
