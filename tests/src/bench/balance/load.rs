//! The two servers and their clients: streams without end, and connections for one byte.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

/// A server that sends without end to who asks with `d`, and one byte to anybody else. Its threads are there beforehand, so that
/// what is measured is not their making.
pub(super) fn server(ip: IpAddr, port: u16) -> io::Result<SocketAddr> {
    let listener = Arc::new(TcpListener::bind((ip, port))?);
    let address = listener.local_addr()?;
    for _ in 0..SERVER_THREADS {
        let listener = Arc::clone(&listener);
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                // Every connection ends with a reset.
                let _ = answer(tcp);
            }
        });
    }
    Ok(address)
}

fn answer(mut tcp: TcpStream) -> io::Result<()> {
    let mut asked = [0];
    tcp.read_exact(&mut asked)?;
    if asked != *b"d" {
        tcp.write_all(b"!")?;
        tcp.read_exact(&mut asked)?;
    }
    let block = vec![7; BLOCK_BYTES];
    loop {
        tcp.write_all(&block)?;
    }
}

/// The bytes that came.
pub(super) fn download(address: SocketAddr, until: Instant) -> io::Result<u64> {
    let mut tcp = TcpStream::connect(address)?;
    tcp.write_all(b"d")?;
    let (mut block, mut total) = (vec![0; BLOCK_BYTES], 0);
    while Instant::now() < until {
        total += tcp.read(&mut block)? as u64;
    }
    Ok(total)
}

/// The connections that got their byte; at least one. A reset at the end leaves no port waiting.
pub(super) fn open_and_close(address: SocketAddr, until: Instant) -> io::Result<u64> {
    let mut opened = 0;
    loop {
        let mut tcp = TcpStream::connect(address)?;
        tcp.write_all(b"c")?;
        tcp.read_exact(&mut [0])?;
        SockRef::from(&tcp).set_linger(Some(Duration::ZERO))?;
        opened += 1;
        if Instant::now() >= until {
            return Ok(opened);
        }
    }
}

/// Of each server: more than connections can be open at once, checks included.
const SERVER_THREADS: usize = 24;
const BLOCK_BYTES: usize = 256 * 1024;
