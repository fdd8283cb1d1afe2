//! Why a server does not listen, and what an operator can do about it.

use std::io;
use std::net::SocketAddr;

use malha_zone::Transport;

use crate::server::MAX_ADDRESSES;

#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error("no address to listen on; give at least one, such as 127.0.0.1:5353")]
    NoAddress,
    #[error("{count} addresses to listen on are too many; give at most {MAX_ADDRESSES}")]
    TooManyAddresses { count: usize },
    #[error("cannot listen on {} {address}: {}", name(*.transport), advice(.source, .address))]
    Bind {
        transport: Transport,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot serve {} {address}: the socket was not accepted by the runtime", name(*.transport))]
    Register {
        transport: Transport,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("a DNS listener ended by a defect of this program; the server stopped")]
    ListenerFailed,
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    }
}

fn advice(error: &io::Error, address: &SocketAddr) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} is in use by another program (on many systems systemd-resolved holds port 53); \
             stop it, or choose another address or port"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "port {port} needs a privilege; grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in the \
             systemd unit), or choose a port from 1024 on"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address; choose one that `ip addr` shows"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: io::ErrorKind) -> String {
        DnsError::Bind {
            transport: Transport::Udp,
            address: SocketAddr::from(([192, 0, 2, 1], 53)),
            source: kind.into(),
        }
        .to_string()
    }

    #[test]
    fn a_refused_port_is_named_with_a_way_out() {
        let in_use = refused(io::ErrorKind::AddrInUse);
        assert!(
            in_use.starts_with("cannot listen on UDP 192.0.2.1:53: port 53 is in use"),
            "{in_use}"
        );
        let denied = refused(io::ErrorKind::PermissionDenied);
        assert!(denied.contains("CAP_NET_BIND_SERVICE"), "{denied}");
    }
}
