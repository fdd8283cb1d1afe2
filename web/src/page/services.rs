//! Services that nodes offer and the public routes to them.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::{Aftermath, Attempt, What, done};
use super::fields::{Choice, Confirmed, Field, FormView, confirmed};
use super::{badge, command, cut_note, empty, moment, terminal, with_forms};
use crate::address;
use crate::form::{Fields, Submission, wrong};
use crate::model::{
    Exposure, Listing, NewRoute, NewService, NodeId, NodeQuery, Outcome, Protocol, ROWS_MAX,
    Refused, RouteId, RouteRow, ServiceId, ServiceRow, Unreadable,
};
use crate::text::Text;
use crate::view::View;
use crate::visit::Visit;

/// `GET /services`.
pub(crate) async fn show(visit: Visit, Query(query): Query<Vec<(String, String)>>) -> Response {
    page(&visit, Aftermath::of_query(query)).await
}

/// `POST /services/service`.
pub(crate) async fn add_service(submission: Submission) -> Response {
    let outcome = match new_service(&submission.fields) {
        Ok(new) => {
            submission
                .visit
                .console()
                .add_service(&submission.visit.viewer, new)
                .await
        }
        Err(refused) => Err(refused),
    };
    answer_form(submission, SERVICE_FORM, What::ServiceAdded, outcome).await
}

/// `POST /services/service/{id}/remove`.
pub(crate) async fn remove_service(Path(id): Path<String>, submission: Submission) -> Response {
    let visit = &submission.visit;
    let outcome = visit
        .console()
        .remove_service(&visit.viewer, &ServiceId::from(id))
        .await;
    answer_removal(visit, What::ServiceRemoved, outcome).await
}

/// `POST /services/route`.
pub(crate) async fn add_route(submission: Submission) -> Response {
    let outcome = match new_route(&submission.fields) {
        Ok(new) => {
            submission
                .visit
                .console()
                .add_route(&submission.visit.viewer, new)
                .await
        }
        Err(refused) => Err(refused),
    };
    answer_form(submission, ROUTE_FORM, What::RouteAdded, outcome).await
}

/// `POST /services/route/{id}/remove`.
pub(crate) async fn remove_route(Path(id): Path<String>, submission: Submission) -> Response {
    let visit = &submission.visit;
    let outcome = visit
        .console()
        .remove_route(&visit.viewer, &RouteId::from(id))
        .await;
    answer_removal(visit, What::RouteRemoved, outcome).await
}

fn new_service(fields: &Fields) -> Result<NewService, Refused> {
    Ok(NewService {
        node: NodeId::from(fields.required("node")?),
        name: fields.required("name")?,
        // The range fits, so nothing is cut.
        port: u16::try_from(fields.number("port", 1..=u64::from(u16::MAX))?).unwrap_or(u16::MAX),
        protocol: fields.choice("protocol", Protocol::parse)?,
        target: fields.required("target")?,
        exposure: fields.choice("exposure", Exposure::parse)?,
    })
}

fn new_route(fields: &Fields) -> Result<NewRoute, Refused> {
    let services: Vec<ServiceId> = fields
        .all("service")
        .filter(|id| !id.is_empty())
        .map(ServiceId::from)
        .collect();
    let host = fields.required("host")?;
    if services.is_empty() {
        return Err(wrong("service", Text::WrongMissing));
    }
    Ok(NewRoute {
        host,
        path: fields.required("path")?,
        services,
    })
}

async fn answer_form(
    submission: Submission,
    form: &'static str,
    what: What,
    outcome: Result<Outcome, Refused>,
) -> Response {
    match outcome {
        Ok(outcome) => done("/services", what, &outcome),
        Err(refused) => {
            page(
                &submission.visit,
                Aftermath::Form(Attempt {
                    form,
                    fields: submission.fields,
                    refused,
                }),
            )
            .await
        }
    }
}

async fn answer_removal(visit: &Visit, what: What, outcome: Result<Outcome, Refused>) -> Response {
    match outcome {
        Ok(outcome) => done("/services", what, &outcome),
        Err(refused) => page(visit, Aftermath::Refused(refused)).await,
    }
}

async fn page(visit: &Visit, aftermath: Aftermath) -> Response {
    let (view, title) = (View::Services, Text::NavServices);
    let forms = forms(visit, &aftermath).await;
    with_forms(visit, &view, title, &aftermath, forms).await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let services = visit.console().services(&visit.viewer).await?;
    let routes = visit.console().routes(&visit.viewer).await?;
    Ok(html! {
        section aria-labelledby="routes-title" {
            h2 #routes-title { (visit.say(Text::Routes)) }
            @if routes.rows.is_empty() {
                (empty(visit.say(Text::NoRoutes), visit.say(Text::NoRoutesWords), html! {
                    p.muted { (visit.say(Text::OrFromTerminal)) }
                    (command(visit, "route-command", terminal::ADD_ROUTE))
                }))
            } @else { (route_table(visit, &routes)) }
        }
        section aria-labelledby="services-title" {
            h2 #services-title { (visit.say(Text::Services)) }
            @if services.rows.is_empty() {
                (empty(visit.say(Text::NoServices), visit.say(Text::NoServicesWords), html! {
                    p.muted { (visit.say(Text::OrFromTerminal)) }
                    (command(visit, "service-command", terminal::ADD_SERVICE))
                }))
            } @else {
                (service_table(visit, &services.rows))
                (cut_note(visit, services.rows.len().min(ROWS_MAX), services.total))
            }
        }
    })
}

/// Services as rows, on this page and on the node's own.
pub(super) fn service_table(visit: &Visit, services: &[ServiceRow]) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { (visit.say(Text::Service)) }
                th scope="col" { (visit.say(Text::State)) }
                th scope="col" { (visit.say(Text::Node)) }
                th scope="col" { (visit.say(Text::Port)) }
                th scope="col" { (visit.say(Text::ExposureLabel)) }
                th scope="col" { span.unseen { (visit.say(Text::Actions)) } }
            } }
            tbody { @for service in services.iter().take(ROWS_MAX) { (service_row(visit, service)) } }
        }
    }
}

fn service_row(visit: &Visit, service: &ServiceRow) -> Markup {
    let id = address::encode(service.id.as_str());
    let exposure = match service.exposure {
        Exposure::Tunnel => Text::ExposureTunnel,
        Exposure::Public => Text::ExposurePublic,
    };
    html! {
        tr id=(format!("service-{id}")) {
            td.lead data-label=(visit.say(Text::Service)) { strong { (service.name) } }
            td.stacked data-label=(visit.say(Text::State)) {
                (badge::probe_state(visit, service.state))
                @if let Some(since) = service.since { span.muted { (moment::relative(visit, since)) } }
            }
            td.wrap.path data-label=(visit.say(Text::Node)) {
                a href=(format!("/nodes/{}", address::encode(service.node.as_str()))) { (service.node_path) }
            }
            td.stacked.port data-label=(visit.say(Text::Port)) {
                span.mono { (service.port) "/" (service.protocol.as_str()) }
                span.mono.muted title=(visit.say(Text::Target)) { "→ " (service.target) }
            }
            td data-label=(visit.say(Text::ExposureLabel)) { (visit.say(exposure)) }
            td.row-actions {
                @if visit.may_change() {
                    (removal(visit, "service", &id))
                }
            }
        }
    }
}

fn route_table(visit: &Visit, routes: &Listing<RouteRow>) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { (visit.say(Text::Host)) }
                th scope="col" { (visit.say(Text::State)) }
                th scope="col" { (visit.say(Text::PathLabel)) }
                th scope="col" { (visit.say(Text::Services)) }
                th scope="col" { span.unseen { (visit.say(Text::Actions)) } }
            } }
            tbody { @for route in routes.rows.iter().take(ROWS_MAX) { (route_row(visit, route)) } }
        }
        (cut_note(visit, routes.rows.len().min(ROWS_MAX), routes.total))
    }
}

fn route_row(visit: &Visit, route: &RouteRow) -> Markup {
    let id = address::encode(route.id.as_str());
    let url = route
        .url
        .as_ref()
        .map(|url| url.as_str())
        .filter(|url| url.starts_with("https://"));
    html! {
        tr id=(format!("route-{id}")) {
            td.lead data-label=(visit.say(Text::Host)) {
                @if let Some(url) = url {
                    a href=(url) target="_blank" rel="noopener noreferrer" {
                        strong { (route.host) }
                        span.unseen { " (" (visit.say(Text::OpensNewTab)) ")" }
                        span aria-hidden="true" { " ↗" }
                    }
                } @else { strong { (route.host) } }
                @if let Some(addresses) = &route.elsewhere {
                    span.muted { (visit.language.fill(Text::ZoneElsewhere, &[addresses])) }
                }
            }
            td.stacked data-label=(visit.say(Text::State)) {
                (badge::route_state(visit, route.state))
                @if let Some(since) = route.since { span.muted { (moment::relative(visit, since)) } }
            }
            td.wrap data-label=(visit.say(Text::PathLabel)) { span.mono { (route.path) } }
            td.stacked.wrap data-label=(visit.say(Text::Services)) {
                @for service in &route.services { span { (service) } }
            }
            td.row-actions {
                @if visit.may_change() {
                    (removal(visit, "route", &id))
                }
            }
        }
    }
}

/// The button that removes a service or a route; `id` is encoded.
fn removal(visit: &Visit, what: &str, id: &str) -> Markup {
    let write = Confirmed {
        id: &format!("remove-{what}-{id}"),
        ask: Text::RemoveButton,
        hint: Text::ConfirmHint,
        yes: Text::RemoveYes,
        action: &format!("/services/{what}/{id}/remove"),
        hidden: &[],
    };
    confirmed(visit, &write)
}

async fn forms(visit: &Visit, aftermath: &Aftermath) -> Result<Markup, Unreadable> {
    let query = NodeQuery {
        limit: ROWS_MAX,
        ..NodeQuery::default()
    };
    let nodes = visit.console().nodes(&visit.viewer, &query).await?;
    let services = visit.console().services(&visit.viewer).await?;
    let routes = visit.console().routes(&visit.viewer).await?;
    let node_choices: Vec<Choice> = nodes
        .rows
        .iter()
        .take(ROWS_MAX)
        .map(|node| {
            (
                node.id.as_str().to_owned(),
                html! { (node.organization) "/" (node.site) "/" (node.name) },
            )
        })
        .collect();
    let service_choices: Vec<Choice> = services
        .rows
        .iter()
        .take(ROWS_MAX)
        .filter(|service| service.exposure == Exposure::Public)
        .map(|service| {
            (
                service.id.as_str().to_owned(),
                html! { (service.node_path) "/" (service.name) },
            )
        })
        .collect();
    Ok(html! {
        (route_form(visit, aftermath, &service_choices, routes.rows.is_empty()))
        (service_form(visit, aftermath, &node_choices, services.rows.is_empty()))
    })
}

fn route_form(
    visit: &Visit,
    aftermath: &Aftermath,
    services: &[Choice],
    next_step: bool,
) -> Markup {
    let form = FormView::new(visit, ROUTE_FORM, aftermath.attempt(ROUTE_FORM));
    if services.is_empty() && aftermath.attempt(ROUTE_FORM).is_none() {
        return html! { p.note { (visit.say(Text::NeedServiceFirst)) } };
    }
    let field = |name, label, hint, example| Field {
        name,
        label,
        hint,
        example,
    };
    form.panel(
        Text::NewRoute,
        "/services/route",
        Text::Add,
        next_step,
        html! {
            (form.text(field("host", Text::Host, Some(Text::HostHint), "garagem-01.example.com")))
            (form.text_or(field("path", Text::PathLabel, None, "/")))
            (form.checkboxes(field("service", Text::Services, None, ""), services))
        },
    )
}

fn service_form(visit: &Visit, aftermath: &Aftermath, nodes: &[Choice], next_step: bool) -> Markup {
    let form = FormView::new(visit, SERVICE_FORM, aftermath.attempt(SERVICE_FORM));
    if nodes.is_empty() && aftermath.attempt(SERVICE_FORM).is_none() {
        return html! {
            p.note {
                (visit.say(Text::NeedNodeFirst)) " "
                a href="/tokens" { (visit.say(Text::CreateToken)) }
            }
        };
    }
    let plain = |text: &str| html! { (text) };
    let protocols = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| (protocol.as_str().to_owned(), plain(protocol.as_str())));
    let exposures = [
        (Exposure::Public, Text::ExposurePublic),
        (Exposure::Tunnel, Text::ExposureTunnel),
    ]
    .map(|(exposure, text)| (exposure.as_str().to_owned(), plain(visit.say(text))));
    let field = |name, label, hint, example| Field {
        name,
        label,
        hint,
        example,
    };
    form.panel(Text::NewService, "/services/service", Text::Add, next_step, html! {
        (form.select(field("node", Text::Node, None, ""), nodes, false))
        (form.text(field("name", Text::Name, Some(Text::NameHint), "web")))
        (form.number(field("port", Text::Port, None, "80"), 1, u64::from(u16::MAX)))
        (form.select(field("protocol", Text::ProtocolLabel, None, ""), &protocols, true))
        (form.text(field("target", Text::Target, Some(Text::TargetHint), "127.0.0.1:8080")))
        (form.select(field("exposure", Text::ExposureLabel, Some(Text::ExposureHint), ""), &exposures, true))
    })
}

const SERVICE_FORM: &str = "service";
const ROUTE_FORM: &str = "route";
