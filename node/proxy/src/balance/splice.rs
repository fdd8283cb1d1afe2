//! One direction between two kernel sockets. Short exchanges are copied; after that the bytes go through a pipe and never
//! enter this process.

use std::io;
use std::net::Shutdown;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Moves all that comes from one socket to the other, then ends that half of it. `moved` hears of every part.
pub(super) async fn pump_kernel(
    from: &TcpStream,
    to: &TcpStream,
    moved: impl Fn(usize),
) -> io::Result<()> {
    let mut copied = 0;
    while copied < SPLICE_AFTER_BYTES {
        match copy_once(from, to).await? {
            0 => return end(to),
            bytes => {
                copied += bytes;
                moved(bytes);
            }
        }
    }
    let Ok((outlet, inlet)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
        // Out of descriptors: slower is better than not at all.
        return copy_all(from, to, moved).await;
    };
    // Users without privilege have a quota of pipe pages; the default size works too.
    let _ = fcntl_setpipe_size(&inlet, PIPE_BYTES);
    loop {
        let taken = || Ok(splice(from, None, &inlet, None, PIPE_BYTES, FLAGS)?);
        let mut held = from.async_io(Interest::READABLE, taken).await?;
        if held == 0 {
            return end(to);
        }
        moved(held);
        while held > 0 {
            let given = || Ok(splice(&outlet, None, to, None, held, FLAGS)?);
            held -= to.async_io(Interest::WRITABLE, given).await?;
        }
    }
}

async fn copy_all(from: &TcpStream, to: &TcpStream, moved: impl Fn(usize)) -> io::Result<()> {
    loop {
        match copy_once(from, to).await? {
            0 => return end(to),
            bytes => moved(bytes),
        }
    }
}

/// One read, written whole; 0 at the end. The buffer lives no longer, so that an idle connection holds none.
async fn copy_once(from: &TcpStream, to: &TcpStream) -> io::Result<usize> {
    let mut buffer = Vec::new();
    loop {
        from.readable().await?;
        buffer.reserve_exact(BUFFER_BYTES);
        match from.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(0),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => buffer = Vec::new(),
            Err(error) => return Err(error),
        }
    }
    let mut rest = buffer.as_slice();
    while !rest.is_empty() {
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.len())
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
