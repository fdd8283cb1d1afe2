//! What a TCP connection must be told before it can be a carrier. It opens none.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Makes a TCP connection fit to be a carrier: what waits for the network waits where it can be dropped, and a connection whose
/// other side is gone without a word ends.
///
/// # Errors
/// If the kernel refuses one of the settings.
pub fn prepare_carrier_socket(tcp: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR))?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)
}

/// The kernel's own queue: without a bound it grows to megabytes, on a slow line half a minute of them.
const UNSENT_BYTES: u32 = 128 * 1024;
/// The kernel itself would try for a quarter of an hour.
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(15);
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Bytes that the kernel takes of a connection whose other side reads nothing.
    fn taken(prepare: impl FnOnce(&TcpStream)) -> usize {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(door.local_addr().unwrap()).unwrap();
        let _far = door.accept().unwrap();
        prepare(&near);
        near.set_nonblocking(true).unwrap();
        let zeros = vec![0; 16 * 1024];
        let written = std::iter::from_fn(|| near.write(&zeros).ok());
        written.sum()
    }

    #[test]
    fn what_a_slow_line_does_not_take_waits_in_our_queue_and_not_in_the_kernels() {
        let usual = taken(|_| {});
        let prepared = taken(|tcp| prepare_carrier_socket(tcp).unwrap());
        assert!(prepared < 512 * 1024, "{prepared} bytes, usually {usual}");
        assert!(usual > prepared, "{prepared} bytes, usually {usual}");
    }
}
