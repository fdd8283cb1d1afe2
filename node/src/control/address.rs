//! The addresses of a controller or a proxy, tried one after the other with a small head start: the first connection wins.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use super::lookup::look_up;
use super::unreachable;
use crate::agent::{LinkError, LinkFault};

/// The start of one address before the next (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// For one address, TLS included.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Connects to the first address of `place` (`host:port`) that takes it.
pub(crate) async fn reach<T, F>(
    place: &str,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, LinkError>
where
    F: Future<Output = Result<T, LinkError>>,
{
    let (addresses, stale) = look_up(place).await?;
    let reached = first(&addresses, connect).await;
    reached.map_err(|error| judged(error, stale))
}

/// What went wrong, and what the name server did, in whose place a former answer served.
fn judged(error: LinkError, stale: Option<LinkError>) -> LinkError {
    match stale {
        Some(why) => LinkError::new(error.fault, format!("{error}; {why}")),
        None => error,
    }
}

/// The first connection of all addresses, or a proxy's no; otherwise the error that says most.
pub(super) async fn first<T, F>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, LinkError>
where
    F: Future<Output = Result<T, LinkError>>,
{
    let connect = &connect;
    let mut attempts: FuturesUnordered<_> = (0_u32..)
        .zip(addresses)
        .map(|(nth, to)| async move {
            sleep(HEAD_START * nth).await;
            match timeout(CONNECT_LIMIT, connect(*to)).await {
                Ok(connected) => connected,
                Err(_) => Err(unreachable(format!("{to}: no answer"))),
            }
        })
        .collect();
    let mut worst: Option<LinkError> = None;
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(connected) => return Ok(connected),
            // Its other addresses would be shown the same credentials.
            Err(error) if error.fault == LinkFault::ProxyRefused => return Err(error),
            Err(error) => {
                if worst
                    .as_ref()
                    .is_none_or(|known| says_more(error.fault, known.fault))
                {
                    worst = Some(error);
                }
            }
        }
    }
    Err(worst.unwrap_or_else(|| unreachable("no address to try")))
}

/// An answer that is wrong says more than silence.
fn says_more(fault: LinkFault, known: LinkFault) -> bool {
    known == LinkFault::Unreachable && fault != LinkFault::Unreachable
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_no_of_the_proxy_is_not_asked_for_at_its_next_address() {
        let addresses = ["192.0.2.1:3128", "192.0.2.2:3128"].map(|it| it.parse().unwrap());
        for (fault, expected) in [(LinkFault::ProxyRefused, 1), (LinkFault::Proxy, 2)] {
            let asked = Cell::new(0);
            let refused = |_| {
                asked.set(asked.get() + 1);
                async move { Err::<(), _>(LinkError::new(fault, "no")) }
            };
            let error = first(&addresses, refused).await.unwrap_err();
            assert_eq!((error.fault, asked.get()), (fault, expected));
        }
    }

    #[test]
    fn a_controller_that_refuses_is_not_blamed_on_a_silent_name_server() {
        let name = LinkError::new(LinkFault::Name, "no name server answers within 1 s");
        let told = judged(unreachable("192.0.2.1:443: refused"), Some(name));
        assert_eq!(told.fault, LinkFault::Unreachable);
        let both = "192.0.2.1:443: refused; no name server answers within 1 s";
        assert_eq!(told.to_string(), both);
    }
}
