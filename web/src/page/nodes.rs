//! The list of nodes, with its filter, a page at a time.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::Aftermath;
use super::{badge, command, empty, hops, terminal, whole};
use crate::address;
use crate::form::Fields;
use crate::model::{Listing, NodeQuery, NodeRow, NodeState, Profile, Unreadable};
use crate::text::Text;
use crate::view::{NODES_A_PAGE, View, node_query, node_query_address};
use crate::visit::Visit;

/// `GET /nodes`.
pub(crate) async fn show(visit: Visit, Query(query): Query<Vec<(String, String)>>) -> Response {
    let filter = node_query(&Fields::from(query.clone()));
    whole(
        &visit,
        &View::Nodes(filter),
        visit.say(Text::NavNodes),
        &Aftermath::of_query(query),
        html! {},
    )
    .await
}

pub(crate) async fn draw(visit: &Visit, query: &NodeQuery) -> Result<Markup, Unreadable> {
    let nodes = visit.console().nodes(&visit.viewer, query).await?;
    let unfiltered =
        query.text.is_empty() && query.state.is_none() && !query.broken && query.skip == 0;
    Ok(html! {
        @if nodes.rows.is_empty() && unfiltered {
            (empty(visit.say(Text::NoNodes), visit.say(Text::NoNodesWords), html! {
                (command(visit, "up-command", html! { (terminal::UP) " TOKEN" }))
                p.actions { a.button.primary href="/tokens" { (visit.say(Text::CreateToken)) } }
            }))
        } @else {
            (filter(visit, query))
            @if nodes.rows.is_empty() {
                (empty(visit.say(Text::NoMatch), visit.say(Text::NoMatchWords), html! {
                    p.actions { a.button href="/nodes" { (visit.say(Text::ClearFilter)) } }
                }))
            } @else {
                (table(visit, &nodes))
                (pager(visit, query, &nodes))
            }
        }
    })
}

pub(super) fn profile_text(profile: Profile) -> Text {
    match profile {
        Profile::Garage => Text::ProfileGarage,
        Profile::SecurityServer => Text::ProfileSecurityServer,
        Profile::Balancer => Text::ProfileBalancer,
        Profile::Central => Text::ProfileCentral,
        Profile::Edge => Text::ProfileEdge,
    }
}

pub(super) fn addresses(node: &NodeRow) -> Markup {
    html! {
        @if let Some(ipv4) = node.ipv4 { span.mono { (ipv4.to_string()) } }
        @if let Some(ipv6) = node.ipv6 { span.mono.muted { (ipv6.to_string()) } }
        @if node.ipv4.is_none() && node.ipv6.is_none() { "–" }
    }
}

fn filter(visit: &Visit, query: &NodeQuery) -> Markup {
    let state_text = |state| match state {
        NodeState::Active => Text::NodeActive,
        NodeState::Pending => Text::NodePending,
        NodeState::Quarantined => Text::NodeQuarantined,
        NodeState::Removed => Text::NodeRemoved,
    };
    html! {
        // Frozen while its surroundings are drawn again: the operator may be typing in it.
        form #node-filter.filter method="get" action="/nodes" role="search" hx-morph-skip {
            div.field.grow {
                label for="filter-q" { (visit.say(Text::Search)) }
                input #filter-q type="search" name="q" value=(query.text) placeholder=(visit.say(Text::SearchHint))
                    autocomplete="off" spellcheck="false";
            }
            div.field {
                label for="filter-state" { (visit.say(Text::State)) }
                select #filter-state name="state" {
                    option value="" { (visit.say(Text::AnyState)) }
                    @for state in NodeState::ALL {
                        option value=(state.as_str()) selected[query.state == Some(state)] {
                            (visit.say(state_text(state)))
                        }
                    }
                }
            }
            label.checkbox {
                input type="checkbox" name="broken" value="1" checked[query.broken]; span {
                    (visit.say(Text::OnlyBroken))
                }
            }
            button.button type="submit" { (visit.say(Text::Apply)) }
        }
    }
}

fn table(visit: &Visit, nodes: &Listing<NodeRow>) -> Markup {
    html! {
        table.cards.nodes {
            thead { tr {
                th scope="col" { (visit.say(Text::Node)) }
                th scope="col" { (visit.say(Text::State)) }
                th scope="col" { (visit.say(Text::Path)) }
                th scope="col" { (visit.say(Text::Addresses)) }
                th scope="col" { (visit.say(Text::Profile)) }
            } }
            tbody { @for node in nodes.rows.iter().take(NODES_A_PAGE) {
                tr id=(format!("node-{}", address::encode(node.id.as_str()))) {
                    td.lead data-label=(visit.say(Text::Node)) {
                        a href=(format!("/nodes/{}", address::encode(node.id.as_str()))) {
                            strong { (node.name) }
                        }
                        span.muted { (node.organization) "/" (node.site) }
                    }
                    td data-label=(visit.say(Text::State)) { (badge::node_state(visit, node.state)) }
                    td.wide data-label=(visit.say(Text::Path)) { (hops::summary(visit, &node.hops)) }
                    td.stacked.addresses data-label=(visit.say(Text::Addresses)) { (addresses(node)) }
                    td data-label=(visit.say(Text::Profile)) { (visit.say(profile_text(node.profile))) }
                }
            } }
        }
    }
}

fn pager(visit: &Visit, query: &NodeQuery, nodes: &Listing<NodeRow>) -> Markup {
    let at = |skip: usize| {
        format!(
            "/nodes?{}",
            node_query_address(&NodeQuery {
                skip,
                ..query.clone()
            })
        )
    };
    let shown = nodes.rows.len().min(NODES_A_PAGE);
    html! {
        @if shown < nodes.total {
            nav.pager aria-label=(visit.say(Text::Nodes)) {
                @if query.skip > 0 {
                    a.button rel="prev" href=(at(query.skip.saturating_sub(NODES_A_PAGE))) {
                        (visit.say(Text::PreviousPage))
                    }
                }
                span.muted { (query.skip + 1) "–" (query.skip + shown) " / " (nodes.total) }
                @if query.skip + shown < nodes.total {
                    a.button rel="next" href=(at(query.skip + NODES_A_PAGE)) { (visit.say(Text::NextPage)) }
                }
            }
        }
    }
}
