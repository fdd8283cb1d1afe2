//! What the status says of names: what is answered, where, and who asks.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::system::Program;
use crate::text::{self, Lang};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamesStatus {
    /// The overlay zone; None without a map that says it, or where names are off.
    pub zone: Option<String>,
    /// Nodes that have a name, this one included.
    pub nodes: usize,
    /// Names that organizations declared.
    pub declared: Vec<String>,
    /// Where programs on this machine may ask.
    pub listen: Vec<SocketAddr>,
    /// Where they should be able to and are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<Closed>,
    pub system: SystemStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub address: SocketAddr,
    pub why: ClosedWhy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "detail")]
pub enum ClosedWhy {
    /// Another program has the port.
    Taken,
    /// Low ports need a right that this process has not.
    Forbidden,
    Other(String),
}

/// Whether this machine's own resolver asks the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "detail")]
pub enum SystemStatus {
    /// There is nothing to ask yet.
    #[default]
    Waiting,
    Off,
    /// The engine has no interface, so no resolver can be told by it.
    NoInterface,
    /// systemd-resolved asks for these domains, and programs ask systemd-resolved.
    Resolved {
        domains: Vec<String>,
    },
    /// It would ask, but this machine's programs do not come to it.
    Bypassed {
        domains: Vec<String>,
    },
    /// systemd-resolved does not run here: what an operator has to set up.
    NotTold {
        program: Program,
        servers: Vec<IpAddr>,
        domains: Vec<String>,
    },
    Failed(String),
}

impl SystemStatus {
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Self::Resolved { .. } | Self::Bypassed { .. })
    }

    /// Whether another state may be found by trying again: a resolver that starts after the agent.
    pub(super) fn may_be_tried_again(&self) -> bool {
        matches!(self, Self::NotTold { .. } | Self::Failed(_))
    }

    fn lines(&self, lang: Lang) -> Vec<String> {
        match self {
            Self::Waiting | Self::Off => vec![],
            Self::NoInterface => vec![text::names::no_interface(lang)],
            Self::Resolved { domains } => vec![text::names::resolved(lang, list(domains))],
            Self::Bypassed { .. } => vec![text::names::bypassed(lang)],
            Self::Failed(why) => vec![text::names::failed(lang, why)],
            Self::NotTold {
                program,
                servers,
                domains,
            } => {
                let Some(server) = servers.first() else {
                    return vec![];
                };
                let mut lines = vec![match program {
                    Program::NetworkManager => text::names::hint_network_manager(lang),
                    Program::Dnsmasq => text::names::hint_dnsmasq(lang),
                    Program::Unbound => text::names::hint_unbound(lang),
                    Program::Unknown => text::names::hint_unknown(lang),
                }];
                lines.extend(
                    domains
                        .iter()
                        .flat_map(|domain| entry(*program, domain, server)),
                );
                lines
            }
        }
    }
}

/// What a resolver's file needs for one domain.
fn entry(program: Program, domain: &str, server: &IpAddr) -> Vec<String> {
    match program {
        Program::Unbound => vec![
            format!("               server: domain-insecure: \"{domain}\""),
            format!("               stub-zone: name: \"{domain}\" stub-addr: {server}"),
        ],
        Program::NetworkManager | Program::Dnsmasq | Program::Unknown => {
            vec![format!("               server=/{domain}/{server}")]
        }
    }
}

impl NamesStatus {
    pub(crate) fn lines(&self, lang: Lang) -> Vec<String> {
        let Some(zone) = &self.zone else {
            return vec![match self.system {
                SystemStatus::Off => text::names::off(lang),
                _ => text::names::waiting(lang),
            }];
        };
        let mut lines = vec![match self.listen.is_empty() {
            true => text::names::unanswered(lang, zone),
            false => text::names::answered(lang, zone, self.nodes, list(&self.listen)),
        }];
        if !self.declared.is_empty() {
            lines.push(text::names::declared(lang, list(&self.declared)));
        }
        lines.extend(self.closed.iter().map(|it| {
            let why = match &it.why {
                ClosedWhy::Taken => text::balancers::trouble_port_taken(lang),
                ClosedWhy::Forbidden => text::balancers::trouble_port_forbidden(lang),
                ClosedWhy::Other(why) => why.clone(),
            };
            text::names::closed(lang, it.address, why)
        }));
        lines.extend(self.system.lines(lang));
        lines
    }
}

/// The first few of a list that may be long.
fn list<T: ToString>(all: &[T]) -> String {
    let shown: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    match all.len() > SHOWN {
        true => format!("{}, …", shown.join(", ")),
        false => shown.join(", "),
    }
}

const SHOWN: usize = 8;
