//! `malha service …`, `malha route …` and `malha grant …`.

use std::net::IpAddr;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use http::Method;
use malha_proto::Protocol;
use serde_json::json;

use crate::api::{Grant, Route, Service};
use crate::cli::exit::{Exit, Failure};
use crate::cli::nodes::health;
use crate::cli::screen::Screen;
use crate::cli::session::{Row, Session};
use crate::cli::text::{self, Word};
use crate::cli::tokens::plain;
use crate::client::part;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Add a service to a node
    Add {
        /// `ORG/SITE/NODE`, its last name if it is the only one, or id
        node: String,
        /// One DNS label, like `web`
        name: String,
        /// The port on the overlay address
        #[arg(long, env = "MALHA_PORT")]
        port: u16,
        /// Where the node hands the connection, like 127.0.0.1:8080
        #[arg(long, env = "MALHA_TARGET", value_name = "ADDRESS:PORT")]
        target: String,
        /// What it speaks
        #[arg(long, env = "MALHA_KIND", default_value = "http", value_parser = PossibleValuesParser::new(["http", "tcp"]))]
        kind: String,
        /// `public`: also through routes; `tunnel`: only for members with a grant
        #[arg(long, env = "MALHA_EXPOSURE", default_value = "tunnel", value_parser = PossibleValuesParser::new(["tunnel", "public"]))]
        exposure: String,
    },
    /// List services
    List {
        /// Only those of this node
        #[arg(long, env = "MALHA_NODE")]
        node: Option<String>,
    },
    /// Show a service
    Show {
        /// `ORG/SITE/NODE/SERVICE`, `NODE/SERVICE`, or id
        service: String,
    },
    /// Remove a service that no route uses
    Remove { service: String },
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// Publish services at a host name and path
    Add {
        /// `HOST` or `HOST/PATH`; the first label may be `*`
        place: String,
        /// A public HTTP service; several times to spread over several
        #[arg(
            long = "service",
            env = "MALHA_SERVICE",
            required = true,
            value_delimiter = ','
        )]
        services: Vec<String>,
    },
    /// List routes
    List,
    /// Show a route
    Show {
        /// `HOST`, `HOST/PATH` or id
        route: String,
    },
    /// Remove a route
    Remove { route: String },
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum GrantCommand {
    /// Allow ports from some nodes to others
    Add {
        /// organization:NAME, site:ORG/SITE, node:ORG/SITE/NODE, profile:PROFILE or tag:TAG
        #[arg(long, env = "MALHA_FROM", value_name = "SELECTOR")]
        from: String,
        /// The same for the other side
        #[arg(long, env = "MALHA_TO", value_name = "SELECTOR")]
        to: String,
        #[arg(long, env = "MALHA_PROTOCOL", default_value = "tcp", value_parser = PossibleValuesParser::new(["tcp", "udp", "icmp"]))]
        protocol: String,
        /// A port or a range: 5500 or 5500-5577; not for icmp
        #[arg(
            long,
            env = "MALHA_PORTS",
            default_value = "",
            hide_default_value = true
        )]
        ports: String,
    },
    /// List grants
    List,
    /// Show a grant
    Show { grant: String },
    /// Remove a grant
    Remove { grant: String },
}

impl ServiceCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |service: &str| format!("/services/{}", part(service));
        match self {
            Self::Add {
                node,
                name,
                port,
                target,
                kind,
                exposure,
            } => {
                let body = json!({
                    "node": node, "name": name, "port": port, "target": target, "kind": kind, "exposure": exposure,
                });
                session
                    .write::<Service>(Method::POST, "/services", &body)
                    .await
            }
            Self::List { node } => {
                session
                    .list::<Service>("/services", &[("node", node.as_deref())])
                    .await
            }
            Self::Show { service } => session.show::<Service>(&at(&service)).await,
            Self::Remove { service } => session.remove(&at(&service)).await,
        }
    }
}

impl RouteCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |route: &str| format!("/routes/{}", part(route));
        match self {
            Self::Add { place, services } => {
                let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
                let path = if path.is_empty() { "/" } else { path };
                let body = json!({ "host": host, "path": path, "services": services });
                session.write::<Route>(Method::POST, "/routes", &body).await
            }
            Self::List => session.list::<Route>("/routes", &[]).await,
            Self::Show { route } => session.show::<Route>(&at(&route)).await,
            Self::Remove { route } => session.remove(&at(&route)).await,
        }
    }
}

impl GrantCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |grant: &str| format!("/grants/{}", part(grant));
        match self {
            Self::Add {
                from,
                to,
                protocol,
                ports,
            } => {
                let (from_port, to_port) = port_range(&protocol, &ports)?;
                let body = json!({
                    "from": from, "to": to, "protocol": protocol, "from_port": from_port, "to_port": to_port,
                });
                session.write::<Grant>(Method::POST, "/grants", &body).await
            }
            Self::List => session.list::<Grant>("/grants", &[]).await,
            Self::Show { grant } => session.show::<Grant>(&at(&grant)).await,
            Self::Remove { grant } => session.remove(&at(&grant)).await,
        }
    }
}

fn port_range(protocol: &str, ports: &str) -> Result<(u16, u16), Failure> {
    let wrong = || {
        Failure::new(
            Exit::Usage,
            "--ports: write a port or a range, like 5500 or 5500-5577",
        )
    };
    if protocol == "icmp" {
        return if ports.is_empty() {
            Ok((0, 0))
        } else {
            Err(Failure::new(Exit::Usage, "--ports: icmp has no ports"))
        };
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Ok((
        first.parse().map_err(|_| wrong())?,
        last.parse().map_err(|_| wrong())?,
    ))
}

/// `tcp 80`, `udp 5500-5577`, `icmp`.
pub(super) fn allow_text(protocol: Protocol, from_port: u16, to_port: u16) -> String {
    let name = plain(&protocol);
    match (protocol, from_port == to_port) {
        (Protocol::Icmp, _) => name,
        (_, true) => format!("{name} {from_port}"),
        (_, false) => format!("{name} {from_port}-{to_port}"),
    }
}

impl Row for Service {
    const COLUMNS: &'static [Word] = &[
        Word::Name,
        Word::Port,
        Word::Target,
        Word::Kind,
        Word::Exposure,
        Word::State,
        Word::Id,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        vec![
            self.path.clone(),
            self.port.to_string(),
            self.target.to_string(),
            plain(&self.kind),
            plain(&self.exposure),
            health(&self.health, screen),
            self.id.to_string(),
        ]
    }
}

impl Row for Route {
    const COLUMNS: &'static [Word] = &[
        Word::Host,
        Word::Path,
        Word::Services,
        Word::Created,
        Word::Id,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        vec![
            self.host.to_string(),
            self.path.clone(),
            self.services.join(", "),
            screen.moment(self.created_ms),
            self.id.to_string(),
        ]
    }

    fn details(&self, _screen: &Screen) -> Vec<(Word, String)> {
        let zone = self.zone.as_ref().map(ToString::to_string);
        zone.map(|zone| (Word::Zone, zone)).into_iter().collect()
    }

    fn warning(&self, screen: &Screen) -> Option<String> {
        let records = self.addresses.iter().map(|address| match address {
            IpAddr::V4(_) => format!("{} A {address}", self.host),
            IpAddr::V6(_) => format!("{} AAAA {address}", self.host),
        });
        let records: Vec<String> = records.collect();
        let (lang, host) = (screen.lang, &self.host);
        match (&self.zone, records.is_empty()) {
            (Some(_), _) => None,
            (None, false) => Some(text::zone_elsewhere(lang, host, records.join(", "))),
            (None, true) => Some(text::zone_and_edges_elsewhere(lang, host)),
        }
    }
}

impl Row for Grant {
    const COLUMNS: &'static [Word] = &[Word::From, Word::To, Word::Allow, Word::Id];

    fn cells(&self, _screen: &Screen) -> Vec<String> {
        let allow = match &self.service {
            Some(service) => service.clone(),
            None => allow_text(self.protocol, self.from_port, self.to_port),
        };
        vec![
            self.from.clone(),
            self.to.clone(),
            allow,
            self.id.to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range_and_icmp_has_none() {
        assert_eq!(port_range("tcp", "5500").unwrap(), (5_500, 5_500));
        assert_eq!(port_range("udp", "5500-5577").unwrap(), (5_500, 5_577));
        assert_eq!(port_range("icmp", "").unwrap(), (0, 0));
        for (protocol, ports) in [
            ("tcp", ""),
            ("tcp", "-"),
            ("tcp", "1-2-3"),
            ("tcp", "65536"),
            ("tcp", "a"),
            ("icmp", "1"),
        ] {
            assert_eq!(
                port_range(protocol, ports).unwrap_err().exit,
                Exit::Usage,
                "{protocol} {ports}"
            );
        }
    }
}
