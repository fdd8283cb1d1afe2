//! A download that runs through the tunnel while a story breaks things: what came, and for how long nothing did.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use malha_tests::lab::Namespace;
use socket2::SockRef;

/// Somebody who sends at a steady pace to whoever connects to [`TARGET`] on their machine. It ends when it is dropped.
pub(crate) struct Sender {
    listener: TcpListener,
    over: Arc<AtomicBool>,
}

/// A running download. It ends when it is dropped.
pub(crate) struct Download {
    over: Arc<AtomicBool>,
    course: Arc<Mutex<Course>>,
    reader: Option<JoinHandle<Result<()>>>,
}

struct Course {
    last: Instant,
    longest_gap: Duration,
}

impl Sender {
    pub(crate) fn start(machine: &Namespace) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        // A thread is in the namespace of the one that starts it.
        let started = machine.within(|| -> std::io::Result<Self> {
            let listener = TcpListener::bind(TARGET)?;
            let (accepting, told) = (listener.try_clone()?, over.clone());
            std::thread::spawn(move || {
                while let Ok((stream, _)) = accepting.accept() {
                    let told = told.clone();
                    std::thread::spawn(move || send(stream, &told));
                }
            });
            Ok(Self { listener, over })
        })?;
        Ok(started?)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Linux lets whoever accepts go; with another kernel the thread stays as long as the tests.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

impl Download {
    /// Begins to read, from one machine, what a [`Sender`] behind this address sends.
    pub(crate) fn start(reader: &Namespace, from: SocketAddr) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let stream = reader.within(|| TcpStream::connect_timeout(&from, BROKEN_AFTER))??;
        stream.set_read_timeout(Some(BROKEN_AFTER))?;
        let course = Arc::new(Mutex::new(Course {
            last: Instant::now(),
            longest_gap: Duration::ZERO,
        }));
        let (told, noted) = (over.clone(), course.clone());
        Ok(Self {
            over,
            course,
            reader: Some(std::thread::spawn(move || read(stream, &told, &noted))),
        })
    }

    /// How long nothing came until now, or until something came again, whichever was longest since the last call.
    pub(crate) fn longest_gap(&self) -> Duration {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = course.longest_gap.max(course.last.elapsed());
        course.longest_gap = Duration::ZERO;
        longest
    }

    /// An error unless something came within this time.
    pub(crate) fn runs(&self, within: Duration) -> Result<()> {
        let course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let since = course.last.elapsed();
        ensure!(
            since < within,
            "nothing came for {:.1} s",
            since.as_secs_f64()
        );
        Ok(())
    }

    /// Ends it, and says whether it ever broke.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let reader = self.reader.take().context("it was ended before")?;
        reader.join().map_err(|_| anyhow!("the reader panicked"))?
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn send(mut stream: TcpStream, over: &AtomicBool) {
    for number in 0u64.. {
        if over.load(Ordering::Relaxed) || stream.write_all(&block(number)).is_err() {
            break;
        }
        std::thread::sleep(PACE);
    }
}

fn read(mut stream: TcpStream, over: &AtomicBool, course: &Mutex<Course>) -> Result<()> {
    let mut came = [0; BLOCK_BYTES];
    for number in 0u64.. {
        let read = stream.read_exact(&mut came);
        if over.load(Ordering::Relaxed) {
            // The sender may have been the first to know.
            break;
        }
        read.with_context(|| format!("block {number} of the download"))?;
        ensure!(came == block(number), "block {number} is not what was sent");
        let mut course = course.lock().unwrap_or_else(PoisonError::into_inner);
        course.longest_gap = course.longest_gap.max(course.last.elapsed());
        course.last = Instant::now();
    }
    Ok(())
}

fn block(number: u64) -> [u8; BLOCK_BYTES] {
    let mut block = [number as u8; BLOCK_BYTES];
    block[..8].copy_from_slice(&number.to_be_bytes());
    block
}

/// Where the sender listens, on its own machine.
pub(crate) const TARGET: &str = "127.0.0.1:9100";
const BLOCK_BYTES: usize = 4096;
/// 200 KiB a second: enough to show each pause, and no load.
const PACE: Duration = Duration::from_millis(20);
/// Longer than any path may take to be replaced.
const BROKEN_AFTER: Duration = Duration::from_secs(60);
