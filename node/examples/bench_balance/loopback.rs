//! The race on the loopback: no tunnel on any side.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use malha_proxy::balance::{
    Backend, Balancer, Connector, KernelConnector, KernelListener, Link, MAX_CONNECTIONS, Mode,
    Spec, Way,
};
use socket2::{Domain, Socket, Type};

use crate::THREADS;
use crate::contender::{Contender, Process, haproxy};
use crate::load::server;

pub(crate) fn contenders() -> io::Result<Vec<Contender>> {
    let here = Ipv4Addr::LOCALHOST.into();
    let servers = [server(here, 0)?, server(here, 0)?];
    let malha = |name, word: &str| {
        let address = free()?;
        let words = [address, servers[0], servers[1]].map(|it| it.to_string());
        let words = [word, words[0].as_str(), &words[1], &words[2]];
        Contender::ready(name, address, Process::this(&words)?, None, None)
    };
    let theirs = |name, option| {
        let address = free()?;
        let process = haproxy(None, address, ("", option), servers)?;
        Contender::ready(name, address, process, None, None)
    };
    Ok(vec![
        malha("malha", "serve")?,
        malha("malha, bound", "serve-bound")?,
        theirs("haproxy", "")?,
        theirs("haproxy splice", "    option splice-auto\n")?,
    ])
}

/// The balancer at the first address, before servers at the others, until it is killed.
pub(crate) fn serve(addresses: &[&str]) -> io::Result<()> {
    balance(addresses, Arc::new(KernelConnector))
}

/// The same, reaching servers as an agent does.
pub(crate) fn serve_bound(addresses: &[&str]) -> io::Result<()> {
    balance(addresses, Arc::new(Bound))
}

/// On a runtime like the agent's.
fn balance(addresses: &[&str], connector: Arc<dyn Connector>) -> io::Result<()> {
    let addresses: Vec<SocketAddr> = addresses.iter().filter_map(|it| it.parse().ok()).collect();
    let Some((address, servers)) = addresses.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let backends = servers.iter().zip(1..).map(|(address, id)| Backend {
            id,
            address: *address,
            mode: Mode::Serve,
        });
        let mut spec = Spec::new(backends.collect());
        spec.limits.connections_per_source = MAX_CONNECTIONS;
        let listener = KernelListener::bind(*address)?;
        let _balancer =
            Balancer::start(spec, vec![Box::new(listener)], connector).map_err(io::Error::other)?;
        std::future::pending().await
    })
}

/// Reaches servers as an agent does through a tunnel's interface: from its own address, and by no other interface.
struct Bound;

#[async_trait]
impl Connector for Bound {
    async fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Link> {
        KernelConnector.connect(address, limit).await
    }

    fn has_ways(&self) -> bool {
        true
    }

    async fn way(&self, _: SocketAddr) -> Option<Way> {
        Some(Way {
            sockets: Box::new(|| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
                socket.bind_device(Some(b"lo"))?;
                socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
                Ok(socket.into())
            }),
            cut: None,
        })
    }
}

fn free() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
