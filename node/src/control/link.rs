//! The life of one link: dial, carry messages both ways, end. It tells the agent what happens and decides nothing.

use std::sync::Arc;
use std::time::Duration;

use malha_proto::ToController;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::{Credentials, LinkError, LinkFault, Received, WireReader, WireWriter, dial};
use crate::agent::{Event, LinkId, Transport};

/// Messages that wait for a link; a link that does not carry them is dead.
pub const MAX_LINK_QUEUE: usize = 256;

/// A link that takes no message for so long is dead.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// Parts of a frame are told no more often than this; its silence is judged in seconds.
pub const PART_INTERVAL: Duration = Duration::from_secs(1);

/// Runs a link until it breaks, or until the sender of `outgoing` is dropped: then what is queued is sent first, and nothing
/// is told.
pub async fn run_link(
    link: LinkId,
    controller: Arc<str>,
    transport: Transport,
    credentials: Arc<Credentials>,
    mut outgoing: mpsc::Receiver<ToController>,
    events: mpsc::Sender<Event>,
) {
    let wire = tokio::select! {
        wire = dial(&controller, transport, &credentials) => wire,
        // Nothing is sent before the link stands, so this is its end.
        _ = outgoing.recv() => return,
    };
    let result = match wire {
        Ok(wire) => {
            // The receiver is gone only when the agent ends.
            let remote = wire.remote();
            let _ = events.send(Event::Connected { link, remote }).await;
            let (reader, writer) = wire.split();
            let carried = carry(link, reader, writer, &mut outgoing, &events).await;
            carried.map_err(|error| credentials.explained(error))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        let _ = events.send(Event::Lost { link, error }).await;
    }
}

async fn carry(
    link: LinkId,
    mut reader: WireReader,
    mut writer: WireWriter,
    outgoing: &mut mpsc::Receiver<ToController>,
    events: &mpsc::Sender<Event>,
) -> Result<(), LinkError> {
    let mut told_at = Instant::now();
    loop {
        tokio::select! {
            received = reader.receive() => {
                let event = match received? {
                    Received::Message(message) => Event::Frame { link, message },
                    Received::Part if told_at.elapsed() < PART_INTERVAL => continue,
                    Received::Part => Event::Heard { link },
                };
                told_at = Instant::now();
                let _ = events.send(event).await;
            }
            message = outgoing.recv() => {
                let Some(message) = message else {
                    writer.close().await;
                    return Ok(());
                };
                timeout(WRITE_LIMIT, writer.send(&message)).await.map_err(|_| {
                    LinkError::new(LinkFault::Silent, "the connection takes nothing any more")
                })??;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use malha_proto::{MAX_FRAME_TO_NODE_BYTES, ToNode, encode_frame};
    use tokio::io::{AsyncWriteExt, duplex, split};
    use tokio::time::advance;

    use super::*;
    use crate::control::Wire;
    use crate::testbed::netmap;

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_takes_long_is_told_of_while_it_comes() {
        let (near, mut far) = duplex(1024);
        let (read, write) = split(near);
        let (reader, writer) = Wire::tcp(read, write, None).split();
        let (events, mut told) = mpsc::channel(16);
        let (_outgoing, mut queue) = mpsc::channel(1);
        let link = LinkId(1);
        tokio::spawn(async move { carry(link, reader, writer, &mut queue, &events).await });
        let snapshot = ToNode::Snapshot(Box::new(netmap(10)));
        let frame = encode_frame(&snapshot, MAX_FRAME_TO_NODE_BYTES).unwrap();
        let (parts, rest) = frame.split_at(PARTS);
        for part in parts.chunks(1) {
            far.write_all(part).await.unwrap();
            advance(PART_INTERVAL / 2).await;
        }
        far.write_all(rest).await.unwrap();
        let mut parts_told = 0;
        loop {
            match told.recv().await.unwrap() {
                Event::Heard { .. } => parts_told += 1,
                Event::Frame { message, .. } => break assert_eq!(*message, snapshot),
                other => panic!("{other:?}"),
            }
        }
        assert!(
            (PARTS / 2 - 1..=PARTS / 2).contains(&parts_told),
            "{parts_told}"
        );
    }

    const PARTS: usize = 12;
}
