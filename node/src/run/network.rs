//! Noticing that the machine is on another network: the source addresses of its default routes. It sends nothing.

use std::net::{IpAddr, UdpSocket};

/// Documentation addresses (RFC 5737, RFC 3849): routed by the default route, owned by nobody.
const FAR: [(&str, &str); 2] = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];

/// The network as it was at the last look.
#[derive(Debug)]
pub(super) struct NetworkWatch {
    last: [Option<IpAddr>; 2],
}

impl NetworkWatch {
    pub(super) fn new() -> Self {
        Self { last: sources() }
    }

    /// Whether it is another network than at the last look. A network that is gone is no change yet: the next one is.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = sources();
        if now == self.last || now == [None, None] {
            return false;
        }
        self.last = now;
        true
    }
}

/// The addresses from which this machine would speak to the internet, per family.
fn sources() -> [Option<IpAddr>; 2] {
    FAR.map(|(any, far)| {
        let socket = UdpSocket::bind(any).ok()?;
        // A connected datagram socket only looks up the route.
        socket.connect(far).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_network_is_no_change() {
        assert!(!NetworkWatch::new().has_changed());
    }

    #[test]
    fn another_source_address_is_a_change_once() {
        let mut watch = NetworkWatch::new();
        let is_online = watch.last != [None, None];
        watch.last = [Some([203, 0, 113, 7].into()), None];
        assert_eq!(watch.has_changed(), is_online);
        assert!(!watch.has_changed() || !is_online);
    }
}
