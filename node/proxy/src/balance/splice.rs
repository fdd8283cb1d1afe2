//! One direction between two kernel sockets. Short exchanges are copied; after that the bytes go through a pipe and never
//! enter this process.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::carry::Step;

/// Between the two directions of a connection: who has just been sent something may have answered already.
#[derive(Default)]
pub(super) struct Heard(AtomicBool);

/// Moves all that comes from one socket to the other, then ends that half of it. `told` hears of every step. `heard` says that
/// the one just got something, `tells` tells that of the other.
pub(super) async fn pump_kernel(
    from: &TcpStream,
    to: &TcpStream,
    (heard, tells): (&Heard, &Heard),
    told: impl Fn(Step),
) -> io::Result<()> {
    let mut copied = 0;
    while copied < SPLICE_AFTER_BYTES {
        match copy_once(from, to, heard, &told).await? {
            0 => return end(to),
            bytes => copied += bytes,
        }
        tells.0.store(true, Ordering::Relaxed);
    }
    let Ok((outlet, inlet)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
        // Out of descriptors: slower is better than not at all.
        while copy_once(from, to, heard, &told).await? > 0 {}
        return end(to);
    };
    // Users without privilege have a quota of pipe pages; the default size works too.
    let _ = fcntl_setpipe_size(&inlet, PIPE_BYTES);
    loop {
        let taken = || Ok(splice(from, None, &inlet, None, PIPE_BYTES, FLAGS)?);
        let taken = from.async_io(Interest::READABLE, taken).await;
        let mut held = read(taken, &told)?;
        if held == 0 {
            return end(to);
        }
        told(Step::Moved(held));
        while held > 0 {
            let given = || Ok(splice(&outlet, None, to, None, held, FLAGS)?);
            let given = to.async_io(Interest::WRITABLE, given).await;
            held -= given.inspect_err(|_| told(Step::SinkLeft))?;
        }
    }
}

/// Says of a source that has ended that it has.
fn read(taken: io::Result<usize>, told: &impl Fn(Step)) -> io::Result<usize> {
    if !matches!(taken, Ok(1..)) {
        told(gone(&taken));
    }
    taken
}

/// How a source has gone.
fn gone<T>(taken: &io::Result<T>) -> Step {
    match taken {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Step::SourceReset,
        _ => Step::SourceLeft,
    }
}

/// One read, written whole; 0 at the end.
async fn copy_once(
    from: &TcpStream,
    to: &TcpStream,
    heard: &Heard,
    told: &impl Fn(Step),
) -> io::Result<usize> {
    let (taken, rest) = poll_fn(|cx| poll_copy(cx, from, to, heard, told)).await?;
    if !rest.is_empty() {
        let written = write_whole(to, &rest).await;
        written.inspect_err(|_| told(Step::SinkLeft))?;
    }
    if taken > 0 {
        told(Step::Moved(taken));
    }
    Ok(taken)
}

/// One read: how much it was, and what of it the other side did not take at once. The buffer is on the stack, so that an idle
/// connection holds none.
fn poll_copy(
    cx: &mut Context<'_>,
    from: &TcpStream,
    to: &TcpStream,
    heard: &Heard,
    told: &impl Fn(Step),
) -> Poll<io::Result<(usize, Vec<u8>)>> {
    let mut room = [MaybeUninit::uninit(); BUFFER_BYTES];
    let data = match ready!(poll_take(cx, from, heard, &mut room)) {
        Ok(data) if !data.is_empty() => data,
        ended => {
            told(gone(&ended));
            return Poll::Ready(ended.map(|_| (0, Vec::new())));
        }
    };
    let written = match to.try_write(data) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        written => written.inspect_err(|_| told(Step::SinkLeft))?,
    };
    Poll::Ready(Ok((data.len(), data[written..].to_vec())))
}

/// What is there; nothing at the end.
fn poll_take<'a>(
    cx: &mut Context<'_>,
    from: &TcpStream,
    heard: &Heard,
    room: &'a mut [MaybeUninit<u8>],
) -> Poll<io::Result<&'a [u8]>> {
    let is_ready = from.poll_read_ready(cx)?.is_ready();
    // To look costs less than to fall asleep and be woken.
    if !is_ready && !heard.0.swap(false, Ordering::Relaxed) {
        return Poll::Pending;
    }
    let (whole, mut taken) = (room.len(), None);
    let look = || {
        let ((data, _), _) = recv(from, room, RecvFlags::empty())?;
        let (data, has_more) = (&*data, data.len() == whole);
        taken = Some(data);
        match has_more {
            true => Ok(()),
            // The socket is empty now; the runtime need not try it again before it hears of more.
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    };
    let looked = match is_ready {
        true => from.try_io(Interest::READABLE, look),
        false => look(),
    };
    match (taken, looked) {
        (Some(data), _) => Poll::Ready(Ok(data)),
        (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            // What was known of the socket was old.
            if is_ready && from.poll_read_ready(cx)?.is_ready() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }
        (None, looked) => Poll::Ready(looked.map(|()| -> &[u8] { &[] })),
    }
}

async fn write_whole(to: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Carries an end of data on.
fn end(to: &TcpStream) -> io::Result<()> {
    match SockRef::from(to).shutdown(Shutdown::Write) {
        // The other side has gone already: there is nobody left to tell.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        ended => ended,
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
/// A pipe costs six system calls; below this much they cost more than copying.
const SPLICE_AFTER_BYTES: usize = 128 * 1024;
const PIPE_BYTES: usize = 256 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;
