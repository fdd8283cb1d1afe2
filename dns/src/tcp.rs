//! DNS over TCP (RFC 7766): accepting within limits, and one task per connection that answers its
//! pipelined queries in order. A client that idles, reads slowly or breaks the framing is cut.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use malha_zone::{Transport, Zones, answer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::counters::{DnsCounters, DnsEvent};
use crate::limits::{Limits, MAX_QUERY_BYTES};
use crate::source::connection_network;

/// Accepts on all `listeners` until cancelled; then each connection is closed when its client has an answer, at the latest after
/// [`FINISH_LIMIT`].
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    zones: watch::Receiver<Arc<Zones>>,
    limits: Limits,
    counters: Arc<DnsCounters>,
    cancel: CancellationToken,
) {
    let mut acceptor = Acceptor {
        listeners,
        first: 0,
        zones,
        limits,
        counters,
        ending: cancel.clone(),
        connections: JoinSet::new(),
        networks: BTreeMap::new(),
        per_network: BTreeMap::new(),
    };
    cancel.run_until_cancelled(acceptor.run()).await;
    // Nobody is let in whom nobody would answer.
    acceptor.listeners.clear();
    let all_ended = async { while acceptor.connections.join_next().await.is_some() {} };
    // What is left then is cut.
    let _ = timeout(FINISH_LIMIT, all_ended).await;
    acceptor.connections.shutdown().await;
}

struct Acceptor {
    listeners: Vec<TcpListener>,
    /// The listener asked first, so that a flood on one address does not starve the others.
    first: usize,
    zones: watch::Receiver<Arc<Zones>>,
    limits: Limits,
    counters: Arc<DnsCounters>,
    ending: CancellationToken,
    connections: JoinSet<()>,
    networks: BTreeMap<Id, IpAddr>,
    per_network: BTreeMap<IpAddr, usize>,
}

impl Acceptor {
    async fn run(&mut self) {
        loop {
            tokio::select! {
                Some(ended) = self.connections.join_next_with_id() => self.release(ended),
                accepted = accept_any(&self.listeners, self.first) => match accepted {
                    Ok((stream, client)) => self.admit(stream, client),
                    Err(error) => {
                        // Out of descriptors is the common case, and it lasts.
                        warn!(%error, "accepting a DNS connection failed");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, client: SocketAddr) {
        self.first = (self.first + 1) % self.listeners.len();
        let asked = stream.local_addr();
        if !asked.is_ok_and(|asked| self.limits.clients.includes(client, asked)) {
            return self.counters.count(DnsEvent::TcpRefused);
        }
        let network = connection_network(client.ip());
        let open = self.per_network.get(&network).copied().unwrap_or(0);
        let full = self.connections.len() >= self.limits.tcp_connections;
        if full || open >= self.limits.tcp_connections_per_source {
            return self.counters.count(DnsEvent::TcpRefused);
        }
        self.counters.count(DnsEvent::TcpAccepted);
        let connection = Connection {
            stream: BufReader::new(stream),
            zones: self.zones.clone(),
            limits: self.limits,
            counters: Arc::clone(&self.counters),
            ending: self.ending.clone(),
        };
        let task = self.connections.spawn(connection.run()).id();
        self.networks.insert(task, network);
        *self.per_network.entry(network).or_default() += 1;
    }

    fn release(&mut self, ended: Result<(Id, ()), JoinError>) {
        let task = match ended {
            Ok((task, ())) => task,
            Err(failure) => {
                error!(%failure, "a DNS connection ended by a defect of this program");
                failure.id()
            }
        };
        let Some(network) = self.networks.remove(&task) else {
            return;
        };
        if let Some(open) = self.per_network.get_mut(&network) {
            *open -= 1;
            if *open == 0 {
                self.per_network.remove(&network);
            }
        }
    }
}

async fn accept_any(
    listeners: &[TcpListener],
    first: usize,
) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        let (before, from) = listeners.split_at(first);
        for listener in from.iter().chain(before) {
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

struct Connection {
    stream: BufReader<TcpStream>,
    zones: watch::Receiver<Arc<Zones>>,
    limits: Limits,
    counters: Arc<DnsCounters>,
    ending: CancellationToken,
}

/// How a connection goes on after one query.
enum Next {
    Query,
    /// The client closed the connection between two queries.
    Closed,
    Cut,
}

impl Connection {
    async fn run(mut self) {
        // Answers are whole messages, written at once; waiting for more only delays them.
        let _ = self.stream.get_ref().set_nodelay(true);
        let mut query = Vec::new();
        let mut idle_until = Instant::now() + self.limits.tcp_idle;
        loop {
            match self.exchange(&mut query, idle_until).await {
                Next::Query => {}
                Next::Closed => return,
                Next::Cut => return self.counters.count(DnsEvent::TcpCut),
            }
            idle_until = Instant::now() + self.limits.tcp_idle;
            // Whoever has been answered may be left between two queries.
            tokio::select! {
                biased;
                _ = timeout_at(idle_until, self.stream.fill_buf()) => {}
                () = self.ending.cancelled() => return,
            }
        }
    }

    async fn exchange(&mut self, query: &mut Vec<u8>, idle_until: Instant) -> Next {
        match timeout_at(idle_until, read_query(&mut self.stream, query)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Next::Closed,
            Ok(Err(_)) | Err(_) => return Next::Cut,
        }
        let zones = Arc::clone(&self.zones.borrow());
        let Some(answer) = answer(&zones, query, Transport::Tcp) else {
            self.counters.count(DnsEvent::Ignored);
            return Next::Cut;
        };
        let Ok(length) = u16::try_from(answer.bytes.len()) else {
            return Next::Cut;
        };
        let frame = [&length.to_be_bytes()[..], &answer.bytes].concat();
        let write = self.stream.get_mut().write_all(&frame);
        match timeout(self.limits.tcp_write, write).await {
            Ok(Ok(())) => {
                self.counters.count_answer(Transport::Tcp, answer.rcode);
                Next::Query
            }
            Ok(Err(_)) | Err(_) => Next::Cut,
        }
    }
}

/// Reads one framed query; false when the client closed the connection before its first byte.
async fn read_query(stream: &mut BufReader<TcpStream>, query: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 2];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(false);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_QUERY_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    query.resize(length, 0);
    stream.read_exact(query).await?;
    Ok(true)
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For clients that have connected and not been answered when the server ends.
const FINISH_LIMIT: Duration = Duration::from_secs(1);
