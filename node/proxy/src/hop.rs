//! The four places where a public request can fail. Never decides which one it was.

use std::fmt;

/// A stretch of the way of a public request, in the order in which the request passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    Client,
    Edge,
    Tunnel,
    Origin,
}

impl Hop {
    pub const ALL: [Self; 4] = [Self::Client, Self::Edge, Self::Tunnel, Self::Origin];

    /// The word in headers, problem documents and counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Edge => "edge",
            Self::Tunnel => "tunnel",
            Self::Origin => "origin",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
