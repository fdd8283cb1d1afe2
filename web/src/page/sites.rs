//! Organizations and their sites.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::{Aftermath, Attempt, What, done};
use super::fields::{Choice, Field, FormView};
use super::{command, cut_note, empty, organization, terminal, with_forms};
use crate::form::Submission;
use crate::model::{
    Listing, NewOrganization, NewSite, OrganizationRow, Outcome, ROWS_MAX, Refused, SiteRow,
    Unreadable,
};
use crate::text::Text;
use crate::view::View;
use crate::visit::Visit;

/// `GET /sites`.
pub(crate) async fn show(visit: Visit, Query(query): Query<Vec<(String, String)>>) -> Response {
    page(&visit, Aftermath::of_query(query)).await
}

/// `POST /sites/organization`.
pub(crate) async fn create_organization(submission: Submission) -> Response {
    let outcome = async {
        let new = NewOrganization {
            name: submission.fields.required("name")?,
        };
        submission
            .visit
            .console()
            .create_organization(&submission.visit.viewer, new)
            .await
    };
    let outcome = outcome.await;
    answer(
        submission,
        ORGANIZATION_FORM,
        What::OrganizationCreated,
        outcome,
    )
    .await
}

/// `POST /sites/site`.
pub(crate) async fn create_site(submission: Submission) -> Response {
    let outcome = async {
        let fields = &submission.fields;
        let new = NewSite {
            organization: fields.required("organization")?,
            name: fields.required("name")?,
        };
        submission
            .visit
            .console()
            .create_site(&submission.visit.viewer, new)
            .await
    };
    let outcome = outcome.await;
    answer(submission, SITE_FORM, What::SiteCreated, outcome).await
}

async fn answer(
    submission: Submission,
    form: &'static str,
    what: What,
    outcome: Result<Outcome, Refused>,
) -> Response {
    match outcome {
        Ok(outcome) => done("/sites", what, &outcome),
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

async fn page(visit: &Visit, aftermath: Aftermath) -> Response {
    let (view, title) = (View::Sites, Text::NavSites);
    let forms = forms(visit, &aftermath).await;
    with_forms(visit, &view, title, &aftermath, forms).await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let organizations = visit.console().organizations(&visit.viewer).await?;
    let sites = visit.console().sites(&visit.viewer).await?;
    Ok(html! {
        section aria-labelledby="organizations-title" {
            h2 #organizations-title { (visit.say(Text::Organizations)) }
            @if organizations.rows.is_empty() {
                (empty(visit.say(Text::NoOrganizations), visit.say(Text::NoOrganizationsWords), html! {
                    p.muted { (visit.say(Text::OrFromTerminal)) }
                    (command(visit, "org-command", terminal::ADD_ORGANIZATION))
                }))
            } @else { (organization_table(visit, &organizations)) }
        }
        @if !organizations.rows.is_empty() {
            section aria-labelledby="sites-title" {
                h2 #sites-title { (visit.say(Text::Sites)) }
                @if sites.rows.is_empty() {
                    (empty(visit.say(Text::NoSites), visit.say(Text::NoSitesWords), html! {
                        p.muted { (visit.say(Text::OrFromTerminal)) }
                        (command(visit, "site-command", terminal::ADD_SITE))
                    }))
                } @else { (sites_of(visit, &sites, true)) }
            }
        }
    })
}

fn organization_table(visit: &Visit, organizations: &Listing<OrganizationRow>) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { (visit.say(Text::Organization)) }
                th.number scope="col" { (visit.say(Text::Sites)) }
                th.number scope="col" { (visit.say(Text::Nodes)) }
            } }
            tbody { @for row in organizations.rows.iter().take(ROWS_MAX) { tr {
                td.lead data-label=(visit.say(Text::Organization)) {
                    a href=(organization::place(row.name.as_str())) { (row.name) }
                }
                td.number data-label=(visit.say(Text::Sites)) { (row.sites) }
                td.number data-label=(visit.say(Text::Nodes)) { (row.nodes) }
            } } }
        }
        (cut_note(visit, organizations.rows.len().min(ROWS_MAX), organizations.total))
    }
}

/// Sites as rows, with their organizations unless all are of one.
pub(super) fn sites_of(
    visit: &Visit,
    sites: &Listing<SiteRow>,
    with_organizations: bool,
) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { (visit.say(Text::Site)) }
                @if with_organizations { th scope="col" { (visit.say(Text::Organization)) } }
                th.number scope="col" { (visit.say(Text::Nodes)) }
                th.number scope="col" { (visit.say(Text::Online)) }
            } }
            tbody { @for row in sites.rows.iter().take(ROWS_MAX) { tr {
                td.lead data-label=(visit.say(Text::Site)) { strong { (row.name) } }
                @if with_organizations {
                    td.wrap data-label=(visit.say(Text::Organization)) { (row.organization) }
                }
                td.number data-label=(visit.say(Text::Nodes)) { (row.nodes) }
                td.number data-label=(visit.say(Text::Online)) { (row.online) }
            } } }
        }
        (cut_note(visit, sites.rows.len().min(ROWS_MAX), sites.total))
    }
}

async fn forms(visit: &Visit, aftermath: &Aftermath) -> Result<Markup, Unreadable> {
    let organizations = visit.console().organizations(&visit.viewer).await?;
    let sites = visit.console().sites(&visit.viewer).await?;
    let choices: Vec<Choice> = organizations
        .rows
        .iter()
        .take(ROWS_MAX)
        .map(|row| (row.name.as_str().to_owned(), html! { (row.name) }))
        .collect();
    let organization = FormView::new(
        visit,
        ORGANIZATION_FORM,
        aftermath.attempt(ORGANIZATION_FORM),
    );
    let site = FormView::new(visit, SITE_FORM, aftermath.attempt(SITE_FORM));
    let organization_field = Field {
        name: "organization",
        label: Text::Organization,
        hint: None,
        example: "",
    };
    let name = |example| Field {
        name: "name",
        label: Text::Name,
        hint: Some(Text::NameHint),
        example,
    };
    Ok(html! {
        @if !choices.is_empty() {
            (site.panel(Text::NewSite, "/sites/site", Text::CreateButton, sites.rows.is_empty(), html! {
                (site.select(organization_field, &choices, false))
                (site.text(name("garagem-01")))
            }))
        }
        (organization.panel(Text::NewOrganization, "/sites/organization", Text::CreateButton, choices.is_empty(),
            organization.text(name("prefeitura"))))
    })
}

const ORGANIZATION_FORM: &str = "organization";
const SITE_FORM: &str = "site";
