//! What an open page shows and keeps up to date: which part of the state, when it is out of date,
//! how it is drawn.

use maud::{Markup, html};

use crate::address;
use crate::console::Role;
use crate::form::Fields;
use crate::model::{NodeId, NodeQuery, NodeState, Overview, Topic, Topics, Unreadable};
use crate::page;
use crate::text::Text;
use crate::visit::Visit;

/// The live part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Overview,
    Nodes(NodeQuery),
    Node(NodeId),
    Sites,
    Organization(String),
    Tokens,
    Services,
    Zones,
    Zone(String),
    Activity,
    Policy,
    Balancers,
    Profiles,
    Compliance,
    /// An organization, and a run that is not the newest.
    ComplianceOf(String, Option<u64>),
}

impl View {
    /// The view that a live stream asks for; `None` if it is not one of ours.
    pub(crate) fn of_query(query: &Fields) -> Option<View> {
        Some(match query.exact("view") {
            "overview" => View::Overview,
            "nodes" => View::Nodes(node_query(query)),
            "node" => View::Node(NodeId::from(query.exact("id"))),
            "sites" => View::Sites,
            "org" => View::Organization(query.exact("id").to_owned()),
            "tokens" => View::Tokens,
            "services" => View::Services,
            "zones" => View::Zones,
            "zone" => View::Zone(query.exact("id").to_owned()),
            "activity" => View::Activity,
            "policy" => View::Policy,
            "balancers" => View::Balancers,
            "profiles" => View::Profiles,
            "compliance" => View::Compliance,
            "organization" => {
                let run = query.text("run").parse().ok();
                View::ComplianceOf(query.exact("id").to_owned(), run)
            }
            _ => return None,
        })
    }

    /// The address of its live stream, the inverse of [`View::of_query`].
    pub(crate) fn live_address(&self) -> String {
        let path = crate::live::PATH;
        match self {
            View::Nodes(query) => format!("{path}?view=nodes&{}", node_query_address(query)),
            View::Node(id) => format!("{path}?view=node&id={}", address::encode(id.as_str())),
            View::Zone(name) => format!("{path}?view=zone&id={}", address::encode(name)),
            View::Overview => format!("{path}?view=overview"),
            View::Sites => format!("{path}?view=sites"),
            View::Organization(name) => format!("{path}?view=org&id={}", address::encode(name)),
            View::Tokens => format!("{path}?view=tokens"),
            View::Services => format!("{path}?view=services"),
            View::Zones => format!("{path}?view=zones"),
            View::Activity => format!("{path}?view=activity"),
            View::Policy => format!("{path}?view=policy"),
            View::Balancers => format!("{path}?view=balancers"),
            View::Profiles => format!("{path}?view=profiles"),
            View::Compliance => format!("{path}?view=compliance"),
            View::ComplianceOf(name, run) => {
                let name = address::encode(name);
                let run = run.map(|run| format!("&run={run}")).unwrap_or_default();
                format!("{path}?view=organization&id={name}{run}")
            }
        }
    }

    /// The topics that put it out of date.
    pub(crate) fn topics(&self) -> Topics {
        match self {
            View::Overview => Topics::ALL.without(Topic::Balancers),
            View::Nodes(_) => Topic::Nodes | Topic::Services,
            View::Node(_) => Topic::Nodes | Topic::Services | Topic::Routes,
            View::Sites => Topic::Sites | Topic::Nodes,
            // Proposals and profiles are lines of the activity.
            View::Organization(_) => Topic::Sites | Topic::Nodes | Topic::Checks | Topic::Activity,
            View::Tokens => Topic::Tokens.into(),
            View::Services => Topic::Services | Topic::Routes | Topic::Nodes,
            View::Zones | View::Zone(_) => Topic::Dns.into(),
            View::Balancers => Topic::Balancers | Topic::Services,
            // Every change of the policy, and of a profile, is a line of the activity.
            View::Activity | View::Policy | View::Profiles => Topic::Activity.into(),
            View::Compliance | View::ComplianceOf(..) => Topic::Checks.into(),
        }
    }

    /// Its place in the navigation: the address of the entry to mark.
    pub(crate) fn section(&self) -> &'static str {
        match self {
            View::Overview => "/",
            View::Nodes(_) | View::Node(_) => "/nodes",
            View::Sites | View::Organization(_) => "/sites",
            View::Tokens => "/tokens",
            View::Services => "/services",
            View::Zones | View::Zone(_) => "/dns",
            View::Activity => "/activity",
            View::Policy => "/policy",
            View::Balancers => "/balancers",
            View::Profiles => "/profiles",
            View::Compliance | View::ComplianceOf(..) => "/compliance",
        }
    }

    /// Whether somebody with this role finds something to change on it.
    pub(crate) fn is_open_to(&self, role: Role) -> bool {
        match self {
            View::Tokens | View::Node(_) => role.may_enrol(),
            _ => role.may_change(),
        }
    }

    /// Reads the state and draws it.
    pub(crate) async fn draw(&self, visit: &Visit) -> Result<Markup, Unreadable> {
        match self {
            View::Overview => page::overview::draw(visit).await,
            View::Nodes(query) => page::nodes::draw(visit, query).await,
            View::Node(id) => page::node::draw(visit, id).await,
            View::Sites => page::sites::draw(visit).await,
            View::Organization(name) => page::organization::draw(visit, name).await,
            View::Tokens => page::tokens::draw(visit).await,
            View::Services => page::services::draw(visit).await,
            View::Zones => page::zones::draw(visit).await,
            View::Zone(name) => page::zone::draw(visit, name).await,
            View::Activity => page::activity::draw(visit).await,
            View::Policy => page::policy::draw(visit).await,
            View::Balancers => page::balancers::draw(visit).await,
            View::Profiles => page::profiles::draw(visit).await,
            View::Compliance => page::compliance::draw(visit).await,
            View::ComplianceOf(name, run) => page::compliance::draw_one(visit, name, *run).await,
        }
    }
}

/// The revision and who has applied it, which every page shows and keeps live.
pub(crate) async fn pulse(visit: &Visit) -> Result<Markup, Unreadable> {
    let Overview {
        revision,
        convergence,
        ..
    } = visit.console().overview(&visit.viewer).await?;
    Ok(html! {
        span.pulse-revision { (visit.say(Text::Revision)) " " strong { (revision) } }
        span.pulse-applied { (visit.language.fill(Text::AppliedBy, &[&convergence.applied, &convergence.of])) }
    })
}

/// Reads the filter of the node list from an address.
pub(crate) fn node_query(fields: &Fields) -> NodeQuery {
    NodeQuery {
        text: fields.text("q").chars().take(SEARCH_CHARS_MAX).collect(),
        state: NodeState::parse(fields.text("state")),
        broken: !fields.text("broken").is_empty(),
        skip: fields.text("skip").parse().unwrap_or(0).min(SKIP_MAX),
        limit: NODES_A_PAGE,
    }
}

/// The query part of an address, the inverse of [`node_query`].
pub(crate) fn node_query_address(query: &NodeQuery) -> String {
    let mut address = format!("q={}", address::encode(&query.text));
    if let Some(state) = query.state {
        address += &format!("&state={}", state.as_str());
    }
    if query.broken {
        address += "&broken=1";
    }
    if query.skip > 0 {
        address += &format!("&skip={}", query.skip);
    }
    address
}

/// Nodes on one page of the list; also bounds what a live stream draws again at each change.
pub(crate) const NODES_A_PAGE: usize = 50;

/// The longest search text that is passed on.
const SEARCH_CHARS_MAX: usize = 128;

/// The furthest start of a page of nodes.
const SKIP_MAX: usize = 10_000_000;
