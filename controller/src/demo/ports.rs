//! The demo's ports: fixed, so that its lines can be copied; a taken one is named with the flag that changes it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// All on 127.0.0.1.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Ports {
    /// Public HTTPS, and the control channel on the same number (UDP and TCP).
    #[arg(long, default_value_t = 8443, env = "MALHA_DEMO_HTTPS_PORT")]
    pub https_port: u16,
    /// Public HTTP, which only redirects.
    #[arg(long, default_value_t = 8088, env = "MALHA_DEMO_HTTP_PORT")]
    pub http_port: u16,
    /// DNS, UDP and TCP.
    #[arg(long, default_value_t = 5300, env = "MALHA_DEMO_DNS_PORT")]
    pub dns_port: u16,
    /// The hub's WireGuard, UDP.
    #[arg(long, default_value_t = 51830, env = "MALHA_DEMO_WIREGUARD_PORT")]
    pub wireguard_port: u16,
    /// API and dashboard.
    #[arg(long, default_value_t = 8480, env = "MALHA_DEMO_DASHBOARD_PORT")]
    pub dashboard_port: u16,
    /// Prometheus metrics.
    #[arg(long, default_value_t = 9480, env = "MALHA_DEMO_METRICS_PORT")]
    pub metrics_port: u16,
    /// The garage's own web server.
    #[arg(long, default_value_t = 8089, env = "MALHA_DEMO_GARAGE_PORT")]
    pub garage_port: u16,
}

/// A port that someone else has.
#[derive(Debug, Error)]
#[error(
    "{protocol} port {port} on 127.0.0.1 can't be taken ({reason}); free it, or choose another with {flag}"
)]
pub(super) struct PortInUse {
    protocol: &'static str,
    port: u16,
    flag: &'static str,
    reason: std::io::Error,
}

/// What the node and its service remember: a later run in the same folder must have the same.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    https_port: u16,
    garage_port: u16,
}

/// A folder of another run.
#[derive(Debug, Error)]
#[error("this folder is of a demo with --https-port {} --garage-port {}; use them again, or another --data", .0.https_port, .0.garage_port)]
struct OtherPorts(Remembered);

/// One loopback address.
#[must_use]
pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Ports {
    /// Tries each port before anything starts.
    pub(super) fn check(&self) -> Result<(), PortInUse> {
        let all = [
            ("TCP", self.https_port, "--https-port"),
            ("UDP", self.https_port, "--https-port"),
            ("TCP", self.http_port, "--http-port"),
            ("UDP", self.dns_port, "--dns-port"),
            ("TCP", self.dns_port, "--dns-port"),
            ("UDP", self.wireguard_port, "--wireguard-port"),
            ("TCP", self.dashboard_port, "--dashboard-port"),
            ("TCP", self.metrics_port, "--metrics-port"),
            ("TCP", self.garage_port, "--garage-port"),
        ];
        for (protocol, port, flag) in all {
            let bound = match protocol {
                "UDP" => UdpSocket::bind(loopback(port)).map(drop),
                _ => TcpListener::bind(loopback(port)).map(drop),
            };
            bound.map_err(|reason| PortInUse {
                protocol,
                port,
                flag,
                reason,
            })?;
        }
        Ok(())
    }

    /// Notes the ports in a fresh folder, or finds that its former run had the same.
    pub(super) fn keep(&self, data: &Path) -> anyhow::Result<()> {
        let own = Remembered {
            https_port: self.https_port,
            garage_port: self.garage_port,
        };
        let file = data.join("ports.json");
        let former = match std::fs::read(&file) {
            Ok(former) => former,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return std::fs::write(&file, serde_json::to_vec(&own)?)
                    .with_context(|| file.display().to_string());
            }
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let former: Remembered =
            serde_json::from_slice(&former).with_context(|| file.display().to_string())?;
        if former == own {
            Ok(())
        } else {
            Err(OtherPorts(former).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn free_ports() -> Ports {
        let matches = Ports::augment_args(Command::new("demo")).get_matches_from(["demo"]);
        let mut ports = Ports::from_arg_matches(&matches).unwrap();
        let fields = [
            &mut ports.https_port,
            &mut ports.http_port,
            &mut ports.dns_port,
            &mut ports.wireguard_port,
            &mut ports.dashboard_port,
            &mut ports.metrics_port,
            &mut ports.garage_port,
        ];
        let held: Vec<_> = (0..fields.len())
            .map(|_| TcpListener::bind(loopback(0)).unwrap())
            .collect();
        for (field, listener) in fields.into_iter().zip(&held) {
            *field = listener.local_addr().unwrap().port();
        }
        ports
    }

    #[test]
    fn a_folder_of_other_ports_is_refused_with_their_flags() {
        let data = tempfile::tempdir().unwrap();
        let first = free_ports();
        first.keep(data.path()).unwrap();
        first.keep(data.path()).unwrap();
        let other = Ports {
            garage_port: first.garage_port ^ 1,
            ..first
        };
        let error = other.keep(data.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("--garage-port {}", first.garage_port)),
            "{error}"
        );
    }

    #[test]
    fn a_taken_port_is_named_with_the_flag_that_changes_it() {
        let ports = free_ports();
        let _taken = TcpListener::bind(loopback(ports.dns_port)).unwrap();
        let error = ports.check().unwrap_err().to_string();
        assert!(
            error.contains(&ports.dns_port.to_string()) && error.contains("--dns-port"),
            "{error}"
        );
    }
}
