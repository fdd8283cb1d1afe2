//! The race on the loopback: no tunnel on any side.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use malha_proxy::balance::{
    Backend, Balancer, Connector, KernelConnector, KernelListener, Link, MAX_CONNECTIONS, Mode,
    Spec, Way,
};
use socket2::{Domain, Socket, Type};

use super::contender::{Contender, haproxy, like_an_agent};
use super::load::server;
use crate::lab::Process;

pub(super) fn contenders(folder: &Path) -> Result<Vec<Contender>> {
    let here = Ipv4Addr::LOCALHOST.into();
    let servers = [server(here, 0)?, server(here, 0)?];
    let malha = |name, word: &str| {
        let address = free()?;
        let words = [address, servers[0], servers[1]].map(|it| it.to_string());
        let mut command = Command::new(std::env::current_exe()?);
        let log = folder.join(format!("{word}.log"));
        let process = Process::start(name, command.arg(word).args(words), &log)?;
        Contender::ready(name, address, Arc::new(process), None)
    };
    let theirs = |name, option| {
        let address = free()?;
        let command = Command::new("haproxy");
        let process = haproxy(command, folder, address, ("", option), servers)?;
        Contender::ready(name, address, Arc::new(process), None)
    };
    Ok(vec![
        malha("malha", "serve")?,
        malha("malha, bound", "serve-bound")?,
        theirs("haproxy", "")?,
        theirs("haproxy splice", "    option splice-auto\n")?,
    ])
}

/// The balancer at the first address, before servers at the others, until it is killed.
pub(super) fn serve(addresses: &[&str]) -> Result<()> {
    balance(addresses, Arc::new(KernelConnector))
}

/// The same, reaching servers as an agent does.
pub(super) fn serve_bound(addresses: &[&str]) -> Result<()> {
    balance(addresses, Arc::new(Bound))
}

fn balance(addresses: &[&str], connector: Arc<dyn Connector>) -> Result<()> {
    let addresses = addresses.iter().map(|it| it.parse());
    let addresses = addresses.collect::<Result<Vec<SocketAddr>, _>>()?;
    let (address, servers) = addresses.split_first().context("no address")?;
    like_an_agent(async {
        let backends = servers.iter().zip(1..).map(|(address, id)| Backend {
            id,
            address: *address,
            mode: Mode::Serve,
        });
        let mut spec = Spec::new(backends.collect());
        spec.limits.connections_per_source = MAX_CONNECTIONS;
        let listener = KernelListener::bind(*address)?;
        let _balancer = Balancer::start(spec, vec![Box::new(listener)], connector)?;
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
