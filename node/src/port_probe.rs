//! Looks which ports answer, for a controller that ordered it: opens a TCP connection and closes it, at once or after a look whether
//! the other side keeps it. It sends nothing, keeps nothing of what it hears, and does not look at what a machine keeps for itself or
//! for its own network unless its owner says so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use malha_proto::{
    PortState, ProbeOrder, ProbeOutcome, ProbeResult, ProbeTarget, ProbeWay, is_carrier_space,
    is_public,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::streams::Overlay;

/// Connections of one order that are attempted at a time.
pub const MAX_LOOKS_AT_ONCE: usize = 32;

/// What a controller may have this machine look at outside the overlay; peers of the overlay always, unless it is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeChoice {
    /// Public addresses.
    #[default]
    Public,
    /// Private ones too: servers that the machine must reach stand in its own network.
    Any,
    /// Nothing, in the overlay neither.
    Off,
}

/// Serves one order. It takes at most twice the order's timeout for each [`MAX_LOOKS_AT_ONCE`] of its targets.
pub async fn probe_ports(
    order: ProbeOrder,
    choice: ProbeChoice,
    overlay: Option<&Overlay>,
) -> ProbeResult {
    let number = order.number;
    if choice == ProbeChoice::Off {
        return ProbeResult {
            number,
            outcome: ProbeOutcome::Off,
            names: Vec::new(),
        };
    }
    let limit = Duration::from_millis(order.timeout_ms.into());
    let looks = order
        .targets
        .into_iter()
        .map(|target| look(target, choice, overlay, limit));
    let states = stream::iter(looks).buffered(MAX_LOOKS_AT_ONCE).collect();
    ProbeResult {
        number,
        outcome: ProbeOutcome::Seen(states.await),
        names: Vec::new(),
    }
}

async fn look(
    target: ProbeTarget,
    choice: ProbeChoice,
    overlay: Option<&Overlay>,
    limit: Duration,
) -> PortState {
    let ProbeTarget {
        address,
        way,
        stays,
    } = target;
    let deadline = Instant::now() + limit;
    let stay = stays.then_some(limit);
    match way {
        ProbeWay::Overlay => match overlay {
            Some(overlay) => seen(overlay.tunnel.dial(address, deadline).await, stay).await,
            None => PortState::Failed,
        },
        ProbeWay::Underlay if !may_look(address, choice) => PortState::Forbidden,
        ProbeWay::Underlay => match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(met) => seen(met, stay).await,
            Err(_) => PortState::Silent,
        },
    }
}

/// What an attempt came to, with a stay of so long: on a connection where nobody speaks, the other side shows whether it serves or
/// throws out. Who speaks serves.
async fn seen(met: io::Result<impl AsyncRead + Unpin>, stay: Option<Duration>) -> PortState {
    let (mut stream, stay) = match (met, stay) {
        // Whoever refuses does so otherwise: this one had accepted, and the reset was faster than we.
        (Err(error), Some(_)) if error.kind() == io::ErrorKind::ConnectionReset => {
            return PortState::Dismissed;
        }
        (Err(error), _) => return state_of(&error),
        (Ok(_), None) => return PortState::Open,
        (Ok(stream), Some(stay)) => (stream, stay),
    };
    let Ok(Err(error)) = timeout(stay, stream.read_u8()).await else {
        return PortState::Open;
    };
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => PortState::Dismissed,
        _ => PortState::Failed,
    }
}

fn state_of(error: &io::Error) -> PortState {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => PortState::Refused,
        io::ErrorKind::TimedOut => PortState::Silent,
        io::ErrorKind::HostUnreachable => PortState::Unreachable,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => PortState::NoWay,
        _ => PortState::Failed,
    }
}

fn may_look(address: SocketAddr, choice: ProbeChoice) -> bool {
    match choice {
        ProbeChoice::Off => false,
        ProbeChoice::Public => is_public(address.ip()),
        ProbeChoice::Any => is_public(address.ip()) || is_private(address.ip()),
    }
}

/// An address of somebody's own network (RFC 1918, RFC 6598, RFC 4193).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || is_carrier_space(ip),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use malha_proto::MAX_PROBE_TIMEOUT_MS;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn underlay(addresses: &[SocketAddr]) -> ProbeOrder {
        let target = |address: &SocketAddr| ProbeTarget {
            address: *address,
            way: ProbeWay::Underlay,
            stays: false,
        };
        ProbeOrder {
            number: 7,
            timeout_ms: MAX_PROBE_TIMEOUT_MS,
            targets: addresses.iter().map(target).collect(),
            names: vec![],
        }
    }

    #[test]
    fn only_public_addresses_are_looked_at_unless_the_owner_says_more() {
        for (text, public, any) in [
            ("203.0.113.9:5500", true, true),
            ("8.8.8.8:53", true, true),
            ("[2001:db8::1]:443", true, true),
            ("10.0.0.1:22", false, true),
            ("172.31.0.1:22", false, true),
            ("192.168.0.1:22", false, true),
            ("100.64.0.1:22", false, true),
            ("100.127.255.255:22", false, true),
            ("[fd00::1]:22", false, true),
            ("127.0.0.1:8480", false, false),
            ("0.0.0.0:22", false, false),
            ("169.254.169.254:80", false, false),
            ("224.0.0.1:22", false, false),
            ("255.255.255.255:22", false, false),
            ("[::1]:8480", false, false),
            ("[::]:22", false, false),
            ("[fe80::1]:22", false, false),
            ("[ff02::1]:22", false, false),
            ("[::ffff:127.0.0.1]:8480", false, false),
            ("[::ffff:10.0.0.1]:22", false, false),
            ("[64:ff9b::a00:1]:22", false, false),
            ("[2002:a00:1::1]:22", false, false),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(may_look(address, ProbeChoice::Public), public, "{text}");
            assert_eq!(may_look(address, ProbeChoice::Any), any, "{text}");
            assert!(!may_look(address, ProbeChoice::Off), "{text}");
        }
    }

    #[tokio::test]
    async fn what_may_not_be_looked_at_is_not_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let order = underlay(&[listener.local_addr().unwrap()]);
        let result = probe_ports(order.clone(), ProbeChoice::Any, None).await;
        let seen = ProbeOutcome::Seen(vec![PortState::Forbidden]);
        assert_eq!((result.number, result.outcome), (7, seen));
        let off = probe_ports(order, ProbeChoice::Off, None).await;
        assert_eq!(off.outcome, ProbeOutcome::Off);
    }

    #[tokio::test]
    async fn without_a_tunnel_nothing_is_known_of_the_overlay() {
        let mut order = underlay(&["100.64.0.3:5500".parse().unwrap()]);
        order.targets[0].way = ProbeWay::Overlay;
        let result = probe_ports(order, ProbeChoice::Public, None).await;
        assert_eq!(result.outcome, ProbeOutcome::Seen(vec![PortState::Failed]));
    }

    /// What a machine that does this with a connection is seen to do by who stays so long.
    async fn met(
        limit_ms: u64,
        accept: impl AsyncFnOnce(TcpStream) -> Option<TcpStream>,
    ) -> PortState {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (accepted, _) = listener.accept().await.unwrap();
        let _kept = accept(accepted).await;
        seen(dialled, Some(Duration::from_millis(limit_ms))).await
    }

    #[tokio::test]
    async fn who_is_thrown_out_is_told_from_who_is_kept_or_spoken_to() {
        assert_eq!(met(3_000, async |_| None).await, PortState::Dismissed);
        let resets = async |stream: TcpStream| {
            stream.set_zero_linger().unwrap();
            None
        };
        assert_eq!(met(3_000, resets).await, PortState::Dismissed);
        let speaks = async |mut stream: TcpStream| {
            stream.write_u8(b'x').await.unwrap();
            None
        };
        assert_eq!(met(3_000, speaks).await, PortState::Open);
        assert_eq!(met(50, async |it| Some(it)).await, PortState::Open);
        for (kind, state) in [
            (io::ErrorKind::ConnectionReset, PortState::Dismissed),
            (io::ErrorKind::ConnectionRefused, PortState::Refused),
        ] {
            let failed = io::Result::<TcpStream>::Err(kind.into());
            assert_eq!(seen(failed, Some(Duration::ZERO)).await, state);
        }
    }

    #[tokio::test]
    async fn an_answer_is_told_from_a_refusal() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = closed.local_addr().unwrap();
        drop(closed);
        for (address, state) in [
            (open.local_addr().unwrap(), PortState::Open),
            (refusing, PortState::Refused),
        ] {
            assert_eq!(seen(TcpStream::connect(address).await, None).await, state);
        }
    }
}
