//! How the agent's process ends: one number per reason, for scripts and for systemd.

use malha_proto::RefusalCode;

use crate::agent::Ending;

/// The exit codes of `malha-node`. They are part of its interface and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done; `status`: everything works.
    Success = 0,
    /// A fault of the program; `doctor`: it found a problem.
    Internal = 1,
    /// The command line is wrong.
    Usage = 2,
    /// `status`: it runs, something does not work.
    Degraded = 3,
    /// `status`: no agent runs here.
    NotRunning = 4,
    /// The configuration file or a setting is wrong.
    Config = 10,
    /// The state folder is missing a file, damaged, not private, or can't be written.
    State = 11,
    /// Another agent runs with this state folder.
    Locked = 12,
    /// The machine is no node and no token was given.
    NotEnrolled = 13,
    /// The machine is a node already and the token is another one.
    AlreadyEnrolled = 14,
    /// The token can't be read: cut, mistyped, not a token, or of a newer version.
    TokenText = 15,
    /// The controller does not know the token.
    TokenUnknown = 20,
    TokenExpired = 21,
    TokenUsed = 22,
    TokenRevoked = 23,
    /// The token is of another controller, or what answers is not the token's controller.
    WrongController = 24,
    NameTaken = 25,
    KeyTaken = 26,
    /// The controller did not understand the request.
    Malformed = 27,
    /// The node was removed from the overlay.
    Removed = 28,
    /// Another machine shows the same identity.
    Cloned = 29,
    /// Another machine took this node's place.
    Replaced = 30,
    Busy = 31,
    PoolExhausted = 32,
    Unavailable = 33,
    /// No controller answers.
    Unreachable = 40,
    /// This machine's clock and the controller's certificate do not fit.
    Clock = 41,
    /// The controller's answer to an enrolment is not usable.
    BadAnswer = 42,
}

impl Exit {
    /// `doctor`: it found a problem.
    pub const PROBLEM: Self = Self::Internal;

    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<RefusalCode> for Exit {
    fn from(code: RefusalCode) -> Self {
        match code {
            RefusalCode::TokenUnknown => Self::TokenUnknown,
            RefusalCode::TokenExpired => Self::TokenExpired,
            RefusalCode::TokenUsed => Self::TokenUsed,
            RefusalCode::TokenRevoked => Self::TokenRevoked,
            RefusalCode::WrongController => Self::WrongController,
            RefusalCode::NameTaken => Self::NameTaken,
            RefusalCode::KeyTaken => Self::KeyTaken,
            RefusalCode::Malformed => Self::Malformed,
            RefusalCode::NodeRemoved => Self::Removed,
            RefusalCode::Cloned => Self::Cloned,
            RefusalCode::Replaced => Self::Replaced,
            RefusalCode::Busy => Self::Busy,
            RefusalCode::PoolExhausted => Self::PoolExhausted,
            RefusalCode::Unavailable => Self::Unavailable,
        }
    }
}

impl From<Ending> for Exit {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Stopped => Self::Success,
            Ending::Removed => Self::Removed,
            Ending::Replaced => Self::Replaced,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
