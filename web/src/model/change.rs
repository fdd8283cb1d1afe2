//! Answers to writes and reads: what happened, why not, and what changed for whoever is watching.

use thiserror::Error;

use crate::language::Bilingual;
use crate::untrusted::Untrusted;

/// How far a revision has got: `applied` of `of` nodes run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Convergence {
    pub applied: u32,
    pub of: u32,
    /// Names of nodes that have not applied it yet; the console may name only the first few.
    pub lagging: Vec<Untrusted>,
}

/// A write that was committed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The revision that holds the change.
    pub revision: u64,
    /// Who has applied it by the time of the answer.
    pub convergence: Convergence,
}

/// A write that was not committed, and why, in words for the operator.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The form field at fault, by its name in the form; `None` when it is no single field.
    pub field: Option<String>,
    /// What was wrong and what would be right.
    pub text: Bilingual,
    pub kind: RefusalKind,
}

/// Whose fault a refusal is; decides the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// 422: the input is wrong.
    Invalid,
    /// 403: the operator's role does not allow it.
    Forbidden,
    /// 404: what it names does not exist (any more).
    NotFound,
    /// 409: it collides with something that exists.
    Conflict,
    /// 503: the controller can't commit now.
    Unavailable,
}

/// A read that gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// What the address names does not exist, or is not this operator's to see.
    #[error("reading a view: it does not exist")]
    NotFound,
    /// The controller can't answer now.
    #[error("reading a view: the controller is unavailable")]
    Unavailable,
}

/// A part of the state that pages show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Topic {
    /// Nodes, their hops, quarantines.
    Nodes = 1,
    Tokens = 2,
    /// Organizations and sites.
    Sites = 4,
    Services = 8,
    Routes = 16,
    /// Zones and record sets.
    Dns = 32,
    Activity = 64,
    /// The revision, or who has applied it.
    Convergence = 128,
    /// Balancers and what they carry, which changes all the time.
    Balancers = 256,
    /// Declarations of organizations, and what checks found.
    Checks = 512,
}

/// A set of [`Topic`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics(u16);

impl Topics {
    pub const ALL: Topics = Topics(u16::MAX);

    /// All of these but one.
    #[must_use]
    pub fn without(self, topic: Topic) -> Topics {
        Topics(self.0 & !(topic as u16))
    }

    /// Whether the two sets share a topic.
    pub fn meets(self, other: impl Into<Topics>) -> bool {
        self.0 & other.into().0 != 0
    }
}

impl From<Topic> for Topics {
    fn from(topic: Topic) -> Self {
        Topics(topic as u16)
    }
}

impl<T: Into<Topics>> std::ops::BitOr<T> for Topics {
    type Output = Topics;
    fn bitor(self, other: T) -> Topics {
        Topics(self.0 | other.into().0)
    }
}

impl<T: Into<Topics>> std::ops::BitOr<T> for Topic {
    type Output = Topics;
    fn bitor(self, other: T) -> Topics {
        Topics::from(self) | other
    }
}

/// What the console tells open pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeNotice {
    /// Pages that show one of these topics are out of date.
    Changed(Topics),
    /// The process is ending: close every live stream.
    Closing,
}
