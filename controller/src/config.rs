//! `malha.toml`: one file, unknown keys refused, every value checked before anything starts. It holds no secret.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use malha_proto::HostName;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Everything a controller is told from outside. Each part has defaults for a real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The data folder; relative paths start at the folder of this file.
    pub data: PathBuf,
    /// A file with the 32-byte master key, mode 0600; default `master.key` in the data folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<PathBuf>,
    pub control: Control,
    pub hub: Hub,
    pub edge: Edge,
    #[serde(default)]
    pub dns: Dns,
    #[serde(default)]
    pub api: Api,
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default)]
    pub checks: Checks,
    #[serde(default)]
    pub log: Log,
}

/// The control channel: QUIC on UDP and TLS on TCP, same port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// UDP addresses. The TCP side is the edge's HTTPS listener, told apart by ALPN.
    #[serde(default = "any_443")]
    pub listen: Vec<SocketAddr>,
    /// What nodes dial, `host:port`; goes into tokens.
    pub addresses: Vec<String>,
}

/// The node beside the controller, to which every other node keeps a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// WireGuard, UDP.
    #[serde(default = "any_51820")]
    pub listen: Vec<SocketAddr>,
    /// Where nodes reach it from outside.
    pub endpoints: Vec<SocketAddr>,
    #[serde(default)]
    pub engine: EngineChoice,
    /// Of the `userspace` engine.
    #[serde(default = "interface")]
    pub interface: String,
    #[serde(default = "mtu")]
    pub mtu_bytes: u16,
    /// Whether batches of packets are left to the kernel to cut and join; off for kernels that do it wrong.
    #[serde(default = "offload")]
    pub offload: bool,
    /// Threads of the engine `userspace`; as many as suit the machine if nothing is said.
    #[serde(default)]
    pub tunnel_shards: Option<usize>,
}

/// Which data plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineChoice {
    /// `userspace` where a TUN device can be made, else `netstack`.
    #[default]
    Auto,
    Userspace,
    Netstack,
    /// Only by name: a hub whose WireGuard is the kernel's is no relay, and nobody reaches it over TCP.
    Kernel,
}

/// Public traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    #[serde(default = "any_443")]
    pub https: Vec<SocketAddr>,
    /// Only redirects to HTTPS.
    #[serde(default = "any_80")]
    pub http: Vec<SocketAddr>,
    /// Public addresses: what the DNS answers for route names.
    pub addresses: Vec<IpAddr>,
    /// The port in redirects, where the public one is not the listener's.
    #[serde(default = "port_443")]
    pub public_https_port: u16,
}

/// The authoritative DNS server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// UDP and TCP; empty: no DNS server.
    pub listen: Vec<SocketAddr>,
}

/// API and dashboard, plain HTTP on loopback only; from outside through the edge under `public_host`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    pub listen: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_host: Option<HostName>,
}

/// Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
}

/// Checks of what organizations declare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// How often each organization is checked by itself; 0: only when somebody asks.
    pub every_hours: u16,
}

/// What is logged, to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter, like `info` or `malha=debug,info`.
    pub level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

/// Why a configuration can't be used; names the file, the key and what would be right.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{}: {source}; make one with `malha init`, or name it with --config", .path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: line {line}: {message}", .path.display())]
    Parse {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("{}: {key}: {problem}", .path.display())]
    Value {
        path: PathBuf,
        key: &'static str,
        problem: String,
    },
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            ConfigError::Parse {
                path: path.to_owned(),
                line: before.unwrap_or_default().matches('\n').count() + 1,
                message: error.message().trim().replace('\n', "; "),
            }
        })?;
        config.problem().map_or(Ok(()), |(key, problem)| {
            Err(ConfigError::Value {
                path: path.to_owned(),
                key,
                problem,
            })
        })?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        config.data = folder.join(&config.data);
        config.master_key = config.master_key.map(|file| folder.join(file));
        Ok(config)
    }

    /// The file that holds the master key.
    #[must_use]
    pub fn master_key_file(&self) -> PathBuf {
        self.master_key
            .clone()
            .unwrap_or_else(|| self.data.join("master.key"))
    }

    /// A configuration for one public server, as `malha init` writes it.
    #[must_use]
    pub fn for_server(data: PathBuf, host: &str, address: IpAddr) -> Self {
        Self {
            data,
            master_key: None,
            control: Control {
                listen: any_443(),
                addresses: vec![format!("{host}:443")],
            },
            hub: Hub {
                listen: any_51820(),
                endpoints: vec![SocketAddr::new(address, HUB_PORT)],
                engine: EngineChoice::Auto,
                interface: interface(),
                mtu_bytes: mtu(),
                offload: offload(),
                tunnel_shards: None,
            },
            edge: Edge {
                https: any_443(),
                http: any_80(),
                addresses: vec![address],
                public_https_port: port_443(),
            },
            dns: Dns::default(),
            api: Api {
                public_host: host.parse().ok(),
                ..Api::default()
            },
            metrics: Metrics::default(),
            checks: Checks::default(),
            log: Log::default(),
        }
    }

    fn problem(&self) -> Option<(&'static str, String)> {
        if self.control.addresses.is_empty()
            || self.control.addresses.len() > malha_proto::MAX_TOKEN_ADDRESSES
        {
            let most = malha_proto::MAX_TOKEN_ADDRESSES;
            return Some((
                "control.addresses",
                format!("give 1 to {most} of host:port that nodes can reach"),
            ));
        }
        if self.hub.endpoints.is_empty() {
            return Some((
                "hub.endpoints",
                "give at least one address:port that nodes can reach".to_owned(),
            ));
        }
        let listeners = [
            ("control.listen", &self.control.listen),
            ("hub.listen", &self.hub.listen),
            ("edge.https", &self.edge.https),
        ];
        if let Some((key, _)) = listeners.into_iter().find(|(_, listen)| listen.is_empty()) {
            return Some((
                key,
                "give at least one address:port to listen on".to_owned(),
            ));
        }
        if !self.api.listen.ip().is_loopback() {
            let problem = format!(
                "{} is not a loopback address; set api.public_host instead, then API and dashboard answer there over HTTPS",
                self.api.listen
            );
            return Some(("api.listen", problem));
        }
        if !(1_280..=9_000).contains(&self.hub.mtu_bytes) {
            return Some(("hub.mtu_bytes", "must be 1280 to 9000".to_owned()));
        }
        let shards = self.hub.tunnel_shards;
        if shards.is_some_and(|shards| !(1..=malha_tunnel::MAX_SHARDS).contains(&shards)) {
            let problem = "must be 1 to 16; left out, it is what suits the machine";
            return Some(("hub.tunnel_shards", problem.to_owned()));
        }
        self.problem_name()
    }

    fn problem_name(&self) -> Option<(&'static str, String)> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.hub.interface.is_empty()
            || self.hub.interface.len() > 15
            || !self.hub.interface.chars().all(plain)
        {
            return Some((
                "hub.interface",
                "1 to 15 letters, digits, '-' or '_'".to_owned(),
            ));
        }
        None
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self { listen: any(53) }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: DEFAULT_API,
            public_host: None,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: Some(DEFAULT_METRICS),
        }
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self { every_hours: 24 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            level: "info".to_owned(),
        }
    }
}

fn any(port: u16) -> Vec<SocketAddr> {
    let v6 = std::net::Ipv6Addr::UNSPECIFIED;
    vec![
        SocketAddr::from(([0, 0, 0, 0], port)),
        SocketAddr::from((v6, port)),
    ]
}

fn any_443() -> Vec<SocketAddr> {
    any(443)
}

fn any_80() -> Vec<SocketAddr> {
    any(80)
}

fn any_51820() -> Vec<SocketAddr> {
    any(HUB_PORT)
}

fn port_443() -> u16 {
    443
}

fn interface() -> String {
    "malha0".to_owned()
}

fn mtu() -> u16 {
    1_280
}

fn offload() -> bool {
    true
}

const HUB_PORT: u16 = 51_820;

/// Where API and dashboard listen, and where the CLI looks for them.
pub const DEFAULT_API: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8_480);
const DEFAULT_METRICS: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9_480);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("malha.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    fn server() -> Config {
        Config::for_server("data".into(), "hub.example", "192.0.2.1".parse().unwrap())
    }

    #[test]
    fn what_init_writes_reads_back() {
        let text = toml::to_string(&server()).unwrap();
        let config = read(&text).unwrap();
        assert_eq!(config.control, server().control);
        assert!(config.data.is_absolute() && config.data.ends_with("data"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let text = toml::to_string(&server())
            .unwrap()
            .replace("[dns]", "[dns]\nlisten_on = 53");
        let error = read(&text).unwrap_err().to_string();
        assert!(
            error.contains("listen_on") && error.contains("line"),
            "{error}"
        );
    }

    #[test]
    fn an_api_open_to_the_network_is_refused_with_the_right_way() {
        let mut config = server();
        config.api.listen = "0.0.0.0:8480".parse().unwrap();
        let error = read(&toml::to_string(&config).unwrap())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("api.listen") && error.contains("api.public_host"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let error = Config::read(Path::new("/nonexistent/malha.toml"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("malha init"), "{error}");
    }
}
