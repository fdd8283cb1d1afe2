//! Balancers, the state of each server behind them, and the buttons that take a server out and bring it back.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::{Aftermath, What, done};
use super::fields::{Confirmed, confirmed, csrf};
use super::{badge, command, cut_note, empty, terminal, whole};
use crate::address;
use crate::form::{Submission, wrong};
use crate::model::{
    BalancerId, BalancerLive, BalancerRow, BalancerTrouble, Exposure, ROWS_MAX, ServerMode,
    ServerRow, ServiceId, Unreadable,
};
use crate::text::Text;
use crate::view::View;
use crate::visit::Visit;

/// `GET /balancers`.
pub(crate) async fn show(visit: Visit, Query(query): Query<Vec<(String, String)>>) -> Response {
    page(&visit, Aftermath::of_query(query)).await
}

/// `POST /balancers/{id}/{service}/{mode}`.
pub(crate) async fn set_mode(
    Path((id, service, mode)): Path<(String, String, String)>,
    submission: Submission,
) -> Response {
    let visit = &submission.visit;
    let outcome = match ServerMode::parse(&mode) {
        Some(mode) => {
            let (id, service) = (BalancerId::from(id), ServiceId::from(service));
            let console = visit.console();
            console
                .set_server_mode(&visit.viewer, &id, &service, mode)
                .await
        }
        None => Err(wrong("mode", Text::WrongChoice)),
    };
    match outcome {
        Ok(outcome) => done("/balancers", What::ServerModeSet, &outcome),
        Err(refused) => page(visit, Aftermath::Refused(refused)).await,
    }
}

async fn page(visit: &Visit, aftermath: Aftermath) -> Response {
    let title = visit.say(Text::NavBalancers);
    whole(visit, &View::Balancers, title, &aftermath, html! {}).await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let balancers = visit.console().balancers(&visit.viewer).await?;
    let shown = balancers.rows.iter().take(ROWS_MAX);
    Ok(html! {
        @if balancers.rows.is_empty() {
            @let add = command(visit, "balancer-command", terminal::ADD_BALANCER);
            (empty(visit.say(Text::NoBalancers), visit.say(Text::NoBalancersWords), add))
        } @else {
            @for balancer in shown { (section(visit, balancer)) }
            (cut_note(visit, balancers.rows.len().min(ROWS_MAX), balancers.total))
        }
    })
}

fn section(visit: &Visit, balancer: &BalancerRow) -> Markup {
    let id = address::encode(balancer.id.as_str());
    let exposure = match balancer.exposure {
        Exposure::Tunnel => Text::ExposureTunnel,
        Exposure::Public => Text::ExposurePublic,
    };
    html! {
        section id=(format!("balancer-{id}")) aria-labelledby=(format!("balancer-title-{id}")) {
            div.section-head {
                h2 id=(format!("balancer-title-{id}")) { (balancer.name) }
                (badge::balancer(visit, balancer))
            }
            p {
                a href=(format!("/nodes/{}", address::encode(balancer.node.as_str()))) { (balancer.node_path) }
                " · TCP " span.mono { (balancer.port) } " · " (visit.say(exposure))
                @if !balancer.sources.is_empty() {
                    " · " (visit.say(Text::OnlyFrom)) " "
                    @for (at, source) in balancer.sources.iter().enumerate() {
                        @if at > 0 { ", " } span.mono { (source) }
                    }
                }
            }
            @if balancer.servers.iter().all(|it| it.mode != ServerMode::Serve) {
                p.problem role="status" { (visit.say(Text::NobodyServes)) }
            }
            @if let Some(live) = &balancer.live { (traffic(visit, live)) }
            (servers(visit, &id, &balancer.servers))
        }
    }
}

fn traffic(visit: &Visit, live: &BalancerLive) -> Markup {
    let BalancerLive {
        open,
        taken,
        over_limit,
        not_allowed,
        unserved,
        ..
    } = live;
    html! {
        @if let Some(trouble) = &live.trouble {
            p.problem {
                @match trouble {
                    BalancerTrouble::PortTaken => (visit.say(Text::TroublePortTaken)),
                    BalancerTrouble::PortForbidden => (visit.say(Text::TroublePortForbidden)),
                    BalancerTrouble::Other(why) => (why),
                }
            }
        }
        p.muted {
            (visit.language.fill(Text::BalancerTraffic, &[open, taken])) " "
            @if over_limit + not_allowed + unserved > 0 {
                (visit.language.fill(Text::BalancerRefused, &[over_limit, not_allowed, unserved]))
            }
        }
    }
}

fn servers(visit: &Visit, balancer: &str, servers: &[ServerRow]) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { (visit.say(Text::Server)) }
                th scope="col" { (visit.say(Text::State)) }
                th scope="col" { (visit.say(Text::Addresses)) }
                th.number scope="col" { (visit.say(Text::Connections)) }
                th scope="col" { span.unseen { (visit.say(Text::Actions)) } }
            } }
            tbody { @for server in servers {
                tr id=(format!("server-{balancer}-{}", address::encode(server.service.as_str()))) {
                    td.lead.wrap data-label=(visit.say(Text::Server)) { strong { (server.path) } }
                    td.stacked data-label=(visit.say(Text::State)) {
                        (badge::server(visit, server.condition))
                        @if let Some(mode) = mode_text(server.mode) { span.muted { (visit.say(mode)) } }
                    }
                    td data-label=(visit.say(Text::Addresses)) { span.mono { (server.address) } }
                    td.number data-label=(visit.say(Text::Connections)) { (server.connections) }
                    td.row-actions {
                        @if visit.may_change() { (buttons(visit, balancer, server)) }
                    }
                }
            } }
        }
    }
}

fn mode_text(mode: ServerMode) -> Option<Text> {
    match mode {
        ServerMode::Serve => None,
        ServerMode::Drain => Some(Text::ServerDraining),
        ServerMode::Maintenance => Some(Text::ServerInMaintenance),
    }
}

/// Every mode but the one of now. Only a maintenance ends something, so only it asks twice.
fn buttons(visit: &Visit, balancer: &str, server: &ServerRow) -> Markup {
    let service = address::encode(server.service.as_str());
    let action = |mode: ServerMode| format!("/balancers/{balancer}/{service}/{}", mode.as_str());
    let at_once = |mode: ServerMode, words: Text| {
        html! {
            form method="post" action=(action(mode)) {
                (csrf(visit))
                button.button.small type="submit" { (visit.say(words)) }
            }
        }
    };
    let maintenance = Confirmed {
        id: &format!("maintenance-{balancer}-{service}"),
        ask: Text::ServerMaintenance,
        hint: Text::ServerMaintenanceHint,
        yes: Text::ServerMaintenanceYes,
        action: &action(ServerMode::Maintenance),
        hidden: &[],
    };
    html! {
        @if server.mode != ServerMode::Serve { (at_once(ServerMode::Serve, Text::ServerResume)) }
        @if server.mode != ServerMode::Drain { (at_once(ServerMode::Drain, Text::ServerDrain)) }
        @if server.mode != ServerMode::Maintenance { (confirmed(visit, &maintenance)) }
    }
}
