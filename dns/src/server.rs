//! The server as a whole: binds its addresses and runs the loops until cancelled. It never answers
//! from anything but the zones it was last given.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use malha_zone::{Transport, Zones};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::counters::DnsCounters;
use crate::error::DnsError;
use crate::limits::Limits;
use crate::{tcp, udp};

/// Most addresses of one server.
pub const MAX_ADDRESSES: usize = 64;

/// A bound authoritative server. [`DnsServer::run`] serves until its token is cancelled.
///
/// Each address is served over UDP and TCP on the same port. On a machine with several addresses of a
/// family, bind each of them rather than the unspecified address: a datagram that leaves by another
/// address than it came to is dropped by its client.
#[derive(Debug)]
pub struct DnsServer {
    listeners: Vec<Listener>,
    limits: Limits,
    counters: Arc<DnsCounters>,
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

impl DnsServer {
    /// Binds every address; port 0 takes a free port. Needs no async runtime.
    pub fn bind(addresses: &[SocketAddr], limits: Limits) -> Result<Self, DnsError> {
        Self::bind_by(addresses, limits, bind_udp, bind_tcp)
    }

    /// The same with sockets that come from somewhere else, like those of [`bind_udp`] and [`bind_tcp`].
    pub fn bind_by(
        addresses: &[SocketAddr],
        limits: Limits,
        udp: impl Fn(SocketAddr) -> io::Result<UdpSocket>,
        tcp: impl Fn(SocketAddr) -> io::Result<TcpListener>,
    ) -> Result<Self, DnsError> {
        match addresses.len() {
            0 => return Err(DnsError::NoAddress),
            1..=MAX_ADDRESSES => {}
            count => return Err(DnsError::TooManyAddresses { count }),
        }
        let listeners = addresses
            .iter()
            .map(|address| Listener::bind(*address, &udp, &tcp))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            listeners,
            limits,
            counters: Arc::default(),
        })
    }

    /// The addresses as bound, ports filled in, in the order they were given.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .map(|listener| listener.address)
            .collect()
    }

    pub fn counters(&self) -> Arc<DnsCounters> {
        Arc::clone(&self.counters)
    }

    /// Serves the newest value of `zones` until `cancel`; then every task has ended. When the sender of
    /// `zones` is gone, the last value stays in service.
    pub async fn run(
        self,
        zones: watch::Receiver<Arc<Zones>>,
        cancel: CancellationToken,
    ) -> Result<(), DnsError> {
        let mut loops = JoinSet::new();
        let mut streams = Vec::new();
        for listener in self.listeners {
            let (socket, stream) = listener.register()?;
            streams.push(stream);
            loops.spawn(udp::serve(
                socket,
                zones.clone(),
                self.limits,
                Arc::clone(&self.counters),
                cancel.clone(),
            ));
        }
        loops.spawn(tcp::serve(
            streams,
            zones,
            self.limits,
            self.counters,
            cancel.clone(),
        ));
        while let Some(ended) = loops.join_next().await {
            if ended.is_err() || !cancel.is_cancelled() {
                loops.shutdown().await;
                return Err(DnsError::ListenerFailed);
            }
        }
        Ok(())
    }
}

impl Listener {
    /// Both sockets on one port. A free UDP port may be taken on TCP, so port 0 is tried again.
    fn bind(
        wanted: SocketAddr,
        udp: &impl Fn(SocketAddr) -> io::Result<UdpSocket>,
        tcp: &impl Fn(SocketAddr) -> io::Result<TcpListener>,
    ) -> Result<Self, DnsError> {
        let mut attempt = 1;
        loop {
            match Self::bind_once(wanted, udp, tcp) {
                Err(DnsError::Bind {
                    transport: Transport::Tcp,
                    ..
                }) if wanted.port() == 0 && attempt < MAX_PORT_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    fn bind_once(
        wanted: SocketAddr,
        udp: impl Fn(SocketAddr) -> io::Result<UdpSocket>,
        tcp: impl Fn(SocketAddr) -> io::Result<TcpListener>,
    ) -> Result<Self, DnsError> {
        let failed = |transport, address| {
            move |source| DnsError::Bind {
                transport,
                address,
                source,
            }
        };
        let udp = udp(wanted).map_err(failed(Transport::Udp, wanted))?;
        let address = udp.local_addr().map_err(failed(Transport::Udp, wanted))?;
        let tcp = tcp(address).map_err(failed(Transport::Tcp, address))?;
        Ok(Self { address, udp, tcp })
    }

    fn register(self) -> Result<(tokio::net::UdpSocket, tokio::net::TcpListener), DnsError> {
        let address = self.address;
        let failed = |transport| {
            move |source| DnsError::Register {
                transport,
                address,
                source,
            }
        };
        let udp = tokio::net::UdpSocket::from_std(self.udp).map_err(failed(Transport::Udp))?;
        let tcp = tokio::net::TcpListener::from_std(self.tcp).map_err(failed(Transport::Tcp))?;
        Ok((udp, tcp))
    }
}

/// A UDP socket as [`DnsServer::bind`] makes it.
///
/// # Errors
/// What the kernel says.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new_socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A listener as [`DnsServer::bind`] makes it.
///
/// # Errors
/// What the kernel says.
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address, Type::STREAM, Protocol::TCP)?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // Both families may be bound to one port, each on its own socket.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

const MAX_PORT_ATTEMPTS: usize = 16;
const TCP_BACKLOG: i32 = 256;
