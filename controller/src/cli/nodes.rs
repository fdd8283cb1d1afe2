//! `malha node …`. Each hop is shown as what it is; the broken one is named.

use clap::{Subcommand, ValueEnum};
use http::Method;
use malha_proto::{Hop, MAX_PEERS, PathKind, ServiceState};
use serde_json::json;

use crate::api::{
    BrokenHop, Claimant, HopHealth, Node, NodePolicy, NodePolicyState, NodeStanding, ServiceHealth,
    Tunnel, UpDown,
};
use crate::cli::exit::Failure;
use crate::cli::screen::{Screen, size, span};
use crate::cli::session::{Row, Session};
use crate::cli::span::Span;
use crate::cli::text::{self, Word};
use crate::cli::tokens::{plain, print_created};
use crate::client::part;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// List nodes with their live hops
    List {
        /// Only those of this organization
        #[arg(long, env = "MALHA_ORG", value_name = "ORG")]
        org: Option<String>,
        /// Only those of this site
        #[arg(long, env = "MALHA_SITE")]
        site: Option<String>,
    },
    /// Show a node with its live hops
    Show {
        /// `ORG/SITE/NODE`, its last name if it is the only one, or id
        node: String,
    },
    /// Remove a node and its services; it is cut at every peer
    Remove {
        node: String,
        /// Also while routes, or balancers of other nodes, lead to it; one that leads nowhere else goes too
        #[arg(long, env = "MALHA_DETACH")]
        detach: bool,
    },
    /// Rename a node
    Rename { node: String, name: String },
    /// Print a token with which another machine takes this node's place
    Replace {
        node: String,
        /// How long the token is good: 30m, 12h, 7d
        #[arg(long, env = "MALHA_TTL", default_value = "1d")]
        ttl: Span,
    },
    /// Choose which of two machines keeps a copied identity
    Resolve {
        node: String,
        #[arg(long, env = "MALHA_KEEP")]
        keep: Contender,
        /// Refuse if the machine to keep is not this one
        #[arg(long, env = "MALHA_MACHINE")]
        machine: Option<String>,
    },
    /// Replace a node's tags; none: it has none. The policy speaks of nodes by them
    Tag {
        node: String,
        /// Labels, like `operator` for a machine from which operators work
        tags: Vec<String>,
    },
    /// Declare where a node's WireGuard may be reached; none: only it dials
    Endpoints {
        node: String,
        /// `ADDRESS:PORT`, best first
        endpoints: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Contender {
    /// The machine that held the identity
    Holder,
    /// The machine that showed it too
    Rival,
}

impl NodeCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |node: &str, rest: &str| format!("/nodes/{}{rest}", part(node));
        match self {
            Self::List { org, site } => {
                let query = [("organization", org.as_deref()), ("site", site.as_deref())];
                session.list::<Node>("/nodes", &query).await
            }
            Self::Show { node } => session.show::<Node>(&at(&node, "")).await,
            Self::Remove { node, detach } => {
                let query = if detach { "?detach=true" } else { "" };
                session.remove(&at(&node, query)).await
            }
            Self::Rename { node, name } => {
                session
                    .write::<Node>(Method::PUT, &at(&node, "/name"), &json!({ "name": name }))
                    .await
            }
            Self::Replace { node, ttl } => {
                let body = json!({ "ttl_s": ttl.seconds() });
                let value = session.create(&at(&node, "/replace"), &body).await?;
                print_created(session, value)
            }
            Self::Resolve {
                node,
                keep,
                machine,
            } => {
                let keep = match keep {
                    Contender::Holder => "holder",
                    Contender::Rival => "rival",
                };
                let body = json!({ "keep": keep, "machine": machine });
                session
                    .write::<Node>(Method::PUT, &at(&node, "/quarantine"), &body)
                    .await
            }
            Self::Tag { node, tags } => {
                let body = json!({ "tags": tags });
                session
                    .write::<Node>(Method::PUT, &at(&node, "/tags"), &body)
                    .await
            }
            Self::Endpoints { node, endpoints } => {
                let body = json!({ "endpoints": endpoints });
                session
                    .write::<Node>(Method::PUT, &at(&node, "/endpoints"), &body)
                    .await
            }
        }
    }
}

impl Row for Node {
    const COLUMNS: &'static [Word] = &[
        Word::Node,
        Word::State,
        Word::Control,
        Word::Tunnel,
        Word::Services,
        Word::Broken,
        Word::Addresses,
        Word::Profile,
        Word::Id,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        let up = self
            .services
            .iter()
            .filter(|service| service.health.state == UpDown::Up)
            .count();
        let services = if self.services.is_empty() {
            String::new()
        } else {
            format!("{up}/{}", self.services.len())
        };
        let profile = if self.hub {
            screen.word(Word::Hub)
        } else {
            plain(&self.profile)
        };
        vec![
            self.path.clone(),
            standing(self.state, screen),
            health(&self.hops.control, screen),
            health(&self.hops.tunnel, screen),
            services,
            self.broken
                .as_ref()
                .map(|broken| broken_hop(broken, screen))
                .unwrap_or_default(),
            self.address_v4.to_string(),
            profile,
            self.id.to_string(),
        ]
    }

    fn details(&self, screen: &Screen) -> Vec<(Word, String)> {
        let machine = &self.machine;
        let endpoints: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        let mut lines = vec![
            (Word::Addresses, self.address_v6.to_string()),
            (Word::OverlayName, self.overlay_name.clone()),
            (Word::Tags, self.tags.join(", ")),
            (Word::Endpoints, endpoints.join(", ")),
            (
                Word::Machine,
                format!(
                    "{} · {} · malha-node {}",
                    machine.host_name, machine.os, machine.agent_version
                ),
            ),
            (Word::Enrolled, screen.moment(self.enrolled_ms)),
        ];
        if let Some(session) = &self.session {
            let line = format!(
                "{} {}, {} {}",
                plain(&session.transport),
                session.remote,
                screen.word(Word::Revision),
                session.applied_revision
            );
            lines.push((Word::Control, line));
        }
        if let Some(policy) = &self.policy {
            lines.push((Word::Policy, policy_line(policy, screen)));
        }
        if let Some(peers) = self.too_many_peers {
            let line = text::node_too_many_peers(screen.lang, peers, MAX_PEERS);
            lines.push((Word::Policy, line));
        }
        if let Some(tunnel) = &self.tunnel {
            lines.extend(tunnel_lines(tunnel, screen));
        }
        let services = self.services.iter();
        lines.extend(services.map(|service| (Word::Services, service_line(service, screen))));
        if let Some(quarantine) = &self.quarantine {
            lines.push((Word::Quarantine, screen.moment(quarantine.since_ms)));
            lines.push((Word::Holder, claimant_line(&quarantine.holder)));
            lines.push((Word::Rival, claimant_line(&quarantine.rival)));
        }
        lines
    }
}

fn policy_line(policy: &NodePolicy, screen: &Screen) -> String {
    let (lang, version) = (screen.lang, policy.version);
    match policy.state {
        NodePolicyState::Waiting => {
            let deadline = policy.deadline_ms.map(|at_ms| screen.moment(at_ms));
            text::node_policy_waiting(lang, version, deadline.unwrap_or_default())
        }
        NodePolicyState::Returned => text::node_policy_returned(lang, version),
    }
}

fn tunnel_lines(tunnel: &Tunnel, screen: &Screen) -> Vec<(Word, String)> {
    let ago = |age_ms: u64| text::ago(screen.lang, span(age_ms));
    let endpoint = tunnel.endpoint.map(|endpoint| endpoint.to_string());
    let path = tunnel.path.map(|path| screen.word(path_word(path)));
    let psk = tunnel.psk.as_ref().map(|psk| {
        let age = psk.age_ms.map(ago);
        age.unwrap_or_else(|| psk.epoch.to_string())
    });
    let known = [
        (Word::Tunnel, endpoint),
        (Word::Handshake, tunnel.handshake_age_ms.map(ago)),
        (Word::Path, path),
        (Word::Psk, psk),
        (Word::Received, Some(size(tunnel.rx_bytes))),
        (Word::Sent, Some(size(tunnel.tx_bytes))),
    ];
    let lines = known.into_iter();
    lines
        .filter_map(|(word, line)| Some((word, line?)))
        .collect()
}

fn claimant_line(claimant: &Claimant) -> String {
    let source = claimant.source.map(|source| format!(" · {source}"));
    let source = source.unwrap_or_default();
    format!("{} · {}{source}", claimant.host_name, claimant.machine)
}

/// How a tunnel's packets travel.
pub(super) fn path_word(path: PathKind) -> Word {
    match path {
        PathKind::Direct => Word::PathDirect,
        PathKind::Relay => Word::PathRelay,
        PathKind::Carrier => Word::PathCarrier,
    }
}

fn service_line(service: &ServiceHealth, screen: &Screen) -> String {
    let state = service_health(service, screen);
    format!("{} :{} {state}", service.name, service.port)
}

/// A service's hop in words, with the cause where it is down.
pub(super) fn service_health(service: &ServiceHealth, screen: &Screen) -> String {
    let state = health(&service.health, screen);
    match service.health.state {
        UpDown::Down => format!("{state} ({})", screen.word(cause_word(service.cause))),
        UpDown::Up | UpDown::Unknown => state,
    }
}

fn cause_word(cause: ServiceState) -> Word {
    match cause {
        ServiceState::Up => Word::CauseUp,
        ServiceState::Refused => Word::CauseRefused,
        ServiceState::Timeout => Word::CauseTimeout,
        ServiceState::Broken => Word::CauseBroken,
        ServiceState::Unknown => Word::Unknown,
    }
}

fn standing(state: NodeStanding, screen: &Screen) -> String {
    screen.word(match state {
        NodeStanding::Active => Word::Active,
        NodeStanding::Quarantined => Word::Quarantined,
        NodeStanding::Rekeying => Word::Rekeying,
    })
}

/// A hop in words, with how long it has been so.
pub(super) fn health(hop: &HopHealth, screen: &Screen) -> String {
    let word = match hop.state {
        UpDown::Unknown => Word::Unknown,
        UpDown::Up => Word::Up,
        UpDown::Down => Word::Down,
    };
    match hop.since_ms {
        Some(since_ms) => text::since(screen.lang, screen.word(word), screen.age(since_ms)),
        None => screen.word(word),
    }
}

/// The hop to blame in words, with how long it has been broken.
pub(super) fn broken_hop(broken: &BrokenHop, screen: &Screen) -> String {
    let hop = screen.word(match broken.hop {
        Hop::Control => Word::HopControl,
        Hop::Link => Word::HopLink,
        Hop::Agent => Word::HopAgent,
        Hop::Tunnel => Word::HopTunnel,
        Hop::Service => Word::HopService,
    });
    let age = screen.age(broken.since_ms);
    match broken
        .service
        .as_deref()
        .and_then(|service| service.rsplit('/').next())
    {
        Some(service) => text::broken_service(screen.lang, hop, service, age),
        None => text::broken_since(screen.lang, hop, age),
    }
}
