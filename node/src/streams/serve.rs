//! Serves one stream connection: asks the tunnel to let each stream in, answers the hub, and tells it what the path loses. It
//! never opens a local target itself.

use std::io;
use std::time::Duration;

use malha_proto::{PathLoss, StreamAnswer, StreamOpen};
use malha_tunnel::Admission;
use quinn::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::task::TaskTracker;

use super::dial::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use super::readers::{RELIEF_INTERVAL, Readers, most_slow};
use super::stream::QuicStream;
use super::{Overlay, StreamsView};

/// Serves until the connection ends. Each stream that it took counts among `streams` until it has ended.
pub(super) async fn serve(
    connection: &Connection,
    streams: &TaskTracker,
    overlay: watch::Receiver<Option<Overlay>>,
    view: &watch::Sender<StreamsView>,
) {
    let mut opening = JoinSet::new();
    let mut reports = interval(REPORT_INTERVAL);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = PathLoss::default();
    let readers = Readers::default();
    let mut relief = interval(RELIEF_INTERVAL);
    relief.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    let stream = QuicStream::new(send, readers.add(receive), streams.token());
                    let overlay = overlay.borrow().clone();
                    opening.spawn(let_in(stream, overlay, view.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "the stream connection ended");
                    return;
                }
            },
            now = relief.tick() => readers.keep(MOST_SLOW, now),
            _ = reports.tick() => {
                let loss = measured(connection);
                if loss.sent >= reported.sent + REPORT_MIN_PACKETS {
                    reported = loss;
                    opening.spawn(report(connection.clone(), loss));
                }
            }
            Some(_) = opening.join_next() => {}
        }
    }
}

/// At most as many at a time as the connection has streams.
async fn let_in(
    mut stream: QuicStream,
    overlay: Option<Overlay>,
    view: watch::Sender<StreamsView>,
) {
    let mut bytes = [0; StreamOpen::BYTES];
    let read = timeout(OPEN_LIMIT, stream.read_exact(&mut bytes)).await;
    let Some(open) = read
        .ok()
        .and_then(Result::ok)
        .and_then(|_| StreamOpen::decode(&bytes))
    else {
        return;
    };
    let (answer, admission) = match admit(&open, overlay).await {
        Ok(admission) => (StreamAnswer::Open, Some(admission)),
        Err(error) => (refusal(&error), None),
    };
    if stream.write_all(&[answer.encode()]).await.is_err() {
        return;
    }
    let Some(admission) = admission else {
        let _ = stream.shutdown().await;
        return;
    };
    view.send_modify(|view| {
        view.opened += 1;
        view.last = Some(Instant::now());
    });
    admission.enter(Box::new(stream));
}

async fn admit(open: &StreamOpen, overlay: Option<Overlay>) -> io::Result<Admission> {
    let overlay = overlay.ok_or(io::ErrorKind::NotConnected)?;
    let hub = overlay.hubs.iter().find(|hub| hub.id == open.hub);
    let hub = hub.ok_or(io::ErrorKind::PermissionDenied)?;
    let (local, remote) = overlay.ends(hub, open.family, open.port);
    overlay.tunnel.admit(hub.key, local, remote).await
}

fn refusal(error: &io::Error) -> StreamAnswer {
    match error.kind() {
        io::ErrorKind::PermissionDenied => StreamAnswer::NotAllowed,
        io::ErrorKind::ConnectionRefused => StreamAnswer::NothingListens,
        _ => StreamAnswer::Busy,
    }
}

fn measured(connection: &Connection) -> PathLoss {
    let path = connection.stats().path;
    PathLoss {
        sent: path.sent_packets,
        lost: path.lost_packets,
    }
}

/// A report that can't be sent within its interval is worth nothing.
async fn report(connection: Connection, loss: PathLoss) {
    let sent = async {
        let mut send = connection.open_uni().await.ok()?;
        send.write_all(&loss.encode()).await.ok()?;
        send.finish().ok()
    };
    let _ = timeout(REPORT_INTERVAL, sent).await;
}

/// The hub sends the opening with the stream, so it comes with its first packet or a repetition of it.
pub(super) const MOST_SLOW: usize = most_slow(CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES);
const OPEN_LIMIT: Duration = Duration::from_secs(5);
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// Keepalives alone are not worth a report.
const REPORT_MIN_PACKETS: u64 = 50;
