//! The sockets at which names are answered, each on its own: one that can't be had does not close the others. Who is not a program
//! on this machine gets no answer at any of them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use malha_dns::{Clients, DnsError, DnsServer, Limits};
use malha_zone::Zones;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::status::{Closed, ClosedWhy};

#[derive(Default)]
pub(super) struct Doors {
    open: BTreeMap<SocketAddr, Door>,
    closed: BTreeMap<SocketAddr, ClosedWhy>,
    /// In the order of the wish.
    wanted: Vec<SocketAddr>,
}

struct Door {
    stop: CancellationToken,
    serving: JoinHandle<Result<(), DnsError>>,
}

impl Doors {
    /// Opens what is wanted and missing, where it was not tried or `is_due` again, and closes the rest.
    pub(super) fn follow(
        &mut self,
        wanted: &[SocketAddr],
        zones: &watch::Sender<Arc<Zones>>,
        is_due: bool,
    ) {
        wanted.clone_into(&mut self.wanted);
        self.open
            .retain(|address, door| wanted.contains(address) && !door.serving.is_finished());
        self.closed.retain(|address, _| wanted.contains(address));
        for address in wanted {
            let is_tried = self.closed.contains_key(address) && !is_due;
            if self.open.contains_key(address) || is_tried {
                continue;
            }
            self.closed.remove(address);
            match DnsServer::bind(&[*address], LIMITS) {
                Ok(server) => {
                    self.open
                        .insert(*address, Door::serve(server, zones.subscribe()));
                }
                Err(error) => {
                    tracing::debug!(%error, "names are not answered there");
                    self.closed.insert(*address, why(&error));
                }
            }
        }
    }

    pub(super) fn open(&self) -> Vec<SocketAddr> {
        let open = self.wanted.iter().copied();
        open.filter(|address| self.open.contains_key(address))
            .collect()
    }

    pub(super) fn closed(&self) -> Vec<Closed> {
        let closed = self.closed.iter();
        closed
            .map(|(address, why)| Closed {
                address: *address,
                why: why.clone(),
            })
            .collect()
    }

    pub(super) async fn close_all(&mut self) {
        for (_, mut door) in std::mem::take(&mut self.open) {
            door.stop.cancel();
            let _ = (&mut door.serving).await;
        }
    }
}

impl Door {
    fn serve(server: DnsServer, zones: watch::Receiver<Arc<Zones>>) -> Self {
        let stop = CancellationToken::new();
        Self {
            serving: tokio::spawn(server.run(zones, stop.clone())),
            stop,
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn why(error: &DnsError) -> ClosedWhy {
    let DnsError::Bind { source, .. } = error else {
        return ClosedWhy::Other(error.to_string());
    };
    match source.kind() {
        io::ErrorKind::AddrInUse => ClosedWhy::Taken,
        io::ErrorKind::PermissionDenied => ClosedWhy::Forbidden,
        _ => ClosedWhy::Other(source.to_string()),
    }
}

/// Of one address: programs of one machine ask.
const LIMITS: Limits = Limits {
    tcp_connections: 64,
    tcp_connections_per_source: 64,
    tcp_idle: std::time::Duration::from_secs(10),
    tcp_write: std::time::Duration::from_secs(5),
    // Its clients can't lie about where they are.
    udp_rate: None,
    clients: Clients::ThisMachine,
};

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[tokio::test]
    async fn a_door_that_is_taken_is_told_and_the_others_open() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken_at = taken.local_addr().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let free_at = free.local_addr().unwrap();
        drop(free);
        let zones = watch::channel(Arc::default()).0;
        let mut doors = Doors::default();
        doors.follow(&[taken_at, free_at], &zones, true);
        assert_eq!(doors.open(), [free_at]);
        let closed = Closed {
            address: taken_at,
            why: ClosedWhy::Taken,
        };
        assert_eq!(doors.closed(), [closed]);
        drop(taken);
        doors.follow(&[taken_at, free_at], &zones, false);
        assert_eq!(doors.open(), [free_at], "not before it is due");
        doors.follow(&[taken_at, free_at], &zones, true);
        assert_eq!(doors.open(), [taken_at, free_at]);
        doors.close_all().await;
        assert!(doors.open().is_empty());
    }
}
