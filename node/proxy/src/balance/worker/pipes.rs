//! Pipes between two sockets, which cost too much to be made for every burst. None that holds a byte is ever lent again.

use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// One pipe, empty when it is lent and when it comes back.
pub(super) struct Pipe {
    pub(super) outlet: OwnedFd,
    pub(super) inlet: OwnedFd,
}

/// The pipes of one worker that nobody uses.
#[derive(Default)]
pub(super) struct Pipes(Vec<Pipe>);

impl Pipes {
    /// None when descriptors have run out.
    pub(super) fn lend(&mut self) -> Option<Pipe> {
        self.0.pop().or_else(Pipe::new)
    }

    pub(super) fn give_back(&mut self, empty: Pipe) {
        if self.0.len() < MAX_IDLE {
            self.0.push(empty);
        }
    }
}

impl Pipe {
    fn new() -> Option<Self> {
        let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Users without privilege have a quota of pipe pages; the default size works too.
        let _ = fcntl_setpipe_size(&inlet, PIPE_BYTES);
        Some(Self { outlet, inlet })
    }
}

pub(super) const PIPE_BYTES: usize = 256 * 1024;
/// Kept for the next burst.
const MAX_IDLE: usize = 32;

#[cfg(test)]
impl Pipes {
    /// Whether a byte was left behind in a pipe that came back.
    pub(super) fn are_empty(&self) -> bool {
        let held = |it: &Pipe| rustix::io::ioctl_fionread(&it.outlet);
        self.0.iter().all(|it| held(it) == Ok(0))
    }
}
