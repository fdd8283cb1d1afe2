//! Looking for open ports from outside, as anybody may.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Result;

use super::namespace::Namespace;

/// The ports on which `address` takes a TCP connection from this namespace. All 65,535 are tried.
pub fn open_tcp_ports(from: &Namespace, address: IpAddr) -> Result<BTreeSet<u16>> {
    let open = |port: &u16| {
        TcpStream::connect_timeout(&SocketAddr::new(address, *port), CONNECT_TIMEOUT).is_ok()
    };
    from.within(|| (1..=u16::MAX).filter(open).collect())
}

/// The ports from which a datagram comes back after one went to each of them.
pub fn answering_udp_ports(from: &Namespace, address: IpAddr) -> Result<BTreeSet<u16>> {
    from.within(|| {
        // Unconnected, so that "port unreachable" is no error of the next send.
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        for port in 1..=u16::MAX {
            socket.send_to(b"?", SocketAddr::new(address, port))?;
        }
        let mut answered = BTreeSet::new();
        while let Ok((_, from)) = socket.recv_from(&mut [0; 2048]) {
            answered.insert(from.port());
        }
        Ok(answered)
    })?
}

/// A closed port says so at once; only one that swallows packets takes this long.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
