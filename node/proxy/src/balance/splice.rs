//! One direction between two kernel sockets. Short exchanges are copied; after that the bytes go through a pipe and never
//! enter this process.

use std::io;
use std::net::Shutdown;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::carry::Step;

/// Moves all that comes from one socket to the other, then ends that half of it. `told` hears of every step.
pub(super) async fn pump_kernel(
    from: &TcpStream,
    to: &TcpStream,
    told: impl Fn(Step),
) -> io::Result<()> {
    let mut copied = 0;
    while copied < SPLICE_AFTER_BYTES {
        match copy_once(from, to, &told).await? {
            0 => return end(to),
            bytes => copied += bytes,
        }
    }
    let Ok((outlet, inlet)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
        // Out of descriptors: slower is better than not at all.
        return copy_all(from, to, told).await;
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

async fn copy_all(from: &TcpStream, to: &TcpStream, told: impl Fn(Step)) -> io::Result<()> {
    while copy_once(from, to, &told).await? > 0 {}
    end(to)
}

/// Says of a source that has ended that it has.
fn read(taken: io::Result<usize>, told: &impl Fn(Step)) -> io::Result<usize> {
    if !matches!(taken, Ok(1..)) {
        told(Step::SourceLeft);
    }
    taken
}

/// One read, written whole; 0 at the end. The buffer lives no longer, so that an idle connection holds none.
async fn copy_once(from: &TcpStream, to: &TcpStream, told: &impl Fn(Step)) -> io::Result<usize> {
    let mut buffer = Vec::new();
    loop {
        from.readable().await?;
        buffer.reserve_exact(BUFFER_BYTES);
        match from.try_read_buf(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => buffer = Vec::new(),
            taken => {
                if read(taken, told)? == 0 {
                    return Ok(0);
                }
                break;
            }
        }
    }
    let written = write_whole(to, &buffer).await;
    written.inspect_err(|_| told(Step::SinkLeft))?;
    told(Step::Moved(buffer.len()));
    Ok(buffer.len())
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
