//! The datagram loop of one address: one query in, at most one answer out. It never answers more than
//! its rate allows and never keeps anything between datagrams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use malha_zone::{Transport, Zones, answer, truncated_answer};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::counters::{DnsCounters, DnsEvent};
use crate::limits::{Clients, Limits, MAX_QUERY_BYTES};
use crate::rate::{RateLimiter, Verdict};

pub(crate) async fn serve(
    socket: UdpSocket,
    zones: watch::Receiver<Arc<Zones>>,
    limits: Limits,
    counters: Arc<DnsCounters>,
    cancel: CancellationToken,
) {
    let Ok(asked) = socket.local_addr() else {
        return;
    };
    let mut service = Service {
        socket,
        asked,
        clients: limits.clients,
        zones,
        limiter: limits
            .udp_rate
            .map(|rate| RateLimiter::new(rate, Instant::now())),
        counters,
    };
    cancel.run_until_cancelled(service.run()).await;
}

struct Service {
    socket: UdpSocket,
    /// Its own address.
    asked: SocketAddr,
    clients: Clients,
    zones: watch::Receiver<Arc<Zones>>,
    limiter: Option<RateLimiter>,
    counters: Arc<DnsCounters>,
}

impl Service {
    async fn run(&mut self) {
        let mut buffer = vec![0; MAX_QUERY_BYTES];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, client)) => self.handle(&buffer[..length], client).await,
                Err(error) => {
                    // An error that stays must not spin.
                    warn!(%error, "receiving a DNS datagram failed");
                    tokio::time::sleep(RECEIVE_PAUSE).await;
                }
            }
        }
    }

    async fn handle(&mut self, query: &[u8], client: SocketAddr) {
        if client.port() == 0 || !self.clients.includes(client, self.asked) {
            return self.counters.count(DnsEvent::Ignored);
        }
        let verdict = match &mut self.limiter {
            Some(limiter) => limiter.judge(client.ip(), Instant::now()),
            None => Verdict::Answer,
        };
        let answered = match verdict {
            Verdict::Answer => {
                let zones = Arc::clone(&self.zones.borrow());
                answer(&zones, query, Transport::Udp)
            }
            Verdict::Truncate => truncated_answer(query),
            Verdict::Drop => return self.counters.count(DnsEvent::LimitedDropped),
        };
        let Some(answer) = answered else {
            return self.counters.count(DnsEvent::Ignored);
        };
        if self.socket.send_to(&answer.bytes, client).await.is_err() {
            return self.counters.count(DnsEvent::UdpSendFailed);
        }
        if verdict == Verdict::Truncate {
            self.counters.count(DnsEvent::LimitedTruncated);
        } else if answer.truncated {
            self.counters.count(DnsEvent::Truncated);
        }
        self.counters.count_answer(Transport::Udp, answer.rcode);
    }
}

const RECEIVE_PAUSE: Duration = Duration::from_millis(10);
