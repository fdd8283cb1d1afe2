//! Every listener of a controller but the hub's, bound before anything is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use malha_dns::DnsServer;
use malha_pki::{ControlCertificate, server_config_control};
use malha_proxy::{Edge, EdgeConfig, EdgeLimits};
use rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::hub::{Hub, HubPorts};
use crate::session::{ControlListener, bind_udp};

use super::doors::Doors;

/// Where everything listens, port 0 resolved.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub control: Vec<SocketAddr>,
    pub hub: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub http: Vec<SocketAddr>,
    pub dns: Vec<SocketAddr>,
    pub api: SocketAddr,
    pub metrics: Option<SocketAddr>,
}

impl Addresses {
    /// The TCP ports, by the keys that name them.
    pub(super) fn hub_ports(&self) -> HubPorts {
        let named = |key: &'static str, all: &[SocketAddr]| -> Vec<_> {
            all.iter().map(|address| (key, *address)).collect()
        };
        HubPorts::new(
            [
                named("edge.https", &self.https),
                named("edge.http", &self.http),
                named("dns.listen", &self.dns),
                named("api.listen", &[self.api]),
                named("metrics.listen", self.metrics.as_slice()),
            ]
            .concat(),
        )
    }
}

pub(super) struct Listeners {
    pub(super) edge: Edge,
    pub(super) dns: Option<DnsServer>,
    pub(super) api: TcpListener,
    /// The dashboard for the edge: the same pages with cookies that are Secure.
    pub(super) behind_edge: TcpListener,
    pub(super) metrics: Option<TcpListener>,
    control_tls: ServerConfig,
}

impl Listeners {
    pub(super) fn bind(
        config: &Config,
        certificate: Arc<ControlCertificate>,
        doors: &Doors,
    ) -> anyhow::Result<Self> {
        let control_tls = server_config_control(certificate)?;
        let edge = EdgeConfig {
            http: config.edge.http.clone(),
            limits: EdgeLimits {
                drain: EDGE_DRAIN,
                ..EdgeLimits::default()
            },
            ..EdgeConfig::new(config.edge.https.clone(), config.edge.public_https_port)
        };
        let tcp = |address: SocketAddr, key: &str| {
            let listener = doors.tcp(address, std::net::TcpListener::bind);
            let listener = listener.and_then(TcpListener::from_std);
            listener.with_context(|| format!("TCP {address} can't be had; free it or change {key}"))
        };
        Ok(Self {
            control_tls,
            edge: Edge::bind_by(edge, |address| doors.tcp(address, malha_proxy::listen))
                .context("edge.https and edge.http")?,
            dns: match config.dns.listen.as_slice() {
                [] => None,
                addresses => {
                    let limits = malha_dns::Limits::default();
                    let udp = |address| doors.udp(address, malha_dns::bind_udp);
                    let tcp = |address| doors.tcp(address, malha_dns::bind_tcp);
                    let bound = DnsServer::bind_by(addresses, limits, udp, tcp);
                    Some(bound.context("dns.listen")?)
                }
            },
            api: tcp(config.api.listen, "api.listen")?,
            behind_edge: tcp(
                SocketAddr::from(([127, 0, 0, 1], 0)),
                "nothing: any loopback port will do",
            )?,
            metrics: match config.metrics.listen {
                Some(address) => Some(tcp(address, "metrics.listen")?),
                None => None,
            },
        })
    }

    /// On the hub's own UDP port where its tunnel can tell QUIC apart, else on sockets of its own.
    pub(super) async fn control(
        &self,
        config: &Config,
        hub: &Hub,
        doors: &Doors,
    ) -> anyhow::Result<ControlListener> {
        let sides = hub.take_quic().await?;
        Ok(match sides.is_empty() {
            true => {
                let open = |address| doors.udp(address, bind_udp);
                ControlListener::bind_by(&config.control.listen, self.control_tls.clone(), open)?
            }
            false => ControlListener::on_tunnel(sides, self.control_tls.clone())?,
        })
    }

    /// TLS of what the edge hands over: control sessions, and carriers, which begin as an HTTP request.
    pub(super) fn handoff_tls(&self) -> Arc<ServerConfig> {
        let mut tls = self.control_tls.clone();
        tls.alpn_protocols.push(CARRIER_ALPN.to_vec());
        Arc::new(tls)
    }

    pub(super) fn addresses(
        &self,
        control: Vec<SocketAddr>,
        hub: Vec<SocketAddr>,
    ) -> anyhow::Result<Addresses> {
        let edge = self.edge.local_addrs();
        Ok(Addresses {
            control,
            hub,
            https: edge.https,
            http: edge.http,
            dns: self
                .dns
                .as_ref()
                .map(DnsServer::local_addrs)
                .unwrap_or_default(),
            api: self.api.local_addr()?,
            metrics: self
                .metrics
                .as_ref()
                .map(TcpListener::local_addr)
                .transpose()?,
        })
    }
}

/// For requests under way at the end: whoever comes meanwhile waits as long.
const EDGE_DRAIN: Duration = Duration::from_secs(5);
const CARRIER_ALPN: &[u8] = b"http/1.1";
