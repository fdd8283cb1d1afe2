//! The limits of a server, with defaults for a public one. Nothing here is unlimited except by choice.

use std::net::SocketAddr;
use std::time::Duration;

/// What one server spends on its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open TCP connections in all.
    pub tcp_connections: usize,
    /// Open TCP connections of one IPv4 address or IPv6 /64.
    pub tcp_connections_per_source: usize,
    /// How long a connection may take to its next complete query (RFC 7766 section 6.2.3).
    pub tcp_idle: Duration,
    /// How long a client may take to accept one answer.
    pub tcp_write: Duration,
    /// The rate of UDP responses to one network; `None` limits nothing, for tests and closed networks.
    pub udp_rate: Option<UdpRate>,
    pub clients: Clients,
}

/// Who is answered; all others get no answer at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    #[default]
    Anyone,
    /// Programs on the machine itself: they come from the address that they ask, or from a loopback address. The kernel takes
    /// neither from a network.
    ThisMachine,
}

impl Clients {
    pub(crate) fn includes(self, client: SocketAddr, asked: SocketAddr) -> bool {
        match self {
            Self::Anyone => true,
            Self::ThisMachine => client.ip() == asked.ip() || client.ip().is_loopback(),
        }
    }
}

/// How many UDP responses one IPv4 /24 or IPv6 /56 may get from one listening address, so that spoofed
/// queries cannot make the server flood a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRate {
    /// Responses per second in the long run; zero counts as one.
    pub responses_per_s: u32,
    /// Responses at once after a quiet time; zero counts as one.
    pub burst: u32,
    /// Every how many limited queries one gets an empty answer with TC set, which an honest client
    /// follows to TCP; zero for never.
    pub slip: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tcp_connections: 1_024,
            tcp_connections_per_source: 32,
            tcp_idle: Duration::from_secs(10),
            tcp_write: Duration::from_secs(5),
            udp_rate: Some(UdpRate::default()),
            clients: Clients::default(),
        }
    }
}

impl Default for UdpRate {
    fn default() -> Self {
        Self {
            responses_per_s: 500,
            burst: 1_000,
            slip: 2,
        }
    }
}

/// Longest query taken in; a question with every option in use today is far shorter.
pub(crate) const MAX_QUERY_BYTES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_comes_from_the_address_that_it_asks_or_from_loopback_is_on_the_machine() {
        let asked = "100.64.0.2:53".parse().unwrap();
        for (client, is_here) in [
            ("100.64.0.2:40000", true),
            ("127.0.0.1:40000", true),
            ("100.64.0.3:40000", false),
            ("192.0.2.7:40000", false),
            ("[::1]:40000", true),
        ] {
            let client = client.parse().unwrap();
            assert_eq!(
                Clients::ThisMachine.includes(client, asked),
                is_here,
                "{client}"
            );
            assert!(Clients::Anyone.includes(client, asked));
        }
    }
}
