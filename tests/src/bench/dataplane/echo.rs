//! Ping: echo requests with times, since a machine need not have the program. It never floods.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::super::figures::Samples;
use crate::lab::Namespace;

/// The times of answered echo requests from a machine, one after the other, for as long as said.
pub(super) fn pings(
    from: &Namespace,
    to: Ipv4Addr,
    length: Duration,
    pause: Duration,
) -> Result<Samples> {
    let times = from.within(|| {
        let pinger = Pinger::new(to)?;
        let start = Instant::now();
        let mut times = Vec::new();
        while start.elapsed() < length {
            std::thread::sleep(pause);
            times.push(pinger.ping(times.len() as u16)?);
        }
        anyhow::Ok(times)
    })??;
    let count = times.len();
    let answered: Vec<_> = times.into_iter().flatten().collect();
    if answered.len() < count.div_ceil(2) {
        bail!("{} of {count} pings were answered", answered.len());
    }
    Ok(answered.into_iter().collect())
}

/// Waits until the other side answers: then there is a session in both directions.
pub(super) fn wait_for(from: &Namespace, to: Ipv4Addr) -> Result<()> {
    from.within(|| {
        let pinger = Pinger::new(to)?;
        let start = Instant::now();
        for number in 0.. {
            // An interface that is not there yet is no route.
            if matches!(pinger.ping(number), Ok(Some(_))) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("{to} did not answer a ping within {} s", PATIENCE.as_secs());
            }
        }
        Ok(())
    })?
}

struct Pinger {
    /// A raw socket: it is only read and written, which is the same for all.
    socket: UdpSocket,
}

impl Pinger {
    fn new(to: Ipv4Addr) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))
            .context("a raw socket for pings")?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        socket.connect(&SocketAddr::from((to, 0)).into())?;
        Ok(Self {
            socket: socket.into(),
        })
    }

    /// The time of one answer; none if it is lost.
    fn ping(&self, number: u16) -> Result<Option<Duration>> {
        let request = request(number);
        let start = Instant::now();
        if self.socket.send(&request).is_err() {
            std::thread::sleep(ANSWER_LIMIT / 10);
            return Ok(None);
        }
        let mut answer = [0; 256];
        while start.elapsed() < ANSWER_LIMIT {
            match self.socket.recv(&mut answer) {
                Ok(bytes) if answers(&answer[..bytes], &request) => {
                    return Ok(Some(start.elapsed()));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Ok(None)
    }
}

/// An echo request (RFC 792) with 56 bytes, as ping(8) sends.
fn request(number: u16) -> Vec<u8> {
    let mut request = vec![0; ECHO_BYTES];
    request[0] = ECHO_REQUEST;
    request[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
    request[6..8].copy_from_slice(&number.to_be_bytes());
    let words = request
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    request[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    request
}

/// A raw socket gives the IP header too.
fn answers(packet: &[u8], request: &[u8]) -> bool {
    let header_bytes = packet
        .first()
        .map_or(0, |first| usize::from(first & 15) * 4);
    packet.get(header_bytes..).is_some_and(|message| {
        message.first() == Some(&ECHO_REPLY) && message.get(4..8) == request.get(4..8)
    })
}

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_BYTES: usize = 64;
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_request_counts() {
        let asked = request(7);
        let mut packet = vec![0x45; 20];
        packet.extend_from_slice(&asked);
        assert!(!answers(&packet, &asked), "a request is no answer");
        packet[20] = ECHO_REPLY;
        assert!(answers(&packet, &asked));
        assert!(!answers(&packet, &request(8)));
    }
}
