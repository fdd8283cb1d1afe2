//! One direction between two kernel sockets that never block. Short exchanges are copied through a buffer that all
//! connections of a worker share; after that the bytes go through a pipe and never enter this process. It waits for nothing.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use rustix::pipe::{SpliceFlags, splice};

use super::super::carry::Step;
use super::pipes::{PIPE_BYTES, Pipe, Pipes};

/// One socket, and what is known of it.
pub(super) struct End {
    pub(super) tcp: OwnedFd,
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
    /// It will be readable until its end was read.
    pub(super) is_closing: bool,
    /// It is no connection any more, or never became one.
    pub(super) has_failed: bool,
    /// Nagle's algorithm is at work on it.
    delays: bool,
}

/// What the connections of a worker share while one of them moves bytes.
pub(super) struct Stock {
    room: Box<[u8]>,
    pub(super) pipes: Pipes,
}

/// One direction.
#[derive(Default)]
pub(super) struct Flow {
    /// Taken from the source and not yet by the sink.
    unsent: Vec<u8>,
    pipe: Option<Pipe>,
    in_pipe_bytes: usize,
    copied_bytes: usize,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    SourceEnded,
    Ended,
}

/// How a flow goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// When one of its sockets can do more.
    Waits,
    /// At once; others shall have their turn first.
    HasMore,
}

impl Flow {
    /// A flow that begins with words of our own.
    pub(super) fn beginning_with(words: Vec<u8>) -> Self {
        Self {
            copied_bytes: words.len(),
            unsent: words,
            ..Self::default()
        }
    }

    /// Moves what can be moved. `told` hears of every step. An error is that of a side that is gone.
    pub(super) fn advance(
        &mut self,
        (from, to): (&mut End, &mut End),
        stock: &mut Stock,
        told: impl Fn(Step),
    ) -> io::Result<Pace> {
        for _ in 0..STEPS_PER_TURN {
            if self.has_ended() {
                return Ok(Pace::Waits);
            }
            let flushed = self.flush(to).inspect_err(|_| told(Step::SinkLeft))?;
            if !flushed {
                return Ok(Pace::Waits);
            }
            if self.state == State::SourceEnded {
                self.state = State::Ended;
                self.rest(stock);
                end(to)?;
                return Ok(Pace::Waits);
            }
            if !from.is_readable {
                self.rest(stock);
                return Ok(Pace::Waits);
            }
            let taken = match self.is_long() && self.has_pipe(&mut stock.pipes) {
                true => self.splice(from, &told),
                false => self.copy(from, to, &mut stock.room, &told),
            };
            match taken {
                Err(Errno::AGAIN) => from.is_readable = false,
                Ok(()) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Pace::HasMore)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// So much has moved that the rest goes through a pipe.
    pub(super) fn is_long(&self) -> bool {
        self.copied_bytes >= SPLICE_AFTER_BYTES
    }

    /// Nothing is under way.
    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && self.in_pipe_bytes == 0
    }

    /// An idle connection holds no pipe.
    fn rest(&mut self, stock: &mut Stock) {
        if let Some(empty) = self.pipe.take() {
            stock.pipes.give_back(empty);
        }
    }

    fn has_pipe(&mut self, pipes: &mut Pipes) -> bool {
        if self.pipe.is_none() {
            self.pipe = pipes.lend();
        }
        // Out of descriptors: slower is better than not at all.
        self.pipe.is_some()
    }

    /// Whether nothing is under way any more.
    fn flush(&mut self, to: &mut End) -> io::Result<bool> {
        while !self.is_flushed() {
            if !to.is_writable {
                return Ok(false);
            }
            let given = match &self.pipe {
                Some(pipe) if self.in_pipe_bytes > 0 => {
                    splice(&pipe.outlet, None, &to.tcp, None, self.in_pipe_bytes, FLAGS)
                        .inspect(|given| self.in_pipe_bytes -= given)
                }
                _ => send(&to.tcp, &self.unsent, SendFlags::NOSIGNAL)
                    .inspect(|given| drop(self.unsent.drain(..*given))),
            };
            match given {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => to.is_writable = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn copy(
        &mut self,
        from: &mut End,
        to: &mut End,
        room: &mut [u8],
        told: &impl Fn(Step),
    ) -> rustix::io::Result<()> {
        let taken = recv(&from.tcp, &mut *room, RecvFlags::empty()).map(|(taken, _)| taken);
        self.note_end(taken, told);
        let data = &room[..taken?];
        // More would have filled the room; more to come is an event of its own.
        if data.len() < room.len() {
            from.is_readable = from.is_closing;
        }
        if data.is_empty() {
            return Ok(());
        }
        told(Step::Moved(data.len()));
        to.hurry(self.copied_bytes > 0 || data.len() > LEAST_SEGMENT_BYTES);
        self.copied_bytes += data.len();
        match send(&to.tcp, data, SendFlags::NOSIGNAL) {
            Ok(given) => self.unsent.extend(&data[given..]),
            Err(Errno::AGAIN | Errno::INTR) => self.unsent.extend(data),
            Err(error) => {
                told(Step::SinkLeft);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Into the empty pipe, so that `AGAIN` speaks of the source.
    fn splice(&mut self, from: &End, told: &impl Fn(Step)) -> rustix::io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        let taken = splice(&from.tcp, None, &pipe.inlet, None, PIPE_BYTES, FLAGS);
        self.note_end(taken, told);
        self.in_pipe_bytes = taken?;
        if self.in_pipe_bytes > 0 {
            told(Step::Spliced(self.in_pipe_bytes));
        }
        Ok(())
    }

    fn note_end(&mut self, taken: rustix::io::Result<usize>, told: &impl Fn(Step)) {
        match taken {
            Ok(0) => {
                self.state = State::SourceEnded;
                told(Step::SourceLeft);
            }
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::CONNRESET) => told(Step::SourceReset),
            Err(_) => told(Step::SourceLeft),
        }
    }
}

impl End {
    /// One of which nothing is known but that it is connected, with `TCP_NODELAY`.
    pub(super) fn new(tcp: OwnedFd) -> Self {
        Self {
            tcp,
            is_readable: true,
            is_writable: true,
            is_closing: false,
            has_failed: false,
            delays: false,
        }
    }

    pub(super) fn connecting(tcp: OwnedFd) -> Self {
        Self {
            is_readable: false,
            is_writable: false,
            delays: true,
            ..Self::new(tcp)
        }
    }

    /// Before it is given more than a first small segment: Nagle's algorithm holds back what follows something
    /// unacknowledged.
    fn hurry(&mut self, follows: bool) {
        if self.delays && follows {
            self.delays = false;
            // A lost hint costs only speed.
            let _ = sockopt::set_tcp_nodelay(&self.tcp, true);
        }
    }
}

impl Default for Stock {
    fn default() -> Self {
        Self {
            room: vec![0; ROOM_BYTES].into(),
            pipes: Pipes::default(),
        }
    }
}

/// Carries an end of data on.
fn end(to: &End) -> io::Result<()> {
    match shutdown(&to.tcp, Shutdown::Write) {
        // The other side has gone already: there is nobody left to tell.
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
const ROOM_BYTES: usize = 64 * 1024;
/// A pipe is two more system calls for each burst; below this much they cost more than copying.
const SPLICE_AFTER_BYTES: usize = 128 * 1024;
/// Full rooms or pipes, until other connections have their turn.
const STEPS_PER_TURN: usize = 8;
/// RFC 9293 §3.7.1: what every IPv4 stack takes in one segment, if it says nothing else.
const LEAST_SEGMENT_BYTES: usize = 536;

#[cfg(test)]
mod tests;
