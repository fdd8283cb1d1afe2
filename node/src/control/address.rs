//! A controller's addresses: resolved, both families in turn, tried one after the other with a small head start, the first
//! connection wins.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use super::unreachable;
use crate::agent::{LinkError, LinkFault};

/// More addresses of one name are not tried.
const MAX_ADDRESSES: usize = 8;

/// The start of one address before the next (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// For one address, TLS included.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn resolve(controller: &str) -> Result<Vec<SocketAddr>, LinkError> {
    let failed = |why: String| LinkError::new(LinkFault::Name, format!("{controller}: {why}"));
    let found = timeout(RESOLVE_LIMIT, tokio::net::lookup_host(controller))
        .await
        .map_err(|_| failed("the name server does not answer".into()))?
        .map_err(|error| failed(error.to_string()))?;
    let addresses = in_turn(found);
    match addresses.is_empty() {
        true => Err(failed("the name has no address".into())),
        false => Ok(addresses),
    }
}

/// The first connection of all addresses; otherwise the error that says most.
pub(crate) async fn first<T, F>(
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

fn in_turn(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = found.partition(SocketAddr::is_ipv6);
    let mut turns = Vec::new();
    for nth in 0..v6.len().max(v4.len()) {
        turns.extend(v6.get(nth));
        turns.extend(v4.get(nth));
    }
    turns.truncate(MAX_ADDRESSES);
    turns
}
