//! UDP sockets of several shards at one address: the kernel gives each datagram to the shard that its receiver index names. It
//! never reads a datagram itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use socket2::Socket;

use super::bound::open;
use crate::config::WishedPorts;
use crate::error::TunnelError;
use crate::shard::{COOKIE, DATA, INDEX_AT, INITIATION, RESPONSE, RESPONSE_INDEX_AT, session_mask};

/// Binds every address of `listen`, once for each shard; if that is empty, the wished port on each family that the host has, or a free
/// one. Gives the sockets of each shard, in the order of `listen`.
pub(crate) fn bind_groups(
    listen: &[SocketAddr],
    wished: WishedPorts,
    shards: usize,
) -> Result<Vec<Vec<Socket>>, TunnelError> {
    let bind = |address: SocketAddr| {
        bind_group(address, shards).map_err(|source| TunnelError::Bind { address, source })
    };
    let groups: Vec<_> = if listen.is_empty() {
        let bind_any =
            |ip: IpAddr, wished: u16| bind((ip, wished).into()).or_else(|_| bind((ip, 0).into()));
        let v4 = bind_any(Ipv4Addr::UNSPECIFIED.into(), wished.ipv4);
        let v6 = bind_any(Ipv6Addr::UNSPECIFIED.into(), wished.ipv6);
        match (v4, v6) {
            (Err(error), Err(_)) => return Err(error),
            (v4, v6) => v4.into_iter().chain(v6).collect(),
        }
    } else {
        listen.iter().copied().map(bind).collect::<Result<_, _>>()?
    };
    Ok(by_shard(groups, shards))
}

/// Groups of one address each, as the sockets of one shard each.
pub(super) fn by_shard(groups: Vec<Vec<Socket>>, shards: usize) -> Vec<Vec<Socket>> {
    let mut of_shards: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
    for group in groups {
        for (of_shard, socket) in of_shards.iter_mut().zip(group) {
            of_shard.push(socket);
        }
    }
    of_shards
}

/// The sockets of one address, by number of the shard: the kernel knows them by the order in which they were bound.
pub(super) fn bind_group(address: SocketAddr, shards: usize) -> io::Result<Vec<Socket>> {
    let first = open(address)?;
    // Not shared yet, so that it fails where somebody else, who would share it, is already.
    first.bind(&address.into())?;
    if shards == 1 {
        return Ok(vec![first]);
    }
    let local = first.local_addr()?;
    first.set_reuse_port(true)?;
    let mut group = vec![first];
    for _ in 1..shards {
        let socket = open(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&local)?;
        group.push(socket);
    }
    if let Err(error) = steer(&group[0], shards) {
        tracing::warn!(%error, "the kernel does not steer datagrams to their shards; they are handed over instead");
    }
    Ok(group)
}

/// Gives a group the program that chooses the socket of a datagram, in classic BPF: its result is the socket's number, and one that
/// no socket has leaves the choice to the kernel's hash of the sender.
fn steer(socket: &Socket, shards: usize) -> nix::Result<()> {
    let byte_at = |at: usize| op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, at as u32);
    let jump = |value: u8, on: u8, off: u8| {
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        op(equal, on, off, u32::from(value))
    };
    let give = |value: u32| op(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let mask = u32::from(session_mask(shards));
    let mut program = [
        byte_at(0),
        jump(DATA, 4, 0),
        jump(COOKIE, 3, 0),
        jump(RESPONSE, 4, 0),
        jump(INITIATION, 6, 0),
        // Frames of ours, and QUIC.
        give(0),
        byte_at(INDEX_AT),
        jump_always(1),
        byte_at(RESPONSE_INDEX_AT),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask),
        op(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
        // Anybody's: finding out who knocks is work that all share.
        give(u32::MAX),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    setsockopt(socket, AttachReusePortCbpf, &program)
}

fn jump_always(over: u32) -> libc::sock_filter {
    op(libc::BPF_JMP | libc::BPF_JA, 0, 0, over)
}

fn op(code: u32, on: u8, off: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: on,
        jf: off,
        k: value,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::shard::Place;

    /// The sockets of one address, which wait for a while.
    fn group(address: &str, shards: usize) -> Vec<UdpSocket> {
        let of_shards =
            bind_groups(&[address.parse().unwrap()], WishedPorts::default(), shards).unwrap();
        let sockets = of_shards.into_iter().flatten().map(|socket| {
            socket.set_nonblocking(false).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            socket.into()
        });
        sockets.collect()
    }

    #[test]
    fn every_datagram_arrives_at_the_shard_that_it_names() {
        for (address, shards) in [("127.0.0.1:0", 2), ("[::1]:0", 3), ("127.0.0.1:0", 16)] {
            let sockets = group(address, shards);
            let to = sockets[0].local_addr().unwrap();
            for sender in 0..4 {
                let caller = UdpSocket::bind((to.ip(), 0)).unwrap();
                for place in Place::all(shards) {
                    let session = (place.mark(sender * 77) << 8 | 5).to_le_bytes();
                    for (kind, at) in [(RESPONSE, 8), (COOKIE, 4), (DATA, 4)] {
                        let mut datagram = [0xff; 64];
                        datagram[0] = kind;
                        datagram[at..at + 4].copy_from_slice(&session);
                        caller.send_to(&datagram, to).unwrap();
                        let mut came = [0; 100];
                        let bytes = sockets[place.number()].recv(&mut came).unwrap();
                        assert_eq!(came[..bytes], datagram);
                    }
                }
                for first in [0x10, 0x13, 0x40, 0xc0] {
                    caller.send_to(&[first, 1, 1, 1, 1, 1], to).unwrap();
                    assert_eq!(sockets[0].recv(&mut [0; 100]).unwrap(), 6);
                }
            }
        }
    }

    #[test]
    fn initiations_spread_over_all_shards_and_none_is_lost() {
        let sockets = group("127.0.0.1:0", 3);
        let to = sockets[0].local_addr().unwrap();
        for _ in 0..90 {
            let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
            caller.send_to(&[INITIATION; 148], to).unwrap();
        }
        let counts: Vec<_> = sockets
            .iter()
            .map(|socket| {
                (0..90)
                    .take_while(|_| socket.recv(&mut [0; 200]).is_ok())
                    .count()
            })
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 90);
        assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
    }

    #[test]
    fn nobody_joins_a_port_that_is_taken_not_even_by_another_group() {
        let sockets = group("127.0.0.1:0", 2);
        let taken = sockets[0].local_addr().unwrap();
        for shards in [1, 2] {
            let error = bind_groups(&[taken], WishedPorts::default(), shards).unwrap_err();
            assert_eq!(error.to_string(), format!("binding the UDP socket {taken}"));
        }
    }
}
