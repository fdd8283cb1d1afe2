//! The overview: is all well, and if not, which hop is broken.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::Aftermath;
use super::badge::Tone;
use super::{activity, command, empty, hops, moment, terminal, whole};
use crate::address;
use crate::model::{BrokenNode, Overview, Unreadable};
use crate::text::Text;
use crate::view::View;
use crate::visit::Visit;

/// `GET /`.
pub(crate) async fn show(visit: Visit, Query(query): Query<Vec<(String, String)>>) -> Response {
    let aftermath = Aftermath::of_query(query);
    whole(
        &visit,
        &View::Overview,
        visit.say(Text::NavOverview),
        &aftermath,
        html! {},
    )
    .await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let overview = visit.console().overview(&visit.viewer).await?;
    let recent = visit.console().activity(&visit.viewer).await?;
    Ok(html! {
        @if overview.nodes == 0 {
            (empty(visit.say(Text::FirstSteps), visit.say(Text::FirstStepsWords), html! {
                p.actions {
                    a.button.primary href="/sites" { (visit.say(Text::NavSites)) }
                    a.button href="/tokens" { (visit.say(Text::CreateToken)) }
                }
                (command(visit, "first-command", html! { (terminal::UP) " TOKEN" }))
            }))
        } @else {
            (verdict(visit, &overview))
        }
        (figures(visit, &overview))
        @if !overview.convergence.lagging.is_empty() {
            p.note {
                @let (before, after) = visit.say(Text::Lagging).split_once("{}").unwrap_or_default();
                (before)
                @for (index, name) in overview.convergence.lagging.iter().enumerate() {
                    @if index > 0 { ", " } (name)
                }
                (after)
            }
        }
        section aria-labelledby="recent" {
            div.section-head {
                h2 #recent { (visit.say(Text::RecentActivity)) } a href="/activity" { (visit.say(Text::SeeAll)) }
            }
            (activity::table(visit, &recent.rows, RECENT_ROWS))
        }
    })
}

fn verdict(visit: &Visit, overview: &Overview) -> Markup {
    html! {
        @if overview.broken_total == 0 {
            div.hero.good {
                (Tone::Good.icon())
                div { h2 { (visit.say(Text::AllWell)) } p { (visit.say(Text::AllWellWords)) } }
            }
        } @else {
            div.hero.bad {
                (Tone::Bad.icon())
                div {
                    h2 {
                        @if overview.broken_total == 1 { (visit.say(Text::BrokenOne)) }
                        @else { (visit.language.fill(Text::BrokenMany, &[&overview.broken_total])) }
                    }
                    ul.broken-list {
                        @for broken in overview.broken.iter().take(BROKEN_ROWS) { (broken_row(visit, broken)) }
                    }
                    @if overview.broken_total as usize > overview.broken.len().min(BROKEN_ROWS) {
                        p { a href="/nodes?broken=1" { (visit.say(Text::SeeAllBroken)) } }
                    }
                }
            }
        }
    }
}

fn broken_row(visit: &Visit, broken: &BrokenNode) -> Markup {
    html! {
        li {
            a href=(format!("/nodes/{}", address::encode(broken.id.as_str()))) { (broken.path) }
            p {
                (hops::words(visit, &broken.hop)) " " span.muted {
                    "(" (moment::relative(visit, broken.hop.since)) ")"
                }
            }
        }
    }
}

fn figures(visit: &Visit, overview: &Overview) -> Markup {
    let of = |all: u32| visit.language.fill(Text::CountOf, &[&all]);
    html! {
        h2.unseen { (visit.say(Text::Network)) }
        ul.figures {
            (figure(overview.nodes_online, &of(overview.nodes), visit.say(Text::CountOnline), "/nodes"))
            (figure(overview.services_up, &of(overview.services), visit.say(Text::CountServicesUp), "/services"))
            (figure(overview.routes, "", visit.say(Text::CountRoutes), "/services"))
            (figure(overview.sites, "", visit.say(Text::CountSites), "/sites"))
            (figure(overview.organizations, "", visit.say(Text::CountOrganizations), "/sites"))
            (figure(overview.tokens_active, "", visit.say(Text::CountTokens), "/tokens"))
            @if overview.nodes_pending > 0 {
                (figure(overview.nodes_pending, "", visit.say(Text::CountPending), "/nodes?state=pending"))
            }
            @if overview.nodes_quarantined > 0 {
                (figure(overview.nodes_quarantined, "", visit.say(Text::CountQuarantined), "/nodes?state=quarantined"))
            }
        }
    }
}

fn figure(count: u32, of: &str, words: &str, address: &str) -> Markup {
    html! {
        li.figure {
            a href=(address) {
                span.figure-count { (count) @if !of.is_empty() { " " small { (of) } } } span.figure-words { (words) }
            }
        }
    }
}

/// Broken nodes named on the overview; the rest is one link away.
const BROKEN_ROWS: usize = 8;

/// Lines of activity on the overview.
const RECENT_ROWS: usize = 6;
