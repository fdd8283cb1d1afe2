//! Free ports for connections that this node opens, and for listeners that don't mind which. It remembers nothing.

use std::io;

/// A random port that nobody has.
///
/// # Errors
/// `AddrInUse` if none of [`PORT_TRIES`] is free.
pub(crate) fn free_port(is_free: impl Fn(u16) -> bool) -> io::Result<u16> {
    let start = getrandom::u32().map_err(io::Error::other)?;
    let count = u32::from(LAST_PORT - FIRST_PORT) + 1;
    let mut candidates = (0..PORT_TRIES).map(|step| {
        let offset = start.wrapping_add(step * PORT_STRIDE) % count;
        FIRST_PORT + u16::try_from(offset).unwrap_or(0)
    });
    candidates
        .find(|port| is_free(*port))
        .ok_or_else(|| io::ErrorKind::AddrInUse.into())
}

const FIRST_PORT: u16 = 32_768;
const LAST_PORT: u16 = 60_999;
const PORT_TRIES: u32 = 1024;
/// Prime to the number of ports, so that tries don't repeat.
const PORT_STRIDE: u32 = 7919;
