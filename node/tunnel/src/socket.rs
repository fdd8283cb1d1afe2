//! The UDP sockets of the underlay and their error queues. Errors of the network are counted and reported, never passed on
//! as failures: a send error stops nothing.

mod bound;
mod group;
pub(crate) mod kept;
mod room;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, ready};

use quinn_udp::{EcnCodepoint, RecvMeta};
use socket2::Socket;

use crate::config::{Offload, TunnelConfig, WishedPorts};
use crate::error::TunnelError;
use crate::path::{Path, Transmit};
use crate::status::UnderlayCounters;
use bound::{Bound, Inbox};
use group::bind_groups;

/// The sockets of one tunnel, one per listen address.
pub(crate) struct Sockets {
    listen: Vec<SocketAddr>,
    wished_ports: WishedPorts,
    offload: Offload,
    sockets: Vec<Bound>,
    /// The socket that is asked first, so that a flood on one can't starve another.
    turn: usize,
    inbox: Inbox,
    counters: UnderlayCounters,
}

/// Datagrams of one sender that arrived together.
pub(crate) struct Batch<'a> {
    /// Number of the socket.
    pub(crate) socket: usize,
    pub(crate) datagrams: &'a [u8],
    pub(crate) meta: RecvMeta,
}

/// What stands on datagrams beside their destination. WireGuard's have nothing there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Envelope {
    pub(crate) ecn: Option<EcnCodepoint>,
    /// The address of this host that the other side knows.
    pub(crate) source: Option<IpAddr>,
}

/// What became of datagrams to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Handed to the kernel, or lost for a reason that waiting would not mend.
    Gone,
    /// The socket's buffer is full; what was sent is no longer in the batch.
    Full,
}

/// The sockets of each shard, in the order of the configuration's addresses: kept ones of the last run, or new ones.
pub(crate) fn of_shards(
    config: &TunnelConfig,
    shards: usize,
) -> Result<Vec<Vec<Socket>>, TunnelError> {
    let keeper = config.keeper.as_ref().filter(|_| config.keeps_datagrams);
    match keeper.filter(|_| !config.listen.is_empty()) {
        Some(keeper) => kept::of_shards(config, keeper.as_ref(), shards),
        None => bind_groups(&config.listen, config.wished_ports, shards),
    }
}

impl Sockets {
    /// Those of a tunnel with one shard. Must be called within its runtime, as all that takes sockets.
    pub(crate) fn open(config: &TunnelConfig) -> Result<Self, TunnelError> {
        let mut sockets = Self::none(config);
        sockets.adopt(of_shards(config, 1)?.into_iter().flatten())?;
        Ok(sockets)
    }

    /// No sockets yet.
    pub(crate) fn none(config: &TunnelConfig) -> Self {
        Self {
            sockets: Vec::new(),
            listen: config.listen.clone(),
            wished_ports: config.wished_ports,
            offload: config.offload,
            turn: 0,
            inbox: Inbox::new(),
            counters: UnderlayCounters::default(),
        }
    }

    /// Takes sockets that were bound for one shard of a tunnel; none after an error.
    pub(crate) fn adopt(
        &mut self,
        sockets: impl IntoIterator<Item = Socket>,
    ) -> Result<(), TunnelError> {
        self.sockets.clear();
        let adopt = |(number, socket)| {
            let unknown = (Ipv4Addr::UNSPECIFIED, 0).into();
            let address = self.listen.get(number).copied().unwrap_or(unknown);
            let bound = Bound::adopt(socket, self.offload);
            bound.map_err(|source| TunnelError::Bind { address, source })
        };
        let bound = sockets.into_iter().enumerate().map(adopt);
        self.sockets = bound.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Binds them once for each shard, without taking any.
    pub(crate) fn bind_for(&self, shards: usize) -> Result<Vec<Vec<Socket>>, TunnelError> {
        bind_groups(&self.listen, self.wished_ports, shards)
    }

    pub(crate) fn close(&mut self) {
        self.sockets.clear();
    }

    /// Closes all sockets and binds them again. After an error there are none until the next call succeeds.
    pub(crate) fn rebind(&mut self) -> Result<(), TunnelError> {
        self.sockets.clear();
        let bound = self.bind_for(1)?;
        self.adopt(bound.into_iter().flatten())
    }

    pub(crate) fn is_bound(&self) -> bool {
        !self.sockets.is_empty()
    }

    pub(crate) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.local).collect()
    }

    pub(crate) fn counters(&self) -> UnderlayCounters {
        self.counters
    }

    /// Completes when a socket has something to read, an error perhaps.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // All are asked, since each remembers whom to wake.
        let readable = |socket: &Bound| socket.poll_readable(cx).is_ready();
        match self
            .sockets
            .iter()
            .map(readable)
            .fold(false, |any, one| any | one)
        {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Reads once from the next socket that has something. False if no socket had anything.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(&Batch<'_>)) -> bool {
        let count = self.sockets.len();
        for number in (0..count).map(|step| (self.turn + step) % count) {
            for _ in 0..MAX_ERRORS {
                match self.sockets[number].receive(&mut self.inbox) {
                    Ok(batches) => {
                        for (meta, datagrams) in batches {
                            let batch = Batch {
                                socket: number,
                                datagrams,
                                meta,
                            };
                            let count = datagrams.len().div_ceil(batch.stride()).max(1);
                            self.counters.datagrams_received += count as u64;
                            take(&batch);
                        }
                        self.turn = number + 1;
                        return true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A pending error of an earlier send; the error queue tells whose.
                    Err(_) => self.counters.receive_errors += 1,
                }
            }
        }
        false
    }

    /// Completes when every socket has room again.
    pub(crate) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for socket in &mut self.sockets {
            ready!(socket.poll_writable(cx));
        }
        Poll::Ready(())
    }

    pub(crate) fn send(&mut self, transmit: &mut Transmit, envelope: Envelope) -> Sent {
        let Path::Udp { local, remote } = transmit.path else {
            self.counters.send_errors += transmit.count() as u64;
            return Sent::Gone;
        };
        let Some(number) = self.socket_for(local, remote) else {
            self.counters.send_errors += transmit.count() as u64;
            return Sent::Gone;
        };
        self.sockets[number].send(remote, transmit, envelope, &mut self.counters)
    }

    /// Addresses of which hosts have said since the last call that no port is open there.
    pub(crate) fn unreachable_ports(&mut self) -> Vec<SocketAddr> {
        let mut refused = Vec::new();
        for socket in &self.sockets {
            for _ in 0..MAX_ERRORS {
                match socket.next_error() {
                    Ok(Some(remote)) => refused.push(remote),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
        refused.sort_unstable();
        refused.dedup();
        refused
    }

    /// The socket that the path names, or else the first of the right family.
    fn socket_for(&self, local: Option<usize>, remote: SocketAddr) -> Option<usize> {
        let same_family = |socket: &Bound| socket.local.is_ipv4() == remote.is_ipv4();
        let named = local.filter(|number| self.sockets.get(*number).is_some_and(same_family));
        named.or_else(|| self.sockets.iter().position(same_family))
    }
}

impl Envelope {
    fn around(
        self,
        destination: SocketAddr,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> quinn_udp::Transmit<'_> {
        quinn_udp::Transmit {
            destination,
            ecn: self.ecn,
            contents,
            segment_size,
            src_ip: self.source,
        }
    }
}

impl Batch<'_> {
    pub(crate) fn path(&self) -> Path {
        Path::Udp {
            local: Some(self.socket),
            remote: self.meta.addr,
        }
    }

    /// The length of each datagram but the last, which may be shorter.
    pub(crate) fn stride(&self) -> usize {
        self.meta.stride.max(1)
    }
}

/// Errors taken from one socket in one go.
const MAX_ERRORS: usize = 64;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::key::PrivateKey;

    fn closed_port() -> SocketAddr {
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    }

    fn bind(listen: &[&str]) -> Sockets {
        let listen: Vec<_> = listen
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        bind_with(&listen, Offload::default()).unwrap()
    }

    fn config() -> TunnelConfig {
        let key = PrivateKey::from_bytes([1; 32]);
        TunnelConfig::new(key, vec!["100.64.0.1/10".parse().unwrap()])
    }

    fn bind_with(listen: &[SocketAddr], offload: Offload) -> Result<Sockets, TunnelError> {
        let mut sockets = Sockets::none(&TunnelConfig {
            listen: listen.to_vec(),
            offload,
            ..config()
        });
        sockets.rebind()?;
        Ok(sockets)
    }

    fn transmit(path: Path, payload: Vec<u8>, segment_bytes: usize) -> Transmit {
        Transmit {
            path,
            payload: payload.into(),
            segment_bytes,
        }
    }

    fn send(sockets: &mut Sockets, mut transmit: Transmit) -> Sent {
        sockets.send(&mut transmit, Envelope::default())
    }

    /// The next datagrams of any socket.
    async fn receive(sockets: &mut Sockets) -> Vec<(Path, Vec<u8>)> {
        let mut received = Vec::new();
        while received.is_empty() {
            let readable = poll_fn(|cx| sockets.poll_readable(cx));
            tokio::time::timeout(Duration::from_secs(5), readable)
                .await
                .unwrap();
            sockets.receive(|batch| {
                let each = batch.datagrams.chunks(batch.stride());
                received.extend(each.map(|datagram| (batch.path(), datagram.to_vec())));
            });
        }
        received
    }

    #[tokio::test]
    async fn a_closed_port_is_reported_and_sending_goes_on() {
        let mut sockets = bind(&["127.0.0.1:0"]);
        let own = sockets.local_addrs()[0];
        let refused = closed_port();
        poll_fn(|cx| sockets.poll_writable(cx)).await;
        let mut one = |remote| send(&mut sockets, transmit(Path::udp(remote), vec![1], 1));
        assert_eq!(one(refused), Sent::Gone);
        assert_eq!(one(own), Sent::Gone);
        assert_eq!(sockets.unreachable_ports(), vec![refused]);
        let (path, datagram) = receive(&mut sockets).await.remove(0);
        assert_eq!((path.remote(), datagram), (Some(own), vec![1]));
    }

    #[tokio::test]
    async fn a_taken_port_is_named_in_the_error() {
        let first = bind(&["127.0.0.1:0"]);
        let taken = first.local_addrs()[0];
        let error = bind_with(&[taken], Offload::default()).err();
        let expected = format!("binding the UDP socket {taken}");
        assert_eq!(error.unwrap().to_string(), expected);
    }

    #[tokio::test]
    async fn a_wished_port_that_somebody_has_taken_meanwhile_is_replaced_by_a_free_one() {
        let mut config = config();
        let mut sockets = Sockets::open(&config).unwrap();
        let first = sockets.local_addrs();
        (config.wished_ports.ipv4, config.wished_ports.ipv6) = (first[0].port(), first[1].port());
        drop(sockets);
        sockets = Sockets::open(&config).unwrap();
        assert_eq!(sockets.local_addrs(), first);
        sockets.close();
        let _taken = std::net::UdpSocket::bind(first[0]).unwrap();
        sockets.rebind().unwrap();
        let second = sockets.local_addrs();
        assert_eq!((second.len(), second[1]), (2, first[1]));
        assert!(second[0].is_ipv4() && second[0] != first[0]);
    }

    #[tokio::test]
    async fn answers_leave_by_the_socket_that_was_addressed() {
        let mut sockets = bind(&["127.0.0.1:0", "127.0.0.1:0"]);
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        other
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let path = Path::Udp {
            local: Some(1),
            remote: other.local_addr().unwrap(),
        };
        poll_fn(|cx| sockets.poll_writable(cx)).await;
        send(&mut sockets, transmit(path, vec![1], 1));
        let (_, from) = other.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(from, sockets.local_addrs()[1]);
    }

    /// With every combination of offloads, and the last datagram shorter than the others.
    #[tokio::test]
    async fn a_batch_arrives_as_the_datagrams_that_it_was_made_of() {
        let batch: Vec<u8> = (0..2500u32).map(|number| (number % 251) as u8).collect();
        for (udp_send, udp_receive) in [(true, true), (true, false), (false, true), (false, false)]
        {
            let offload = Offload {
                udp_send,
                udp_receive,
                ..Offload::default()
            };
            let mut sockets = bind_with(&["127.0.0.1:0".parse().unwrap()], offload).unwrap();
            let own = Path::udp(sockets.local_addrs()[0]);
            poll_fn(|cx| sockets.poll_writable(cx)).await;
            assert_eq!(
                send(&mut sockets, transmit(own, batch.clone(), 1000)),
                Sent::Gone
            );
            let mut received = Vec::new();
            while received.len() < 3 {
                received.extend(receive(&mut sockets).await.into_iter().map(|(_, it)| it));
            }
            let expected: Vec<_> = batch.chunks(1000).map(<[u8]>::to_vec).collect();
            assert_eq!(received, expected);
            assert_eq!(sockets.counters().datagrams_sent, 3);
            assert_eq!(sockets.counters().datagrams_received, 3);
        }
    }
}
