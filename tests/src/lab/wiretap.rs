//! An eavesdropper on the underlay: takes down every frame that passes, and sends nothing.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::Namespace;

/// Listens until it is told to end.
pub struct Wiretap {
    over: Arc<AtomicBool>,
    listener: JoinHandle<Result<Vec<u8>>>,
}

impl Wiretap {
    /// Every interface of the namespace, both directions.
    pub(super) fn start(namespace: &Namespace) -> Result<Self> {
        let socket = namespace
            .within(|| Socket::new(Domain::PACKET, Type::RAW, Some(every_protocol())))??;
        socket.set_read_timeout(Some(LOOK_UP))?;
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let listener = std::thread::spawn(move || listen(socket, &told));
        Ok(Self { over, listener })
    }

    /// Everything that passed, one frame after the other.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.over.store(true, Ordering::Relaxed);
        self.listener
            .join()
            .map_err(|_| anyhow!("the eavesdropper panicked"))?
    }
}

fn listen(mut socket: Socket, over: &AtomicBool) -> Result<Vec<u8>> {
    let mut heard = Vec::new();
    let mut frame = vec![0; MAX_FRAME_BYTES];
    loop {
        match socket.read(&mut frame) {
            Ok(length) => heard.extend_from_slice(&frame[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if over.load(Ordering::Relaxed) {
                    return Ok(heard);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// In network byte order, as packet(7) wants it.
fn every_protocol() -> Protocol {
    Protocol::from(i32::from(ETH_P_ALL.to_be()))
}

/// linux/if_ether.h
const ETH_P_ALL: u16 = 3;
/// Segmentation is left to the interface: a frame can be as long as an IP packet.
const MAX_FRAME_BYTES: usize = 70_000;
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
const LOOK_UP: Duration = Duration::from_millis(200);
