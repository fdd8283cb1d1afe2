//! Those who read the streams of a connection. All streams share the connection's window, and what nobody reads stays in it: so only
//! so many readers may be slow, and beyond that those go that were so for the longest. It never judges how fast a sender is.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use malha_proto::STREAM_BROKEN;
use quinn::RecvStream;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

/// The readers of one connection.
///
/// A reader is slow when data waits for it and it has not taken 64 KiB within 2 s. Each slow
/// one may hold a stream's whole window.
#[derive(Default)]
pub struct Readers {
    /// Locked while a stream begins, and to look at all.
    halves: Mutex<Vec<Weak<Mutex<Half>>>>,
}

/// The half of a stream that is read. Once it was given up for being slow, or has broken while nobody read, reads fail with
/// `ConnectionReset`.
pub struct Reader {
    /// Its owner may wait for somebody else, so whoever gives it up does so beside it. Locked for one read at a time.
    half: Arc<Mutex<Half>>,
}

struct Half {
    receive: RecvStream,
    /// Taken to see whether anything waits; it comes before all that is still in the stream.
    ahead: Option<u8>,
    /// None while the reader waits for data: it holds nothing up.
    pace: Option<Pace>,
    /// Kept, since the stream tells of a reset once, to whoever reads, and of an end of data ever after.
    is_broken: bool,
}

/// How far a reader is with what is there.
struct Pace {
    since: Instant,
    taken_bytes: usize,
}

/// Slow readers that a connection with this window can bear: their streams, each with its own, fill three quarters of it.
#[must_use]
pub const fn most_slow(window_bytes: u32, stream_window_bytes: u32) -> usize {
    (window_bytes / stream_window_bytes * 3 / 4) as usize
}

impl Readers {
    /// A reader of this half, to be counted until it is dropped.
    pub fn add(&self, receive: RecvStream) -> Reader {
        let half = Arc::new(Mutex::new(Half {
            receive,
            ahead: None,
            pace: None,
            is_broken: false,
        }));
        lock(&self.halves).push(Arc::downgrade(&half));
        Reader { half }
    }

    /// How many are slow.
    pub fn slow(&self, now: Instant) -> usize {
        self.slow_since(now).len()
    }

    /// Gives up slow ones beyond `most`: what waits for them is thrown away, and the sender is told that the stream broke.
    pub fn keep(&self, most: usize, now: Instant) {
        let mut slow = self.slow_since(now);
        let beyond = slow.len().saturating_sub(most);
        slow.sort_by_key(|(since, _)| *since);
        for (_, half) in slow.into_iter().take(beyond) {
            lock(&half).give_up();
        }
    }

    fn slow_since(&self, now: Instant) -> Vec<(Instant, Arc<Mutex<Half>>)> {
        let mut halves = lock(&self.halves);
        halves.retain(|half| half.strong_count() > 0);
        let standing = halves.iter().filter_map(Weak::upgrade);
        let slow = standing.filter_map(|half| {
            let since = lock(&half).slow_since(now)?;
            Some((since, half))
        });
        slow.collect()
    }
}

impl Reader {
    /// Takes no more, and tells the sender that the stream broke.
    pub fn stop(&mut self) {
        lock(&self.half).stop();
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.half).poll_read(cx, buffer)
    }
}

impl Half {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if buffer.remaining() > 0 {
            buffer.put_slice(self.ahead.take().as_slice());
        }
        let read = self.poll_stream(cx, buffer);
        match buffer.filled().len() - before {
            0 => {
                self.pace = None;
                read
            }
            taken_bytes => {
                self.took(taken_bytes);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = AsyncRead::poll_read(Pin::new(&mut self.receive), cx, buffer);
        self.is_broken = matches!(read, Poll::Ready(Err(_)));
        read
    }

    /// Since when it is slow. One that has taken all there was is not, whatever comes later.
    fn slow_since(&mut self, now: Instant) -> Option<Instant> {
        let since = self.pace.as_ref()?.since;
        let is_late = now.saturating_duration_since(since) >= PATIENCE;
        (is_late && self.has_waiting()).then_some(since)
    }

    /// Nobody waits for data meanwhile who would have to be woken.
    fn has_waiting(&mut self) -> bool {
        if self.ahead.is_none() {
            let (mut byte, mut nobody) = ([0], Context::from_waker(Waker::noop()));
            let mut buffer = ReadBuf::new(&mut byte);
            // Its owner hears of an end or a failure, too.
            let _ = self.poll_stream(&mut nobody, &mut buffer);
            self.ahead = buffer.filled().first().copied();
        }
        self.ahead.is_some()
    }

    fn took(&mut self, taken_bytes: usize) {
        let now = Instant::now();
        let pace = self.pace.get_or_insert(Pace {
            since: now,
            taken_bytes: 0,
        });
        pace.taken_bytes += taken_bytes;
        if pace.taken_bytes >= STEP_BYTES {
            *pace = Pace {
                since: now,
                taken_bytes: 0,
            };
        }
    }

    /// One that waits for data by now is left alone: nobody would wake it.
    fn give_up(&mut self) {
        if self.pace.take().is_some() {
            self.ahead = None;
            self.is_broken = true;
            self.stop();
        }
    }

    fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.receive.stop(STREAM_BROKEN.into());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often slow readers are looked for.
pub const RELIEF_INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);
/// Who takes a byte now and then makes no room.
const STEP_BYTES: usize = 64 * 1024;
