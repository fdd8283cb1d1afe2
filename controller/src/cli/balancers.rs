//! `malha balancer …`.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use http::Method;
use malha_proto::{BackendCondition, BackendMode, Prefix};
use serde_json::json;

use crate::api::{Balancer, BalancerBackend, BalancerHealth, BalancerSettings};
use crate::cli::exit::{Exit, Failure};
use crate::cli::policy::show::opening;
use crate::cli::screen::{Screen, size};
use crate::cli::session::{Row, Session, parse};
use crate::cli::text::{self, Word};
use crate::cli::tokens::plain;
use crate::client::part;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum BalancerCommand {
    /// Spread a port of a node over services of other nodes
    Add {
        /// `ORG/SITE/NODE` of profile balancer or edge; the controller's own is malha/hub/hub
        node: String,
        /// One DNS label, like `xroad`
        name: String,
        #[arg(long, env = "MALHA_PORT")]
        port: u16,
        /// A service of another node; several times for several
        #[arg(
            long = "backend",
            env = "MALHA_BACKEND",
            required = true,
            value_delimiter = ','
        )]
        backends: Vec<String>,
        /// `tunnel`: on the overlay address; `public`: on all addresses of the machine
        #[arg(long, env = "MALHA_EXPOSURE", default_value = "tunnel", value_parser = PossibleValuesParser::new(["tunnel", "public"]))]
        exposure: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// List balancers
    List,
    /// Show a balancer and the state of each server behind it
    Show {
        /// `ORG/SITE/NODE/BALANCER`, `NODE/BALANCER`, or id
        balancer: String,
    },
    /// Change what is given, leave the rest
    Set {
        balancer: String,
        /// The services instead of those of now
        #[arg(long = "backend", env = "MALHA_BACKEND", value_delimiter = ',')]
        backends: Vec<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Let a server have connections again
    Resume { balancer: String, service: String },
    /// No new connections for a server; those that are open go on
    Drain { balancer: String, service: String },
    /// No new connections for a server and no checks; those that are open after a minute are reset
    Maintenance { balancer: String, service: String },
    /// Remove a balancer; its connections are reset
    Remove { balancer: String },
}

/// What can be told of a balancer.
#[derive(Clone, Debug, Args)]
pub(super) struct Settings {
    /// How a server is chosen
    #[arg(long, env = "MALHA_ALGORITHM", value_parser = PossibleValuesParser::new(["least-connections", "source-affinity"]))]
    algorithm: Option<String>,
    /// `tcp`, or a health port with its path that answers 200, like 5588/
    #[arg(long, env = "MALHA_HEALTH", value_name = "tcp|PORT/PATH")]
    health: Option<String>,
    /// What servers hear of the client first; X-Road understands none
    #[arg(long, env = "MALHA_PROXY_PROTOCOL", value_parser = PossibleValuesParser::new(["none", "v1", "v2"]))]
    proxy_protocol: Option<String>,
    /// From one check to the next
    #[arg(long, env = "MALHA_CHECK_INTERVAL_MS")]
    check_interval_ms: Option<u32>,
    /// For one connection attempt to a server
    #[arg(long, env = "MALHA_CONNECT_MS")]
    connect_ms: Option<u32>,
    /// Without a byte in either direction
    #[arg(long, env = "MALHA_IDLE_S")]
    idle_s: Option<u32>,
    /// How long a server that came back grows to its whole share
    #[arg(long, env = "MALHA_SLOW_START_S")]
    slow_start_s: Option<u32>,
    /// Open at once
    #[arg(long, env = "MALHA_CONNECTIONS")]
    connections: Option<u32>,
    /// The same from one source
    #[arg(long, env = "MALHA_CONNECTIONS_PER_SOURCE")]
    connections_per_source: Option<u32>,
    /// Take connections from these prefixes only, or from `any`
    #[arg(long = "allow", env = "MALHA_ALLOW", value_delimiter = ',')]
    allowed_sources: Vec<String>,
}

impl BalancerCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Add {
                node,
                name,
                port,
                backends,
                exposure,
                settings,
            } => {
                let settings = settings.over(BalancerSettings::default())?;
                let body = json!({
                    "node": node, "name": name, "port": port, "exposure": exposure, "backends": backends,
                    "settings": settings,
                });
                session
                    .write::<Balancer>(Method::POST, "/balancers", &body)
                    .await
            }
            Self::List => session.list::<Balancer>("/balancers", &[]).await,
            Self::Show { balancer } => session.show::<Balancer>(&at(&balancer)).await,
            Self::Set {
                balancer,
                backends,
                settings,
            } => {
                let now: Balancer = parse(session.client().read(&at(&balancer)).await?)?;
                let same = now.backends.iter().map(|it| it.service_id.to_string());
                let backends = match backends.is_empty() {
                    true => same.collect(),
                    false => backends,
                };
                let body =
                    json!({ "backends": backends, "settings": settings.over(now.settings)? });
                session
                    .write::<Balancer>(Method::PUT, &at(&balancer), &body)
                    .await
            }
            Self::Resume { balancer, service } => mode(session, &balancer, service, "serve").await,
            Self::Drain { balancer, service } => mode(session, &balancer, service, "drain").await,
            Self::Maintenance { balancer, service } => {
                mode(session, &balancer, service, "maintenance").await
            }
            Self::Remove { balancer } => session.remove(&at(&balancer)).await,
        }
    }
}

impl Settings {
    /// Those of before, with what was given in their place.
    fn over(self, mut it: BalancerSettings) -> Result<BalancerSettings, Failure> {
        if let Some(algorithm) = self.algorithm {
            it.algorithm = parse(json!(algorithm))?;
        }
        if let Some(health) = self.health {
            it.health = health_port(&health)?;
        }
        if let Some(version) = self.proxy_protocol {
            it.proxy_protocol = match version.as_str() {
                "none" => None,
                version => parse(json!(version))?,
            };
        }
        if !self.allowed_sources.is_empty() {
            let named = self.allowed_sources.iter().filter(|it| *it != "any");
            let prefixes = named.map(|it| it.parse::<Prefix>());
            it.allowed_sources = prefixes
                .collect::<Result<_, _>>()
                .map_err(|error| Failure::new(Exit::Usage, format!("--allow: {error}")))?;
        }
        let numbers = [
            (&mut it.check_interval_ms, self.check_interval_ms),
            (&mut it.connect_ms, self.connect_ms),
            (&mut it.idle_s, self.idle_s),
            (&mut it.slow_start_s, self.slow_start_s),
            (&mut it.connections, self.connections),
            (&mut it.connections_per_source, self.connections_per_source),
        ];
        for (held, given) in numbers {
            *held = given.unwrap_or(*held);
        }
        Ok(it)
    }
}

fn at(balancer: &str) -> String {
    format!("/balancers/{}", part(balancer))
}

async fn mode(
    session: &Session,
    balancer: &str,
    service: String,
    mode: &str,
) -> Result<(), Failure> {
    let path = format!("{}/mode", at(balancer));
    let body = json!({ "service": service, "mode": mode });
    session.write::<Balancer>(Method::PUT, &path, &body).await
}

fn health_port(text: &str) -> Result<Option<BalancerHealth>, Failure> {
    if text == "tcp" {
        return Ok(None);
    }
    let (port, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let port = port
        .parse()
        .ok()
        .and_then(malha_proto::Port::new)
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "--health: write tcp, or a port with its path, like 5588/",
            )
        })?;
    let path = if path.is_empty() { "/" } else { path };
    Ok(Some(BalancerHealth {
        port,
        path: path.to_owned(),
    }))
}

impl Row for Balancer {
    const COLUMNS: &'static [Word] = &[
        Word::Name,
        Word::State,
        Word::Port,
        Word::Exposure,
        Word::Algorithm,
        Word::Backends,
        Word::Connections,
        Word::Id,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        vec![
            self.path.clone(),
            self.standing(screen),
            self.port.to_string(),
            plain(&self.exposure),
            plain(&self.settings.algorithm),
            self.up(),
            (self.live.as_ref()).map_or_else(String::new, |it| it.counts.open.to_string()),
            self.id.to_string(),
        ]
    }

    fn details(&self, screen: &Screen) -> Vec<(Word, String)> {
        let opens = self.opens.iter().map(|it| {
            let ports: Vec<String> = it.ports.iter().map(opening).collect();
            let line = text::balancer_opens(screen.lang, &self.node, &it.on, ports.join(", "));
            (Word::Opens, line)
        });
        let mut lines = Vec::new();
        if let Some(live) = &self.live {
            let counts = &live.counts;
            let traffic = text::balanced(
                screen.lang,
                counts.taken,
                size(counts.bytes_in),
                size(counts.bytes_out),
            );
            let (over, strange) = (counts.over_limit, counts.not_allowed);
            let refused = text::turned(screen.lang, over, strange, counts.unserved);
            lines.extend([(Word::Traffic, traffic), (Word::Turned, refused)]);
        }
        let servers = self.backends.iter();
        lines.extend(servers.map(|it| (Word::Server, server(it, screen))));
        if !self.settings.allowed_sources.is_empty() {
            let sources = self.settings.allowed_sources.iter();
            let sources: Vec<_> = sources.map(ToString::to_string).collect();
            lines.push((Word::Sources, sources.join(", ")));
        }
        lines.extend(opens);
        lines
    }

    fn warning(&self, screen: &Screen) -> Option<String> {
        (!self.serving).then(|| text::nobody_serves(screen.lang, &self.path))
    }
}

impl Balancer {
    /// Whether it takes connections, or why not.
    fn standing(&self, screen: &Screen) -> String {
        match self.live.as_ref().map(|it| &it.trouble) {
            _ if !self.serving => {
                let why = screen.word(Word::NoServer);
                format!("{}: {why}", screen.word(Word::Down))
            }
            None => screen.word(Word::Unknown),
            Some(None) => screen.word(Word::Up),
            Some(Some(why)) => format!("{}: {why}", screen.word(Word::Down)),
        }
    }

    /// How many of its servers are up, as `1/2`.
    fn up(&self) -> String {
        let up = |it: &&BalancerBackend| it.condition == Some(BackendCondition::Up);
        let count = self.backends.iter().filter(up).count();
        format!("{count}/{}", self.backends.len())
    }
}

fn server(it: &BalancerBackend, screen: &Screen) -> String {
    let condition = screen.word(match it.condition {
        None => Word::Unknown,
        Some(BackendCondition::Unproven) => Word::ConditionUnproven,
        Some(BackendCondition::Up) => Word::Up,
        Some(BackendCondition::Suspect) => Word::ConditionSuspect,
        Some(BackendCondition::Down) => Word::Down,
        Some(BackendCondition::Recovering) => Word::ConditionRecovering,
    });
    let mode = match it.mode {
        BackendMode::Serve => String::new(),
        BackendMode::Drain => format!(" ({})", screen.word(Word::Draining)),
        BackendMode::Maintenance => format!(" ({})", screen.word(Word::InMaintenance)),
    };
    let open = text::open_connections(screen.lang, it.connections.unwrap_or_default());
    format!("{} {}: {condition}{mode}, {open}", it.service, it.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_is_a_connection_or_a_port_with_a_path() {
        assert_eq!(health_port("tcp").unwrap(), None);
        let asked = health_port("5588").unwrap().unwrap();
        assert_eq!((asked.port.number(), asked.path.as_str()), (5_588, "/"));
        assert_eq!(health_port("80/well").unwrap().unwrap().path, "/well");
        for text in ["", "/", "0/", "x", "65536/"] {
            assert_eq!(health_port(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }
}
