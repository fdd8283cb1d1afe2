//! How the controller reaches an address: who runs the checks says how, since overlay addresses go through its hub.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::observation::{Failure, Seen, TcpSeen};

/// A connection that bytes go over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The way out. Errors keep their kind: refused, timed out and unreachable are told apart by it.
#[async_trait]
pub trait Dial: Send + Sync {
    /// The addresses of a host name as this machine resolves it.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// A connection; who calls gives it [`CONNECT_LIMIT`].
    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>>;

    /// Whether datagrams from this machine's own sockets reach the address; names are asked over TCP where not.
    fn has_udp(&self, address: IpAddr) -> bool;
}

/// This machine's own sockets and resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDial;

#[async_trait]
impl Dial for SystemDial {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(TcpStream::connect(address).await?))
    }

    fn has_udp(&self, _: IpAddr) -> bool {
        true
    }
}

/// Why a look did not get as far as an answer.
pub(super) enum Missed {
    NoConnection(TcpSeen),
    Failed(Failure),
}

impl Missed {
    /// This machine could not do it.
    pub(super) fn local(error: impl ToString) -> Self {
        let error = error.to_string();
        Self::Failed(Failure::Local { error })
    }

    /// Something had to be known before.
    pub(super) fn before(error: impl ToString) -> Self {
        let error = error.to_string();
        Self::Failed(Failure::Before { error })
    }
}

impl From<Missed> for Seen {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::NoConnection(tcp) => Self::Tcp(tcp),
            Missed::Failed(why) => Self::Failed { why },
        }
    }
}

/// A connection within its time, or what the attempt showed.
pub(super) async fn connect(
    dial: &dyn Dial,
    address: SocketAddr,
) -> Result<Box<dyn Stream>, Missed> {
    match timeout(CONNECT_LIMIT, dial.connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            Err(TcpSeen::of(&error).map_or_else(Missed::Failed, Missed::NoConnection))
        }
        Err(_) => Err(Missed::NoConnection(TcpSeen::Silent)),
    }
}

/// The first address of a host; an address may stand in the host's place.
pub(super) async fn resolve(dial: &dyn Dial, host: &str, port: u16) -> Result<SocketAddr, Missed> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let missing = |error: String| Missed::before(format!("{host}: {error}"));
    let found = timeout(RESOLVE_LIMIT, dial.resolve(host)).await;
    let found = found.map_err(|_| missing("the resolver does not answer".to_owned()))?;
    let found = found.map_err(|error| missing(error.to_string()))?;
    let first = found.first();
    let first = first.ok_or_else(|| missing("no address".to_owned()))?;
    Ok(SocketAddr::new(*first, port))
}

/// As long as an address may take to accept a connection.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_leave_this_machine_says_nothing_of_the_other() {
        let of = |kind: io::ErrorKind| TcpSeen::of(&io::Error::from(kind));
        assert_eq!(of(io::ErrorKind::ConnectionRefused), Ok(TcpSeen::Refused));
        assert_eq!(of(io::ErrorKind::TimedOut), Ok(TcpSeen::Silent));
        assert_eq!(of(io::ErrorKind::HostUnreachable), Ok(TcpSeen::Unreachable));
        assert_eq!(of(io::ErrorKind::NetworkUnreachable), Err(Failure::NoRoute));
        let denied = of(io::ErrorKind::PermissionDenied);
        assert!(matches!(denied, Err(Failure::Local { .. })));
    }
}
