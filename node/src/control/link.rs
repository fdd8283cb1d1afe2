//! The life of one link: dial, carry messages both ways, end. It tells the agent what happens and decides nothing.

use std::sync::Arc;
use std::time::Duration;

use malha_proto::ToController;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Credentials, LinkError, LinkFault, WireReader, WireWriter, dial};
use crate::agent::{Event, LinkId, Transport};

/// Messages that wait for a link; a link that does not carry them is dead.
pub const MAX_LINK_QUEUE: usize = 256;

/// A link that takes no message for so long is dead.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

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
            let _ = events.send(Event::Connected { link }).await;
            let (reader, writer) = wire.split();
            carry(link, reader, writer, &mut outgoing, &events).await
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
    loop {
        tokio::select! {
            message = reader.receive() => {
                let message = Box::new(message?);
                let _ = events.send(Event::Frame { link, message }).await;
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
