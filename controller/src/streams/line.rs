//! One node's stream connection, and who still needs it. It never says who may have one.

use std::sync::{Arc, Weak};

use malha_node::streams::Readers;
use malha_proto::Fingerprint;
use quinn::{Connection, VarInt};

/// A connection that stands as long as somebody holds this: the table while new streams go by it, and each stream.
pub(super) struct Line {
    connection: Connection,
    pub(super) readers: Readers,
}

impl Line {
    pub(super) fn new(connection: Connection) -> Arc<Self> {
        Arc::new(Self {
            connection,
            readers: Readers::default(),
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether streams hold it beside the table, or dials that may become some.
    pub(super) fn has_streams(line: &Arc<Self>) -> bool {
        Arc::strong_count(line) > 1
    }

    /// Cuts its streams.
    pub(super) fn close(&self, why: &[u8]) {
        self.connection.close(REFUSED, why);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.close(b"superseded");
    }
}

/// A connection that only its streams still hold.
pub(super) struct Former {
    line: Weak<Line>,
    pub(super) certificate: Fingerprint,
}

impl Former {
    pub(super) fn new(line: &Arc<Line>, certificate: Fingerprint) -> Self {
        Self {
            line: Arc::downgrade(line),
            certificate,
        }
    }

    pub(super) fn stands(&self) -> bool {
        self.line.strong_count() > 0
    }

    pub(super) fn line(&self) -> Option<Arc<Line>> {
        self.line.upgrade()
    }

    pub(super) fn close(&self, why: &[u8]) {
        if let Some(line) = self.line() {
            line.close(why);
        }
    }
}

pub(super) const REFUSED: VarInt = VarInt::from_u32(1);
