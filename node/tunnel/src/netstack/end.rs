//! How connections end before their time, and what their owner is told then. It ends none.

use std::io;

/// Why a connection ended out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A reset came as the answer to our SYN.
    Refused,
    Reset,
    TimedOut,
    /// Its peer was removed, or the tunnel shut down.
    Cut,
    /// Our own side reset it.
    Aborted,
}

impl End {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Refused => io::ErrorKind::ConnectionRefused.into(),
            Self::Reset | Self::Cut => io::ErrorKind::ConnectionReset.into(),
            Self::TimedOut => io::ErrorKind::TimedOut.into(),
            Self::Aborted => io::ErrorKind::ConnectionAborted.into(),
        }
    }
}
